"""Residual networks that activate after the sum."""

from dataclasses import dataclass

from torch import nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES
from moosearch.models.blocks import BasicBlock, Bottleneck
from moosearch.models.residual import ImageNetFamily, residual_trunk
from moosearch.registry import Count, Positive, late


@ARCHITECTURES.register("small_resnet")
@dataclass(frozen=True)
class SmallResNet(Activated):
    """The CIFAR family of He et al. 2016 (section 4.2): three stages of basic blocks, no stem pooling.

    Attributes:
        width: Channels of the first stage, doubled at each of the next two; 16 in the paper.
        depth: Blocks a stage; 3 gives ResNet-20.
        activation: ReLU as published, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.
    """

    width: Count = 16
    depth: Count = 1
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        stages = [self.width * 2**stage for stage in range(3)]
        trunk, features = residual_trunk(
            "small_resnet", BasicBlock, shape, channels=[self.width, *stages], depths=[self.depth] * 3
        )
        return self.activated(trunk), features


@ARCHITECTURES.register("resnet18")
@dataclass(frozen=True)
class ResNet18(ImageNetFamily):
    """ResNet-18 (He et al. 2016, table 1): four stages of two basic blocks with 64 to 512 channels.

    Source: used by Hyun & Park 2024 on SVHN and Tiny ImageNet and by MOREL, as by most of adversarial
    training, with the stem ``cifar``.
    """

    BLOCK = BasicBlock


@ARCHITECTURES.register("resnet50")
@dataclass(frozen=True)
class ResNet50(ImageNetFamily):
    """ResNet-50 (He et al. 2016, table 1) on bottlenecks that halve the image in the 3x3 convolution.

    Attributes:
        depth: Blocks d of the first stage; the four have d, d + 1, 2 d and d, with 3 the paper's 3, 4, 6, 3.

    Source: MOREL's surrogate for transferred attacks.
    """

    depth: Count = 3
    BLOCK = Bottleneck

    @property
    def depths(self) -> list[int]:
        """Blocks of each of the four stages."""
        return [self.depth, self.depth + 1, 2 * self.depth, self.depth]
