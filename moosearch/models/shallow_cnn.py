"""A network that is small enough to be verified."""

from dataclasses import dataclass

from torch import nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, check_size
from moosearch.registry import Count, Positive, late


@ARCHITECTURES.register("shallow_cnn")
@dataclass(frozen=True)
class ShallowCnn(Activated):
    """Two convolutions with stride 2, one max pooling, and the head: few layers, few ReLUs.

    Attributes:
        width: Channels of the first convolution; the second has twice as many.
        kernel: Height and width of the convolutions' kernels.
        pool: Height and width of the max pooling.
        activation: ReLU, or a smooth one, which cannot be verified; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.

    Source: Mour 2023, figure 2.
    """

    width: Count = 8
    kernel: Count = 3
    pool: Count = 2
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        check_size(shape, 4 * self.pool, "shallow_cnn")
        channels, height, width = shape
        inner, outer, padding = self.width, 2 * self.width, self.kernel // 2
        trunk = nn.Sequential(
            nn.Conv2d(channels, inner, self.kernel, stride=2, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, outer, self.kernel, stride=2, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(self.pool),
            nn.Flatten(),
        )
        sides = (_halved(_halved(side, self.kernel), self.kernel) // self.pool for side in (height, width))
        features = outer
        for side in sides:
            features *= side
        return self.activated(trunk), features


def _halved(side: int, kernel: int) -> int:
    """Return the side of what a convolution with stride 2 gives."""
    return (side + 2 * (kernel // 2) - kernel) // 2 + 1
