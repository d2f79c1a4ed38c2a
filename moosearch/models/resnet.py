"""Residual networks with a stem for small images, on torchvision's basic block."""

from dataclasses import dataclass

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1

from moosearch.models.architecture import ARCHITECTURES, halvings
from moosearch.registry import Count


@ARCHITECTURES.register("small_resnet")
@dataclass(frozen=True)
class SmallResNet:
    """The CIFAR family of He et al. 2016 (section 4.2): three stages of basic blocks, no stem pooling.

    Attributes:
        width: Channels of the first stage, doubled at each of the next two; 16 in the paper.
        depth: Blocks a stage; 3 gives ResNet-20.
    """

    width: Count = 16
    depth: Count = 1

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        halvings(shape, 2, "small_resnet")
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], self.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.width),
            nn.ReLU(inplace=True),
        ]
        inputs = self.width
        for stage in range(3):
            outputs = self.width * 2**stage
            for block in range(self.depth):
                stride = 2 if stage > 0 and block == 0 else 1
                shortcut = None
                if stride != 1 or inputs != outputs:
                    shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
                layers.append(BasicBlock(inputs, outputs, stride, shortcut))
                inputs = outputs
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs
