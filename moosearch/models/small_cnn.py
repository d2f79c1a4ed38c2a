"""A small convolutional network for small images."""

from dataclasses import dataclass

from torch import nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, check_size
from moosearch.registry import Count, Positive, late


@ARCHITECTURES.register("small_cnn")
@dataclass(frozen=True)
class SmallCnn(Activated):
    """Convolutions 3x3 with batch normalization; every second one doubles the width and halves the image.

    Attributes:
        width: Channels of the first convolution.
        depth: Number of convolutions.
        activation: ReLU, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.
    """

    width: Count = 16
    depth: Count = 3
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        check_size(shape, 2 ** (self.depth // 2), "small_cnn")
        layers: list[nn.Module] = []
        inputs = shape[0]
        for index in range(self.depth):
            stride = 2 if index % 2 else 1
            outputs = self.width * 2 ** ((index + 1) // 2)
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
            inputs = outputs
        trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return self.activated(trunk), inputs
