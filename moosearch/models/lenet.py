"""LeNet as adversarial training uses it (Madry et al. 2018)."""

from dataclasses import dataclass

from torch import nn

from moosearch.models.architecture import ARCHITECTURES, halvings
from moosearch.registry import Positive


@ARCHITECTURES.register("lenet")
@dataclass(frozen=True)
class LeNet:
    """Two convolutions 5x5 with 32 and 64 channels, each max-pooled, and one hidden layer of 1024.

    Attributes:
        width: Factor on all three; 1 is Madry's network.

    Source: Madry et al. 2018, MNIST challenge; used by Hyun & Park 2024 on MNIST.
    """

    width: Positive = 1.0

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        halvings(shape, 2, "lenet")
        channels, height, width = shape
        first, second, hidden = (max(1, round(size * self.width)) for size in (32, 64, 1024))
        trunk = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), hidden),
            nn.ReLU(inplace=True),
        )
        return trunk, hidden
