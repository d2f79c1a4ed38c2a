"""Residual networks that activate after the sum, on torchvision's blocks."""

from dataclasses import dataclass

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from moosearch.models.activation import Activation, activate
from moosearch.models.architecture import ARCHITECTURES
from moosearch.models.residual import Stem, imagenet_trunk, residual_trunk
from moosearch.registry import Count, Positive


@ARCHITECTURES.register("small_resnet")
@dataclass(frozen=True)
class SmallResNet:
    """The CIFAR family of He et al. 2016 (section 4.2): three stages of basic blocks, no stem pooling.

    Attributes:
        width: Channels of the first stage, doubled at each of the next two; 16 in the paper.
        depth: Blocks a stage; 3 gives ResNet-20.
        activation: ReLU as published, or a smooth one.
    """

    width: Count = 16
    depth: Count = 1
    activation: Activation = "relu"

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        stages = [self.width * 2**stage for stage in range(3)]
        trunk, features = residual_trunk(
            "small_resnet", BasicBlock, shape, channels=[self.width, *stages], depths=[self.depth] * 3
        )
        return activate(trunk, self.activation), features


@ARCHITECTURES.register("resnet18")
@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 (He et al. 2016, table 1): four stages of two basic blocks with 64 to 512 channels.

    Convolutions start from He's normal distribution, as in torchvision.

    Attributes:
        width: Factor on all channels.
        depth: Blocks a stage; 2 in the paper.
        stem: ``cifar``, which keeps the resolution of small images, or ``imagenet`` as in the paper.
        activation: ReLU as published, or a smooth one.

    Source: used by Hyun & Park 2024 on SVHN and Tiny ImageNet and by MOREL, as by most of adversarial
    training, with the stem ``cifar``.
    """

    width: Positive = 1.0
    depth: Count = 2
    stem: Stem = "cifar"
    activation: Activation = "relu"

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        return imagenet_trunk(
            "resnet18",
            BasicBlock,
            shape,
            width=self.width,
            depths=[self.depth] * 4,
            stem=self.stem,
            activation=self.activation,
        )


@ARCHITECTURES.register("resnet50")
@dataclass(frozen=True)
class ResNet50:
    """ResNet-50 (He et al. 2016, table 1) on bottlenecks that halve the image in the 3x3 convolution.

    Convolutions start from He's normal distribution, as in torchvision.

    Attributes:
        width: Factor on all channels.
        depth: Blocks d of the first stage; the four have d, d + 1, 2 d and d, with 3 the paper's 3, 4, 6, 3.
        stem: ``cifar``, which keeps the resolution of small images, or ``imagenet`` as in the paper.
        activation: ReLU as published, or a smooth one.

    Source: MOREL's surrogate for transferred attacks.
    """

    width: Positive = 1.0
    depth: Count = 3
    stem: Stem = "cifar"
    activation: Activation = "relu"

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        return imagenet_trunk(
            "resnet50",
            Bottleneck,
            shape,
            width=self.width,
            depths=[self.depth, self.depth + 1, 2 * self.depth, self.depth],
            stem=self.stem,
            activation=self.activation,
        )
