"""The activation of a trunk: ReLU, or a smooth stand-in for it."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from moosearch.errors import SpecError

Activation = Literal["relu", "silu", "gelu", "softplus", "smooth_relu"]
"""A field of every architecture; see `Activated`."""

SHARPNESS = 10.0
"""Default of the field ``sharpness``."""


class SmoothRelu(nn.Module):
    """x - log(s x + 1) / s where x >= 0, and 0 elsewhere: (any shape) -> the same.

    Unlike softplus it is exactly 0 where ReLU is. Its slope rises from 0 at zero towards 1, without a jump.

    Source: Xie et al. 2020, Smooth Adversarial Training, SmoothReLU; the sharpness is their alpha.
    """

    def __init__(self, sharpness: float) -> None:
        """Take the sharpness s > 0: the slope is 1 / 2 at x = 1 / s."""
        super().__init__()
        self.sharpness = sharpness

    def extra_repr(self) -> str:
        """Name the sharpness."""
        return f"sharpness={self.sharpness}"

    def forward(self, x: Tensor) -> Tensor:
        """Activate."""
        rectified = torch.relu(x)
        return rectified - torch.log1p(self.sharpness * rectified) / self.sharpness


_SMOOTH: dict[str, Callable[[float], nn.Module]] = {
    "silu": lambda _: nn.SiLU(),
    "gelu": lambda _: nn.GELU(),
    "softplus": lambda sharpness: nn.Softplus(beta=sharpness),
    "smooth_relu": SmoothRelu,
}
SHARP = ("softplus", "smooth_relu")
"""The activations that have a sharpness."""


def activate(trunk: nn.Module, activation: Activation, sharpness: float = SHARPNESS) -> nn.Module:
    """Replace every ReLU of a trunk in place, and return it.

    A smooth activation gives attacks and training a gradient that changes continuously, and adversarial
    training both more robustness and more accuracy. It has no weights: parameters, their initialization
    and FLOPs are those with ReLU.

    Args:
        trunk: Any module.
        activation: What stands in its place.
        sharpness: How close to ReLU the activations in `SHARP` are, > 0.

    Source: Xie et al. 2020, Smooth Adversarial Training.
    """
    if activation != "relu":
        for parent in trunk.modules():
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(parent, name, _SMOOTH[activation](sharpness))
    return trunk


class Activated:
    """Base of the architectures with a choice of activation; the fields are declared by each of them.

    Attributes:
        activation: ``relu``, ``silu``, ``gelu``, ``softplus`` (log(1 + exp(s x)) / s, at most 0.7 / s above
            ReLU), or ``smooth_relu`` (x - log(s x + 1) / s where x >= 0, and 0 elsewhere).
        sharpness: s of the last two, > 0. With another activation it may only be left as it is: two recipes
            of the same network would count as different ones. Where a space has genes for both, the
            architecture stands in a choice twice, with a `label` of its own.
    """

    activation: Activation
    sharpness: float

    def __post_init__(self) -> None:
        """Check that the activation has a sharpness, where one is given.

        Raises:
            SpecError: It has none.
        """
        if self.activation not in SHARP and self.sharpness != SHARPNESS:
            raise SpecError(
                f"sharpness: got {self.sharpness}, but the activation {self.activation} has none: leave it "
                f"out ({SHARPNESS:g}), or take {' or '.join(SHARP)}. To search both, list the architecture "
                "twice in a choice, each with a `label`."
            )

    def activated(self, trunk: nn.Module) -> nn.Module:
        """Replace every ReLU of a trunk by the activation."""
        return activate(trunk, self.activation, self.sharpness)
