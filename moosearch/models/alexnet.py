"""AlexNet in torchvision's layout."""

from dataclasses import dataclass
from typing import Annotated

import pydantic
from torch import nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, check_size, scaled
from moosearch.registry import Number, Positive, late


@ARCHITECTURES.register("alexnet")
@dataclass(frozen=True)
class AlexNet(Activated):
    """Five convolutions, three max poolings, two hidden layers of 4096 behind dropout.

    Larger maps than 6x6 (from images of 255 pixels on) are averaged to 6x6, as in torchvision. Smaller ones
    (2x2 for the 112x112 images of GTSRB) go to the hidden layer as they are, where torchvision repeats
    their pixels until there are 6x6: the same functions at a ninth of that layer's cost.

    Attributes:
        width: Factor on all channels and both hidden layers.
        dropout: Probability before each of the hidden layers; 0.5 in the paper.
        activation: ReLU as published, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.

    Source: Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks; used by
    Hyun & Park 2024 on GTSRB.
    """

    width: Positive = 1.0
    dropout: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.5
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        check_size(shape, 63, "alexnet")
        first, second, third, last, hidden = (scaled(size, self.width) for size in (64, 192, 384, 256, 4096))
        height, width = (_side_of_map(size) for size in shape[1:])
        pooled = min(6, height), min(6, width)
        # ReLU and max pooling commute: after it there are four times fewer numbers to rectify.
        trunk = nn.Sequential(
            nn.Conv2d(shape[0], first, 11, stride=4, padding=2),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 5, padding=2),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(third, last, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(last, last, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),
            nn.Identity() if pooled == (height, width) else nn.AdaptiveAvgPool2d(pooled),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(last * pooled[0] * pooled[1], hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        return self.activated(trunk), hidden


def _side_of_map(size: int) -> int:
    """Return the side of the last map: the first convolution quarters the image's, each pooling halves it."""
    size = (size - 3) // 4
    for _ in range(3):
        size = (size - 1) // 2
    return size
