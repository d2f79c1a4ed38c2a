"""A small convolutional network at the input that learns, with the rest, to take perturbations away."""

import itertools
from dataclasses import dataclass

from torch import Tensor, nn

from moosearch.models.defenses.defense import INPUT_DEFENSES, DefenseLayer
from moosearch.models.defenses.straight_through import straight_through
from moosearch.registry import Count


class PerturbationFilterLayer(DefenseLayer):
    """``clamp(x + f(x), 0, 1)``; backward, the clamp is the identity: it hides no gradient."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        """Start as the identity: the last convolution of f is zero."""
        super().__init__()
        sizes = [channels, *[width] * (depth - 1), channels]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.residual = nn.Sequential(*layers[:-1])
        for parameter in self.residual[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        filtered = x + self.residual(x)
        return straight_through(filtered.clamp(0, 1), filtered)


@INPUT_DEFENSES.register("perturbation_filter")
@dataclass(frozen=True)
class PerturbationFilter:
    """A residual network of 3 x 3 convolutions whose output is added to the image (El-Sayed 2025).

    Attributes:
        width: Channels between its convolutions.
        depth: Its convolutions, with a ReLU between each two.
    """

    width: Count = 16
    depth: Count = 3

    def layer(self, shape: tuple[int, int, int]) -> PerturbationFilterLayer:
        """Build the layer."""
        return PerturbationFilterLayer(shape[0], self.width, self.depth)
