"""Input defenses of a third party that hide gradients and do nothing else: no campaign must fall for them."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from moosearch.models import INPUT_DEFENSES
from moosearch.models.defenses import DefenseLayer
from moosearch.registry import Count, Positive


class StaircaseLayer(DefenseLayer):
    """Pixels on so many equal steps; the gradient is zero."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.hold(steps=steps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        return torch.floor(x * self.steps + 0.5) / self.steps


@INPUT_DEFENSES.register("staircase")
@dataclass(frozen=True)
class Staircase:
    """Rounding without a way back: no gradient passes.

    Attributes:
        steps: Steps from black to white.
    """

    steps: Count = 50

    def layer(self, shape: tuple[int, int, int]) -> StaircaseLayer:
        """Build the layer."""
        return StaircaseLayer(self.steps)


class RippleLayer(DefenseLayer):
    """Pixels with a fine ripple on them; the gradient has no sense of direction."""

    def __init__(self, height: float, waves: int) -> None:
        super().__init__()
        self.hold(height=height, waves=waves)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        return (x + self.height * torch.sin(2 * pi * self.waves * x)).clamp(0, 1)


@INPUT_DEFENSES.register("ripple")
@dataclass(frozen=True)
class Ripple:
    """A gradient that is shattered: x + height sin(2 pi waves x) is almost x, and its slope changes its sign.

    Attributes:
        height: Of the ripple, in pixel units of [0, 1].
        waves: From black to white.
    """

    height: Positive = 0.01
    waves: Count = 100

    def layer(self, shape: tuple[int, int, int]) -> RippleLayer:
        """Build the layer."""
        return RippleLayer(self.height, self.waves)
