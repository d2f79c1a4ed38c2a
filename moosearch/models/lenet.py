"""LeNet as adversarial training uses it (Madry et al. 2018)."""

from dataclasses import dataclass

from torch import nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, check_size, scaled
from moosearch.registry import Positive, late


@ARCHITECTURES.register("lenet")
@dataclass(frozen=True)
class LeNet(Activated):
    """Two convolutions 5x5 with 32 and 64 channels, each max-pooled, and one hidden layer of 1024.

    Attributes:
        width: Factor on all three; 1 is Madry's network.
        activation: ReLU as published, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.

    Source: Madry et al. 2018, MNIST challenge; used by Hyun & Park 2024 on MNIST.
    """

    width: Positive = 1.0
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        check_size(shape, 4, "lenet")
        channels, height, width = shape
        first, second, hidden = (scaled(size, self.width) for size in (32, 64, 1024))
        # ReLU and max pooling commute: after it there are four times fewer numbers to rectify.
        trunk = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), hidden),
            nn.ReLU(inplace=True),
        )
        return self.activated(trunk), hidden
