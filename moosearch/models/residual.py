"""What all residual networks are put together from: stem, stages of blocks, global average pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, check_size, scaled
from moosearch.models.blocks import conv1x1, conv3x3
from moosearch.registry import Count, Positive, late

Stem = Literal["cifar", "imagenet"]
"""A convolution 3x3 at full resolution, or one 7x7 and a max pooling that each halve the image."""


class Block(Protocol):
    """A class of residual blocks, called as torchvision's are.

    Attributes:
        expansion: Channels of the block's output per channel of its 3x3 convolutions.
    """

    expansion: int

    def __call__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None) -> nn.Module:
        """Build a block; ``downsample`` is its shortcut where the shape changes."""
        ...


class PreActBlock(nn.Module):
    """A basic block that normalizes and activates before its convolutions, so that sums pass untouched.

    A shortcut that changes the shape sees the activated input.

    Source: He et al. 2016b, fig. 1b and appendix.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, planes, H / stride, W / stride)."""
        activated = self.relu(self.bn1(x))
        identity = x if self.downsample is None else self.downsample(activated)
        inner = self.relu(self.bn2(self.conv1(activated)))
        total: Tensor = self.conv2(inner) + identity
        return total


def residual_trunk(
    name: str,
    block: Block,
    shape: tuple[int, int, int],
    *,
    channels: Sequence[int],
    depths: Sequence[int],
    stem: Stem = "cifar",
) -> tuple[nn.Sequential, int]:
    """Build the trunk of a residual network; every stage but the first halves the image.

    Args:
        name: The architecture, for messages.
        block: Class of the blocks.
        shape: (C, H, W) of the images.
        channels: Of the stem, then of each stage, before the block's expansion.
        depths: Blocks of each stage.
        stem: What comes before the blocks.

    Returns:
        A module (B, C, H, W) -> (B, o), and o.

    Raises:
        SpecError: The images are too small for it.
    """
    check_size(shape, 2 ** (len(depths) - 1) * (4 if stem == "imagenet" else 1), name)
    preact = block is PreActBlock
    inputs = channels[0]
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], inputs, 7, stride=2, padding=3, bias=False)
        if stem == "imagenet"
        else conv3x3(shape[0], inputs)
    ]
    if not preact:
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
    if stem == "imagenet":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    for stage, (planes, depth) in enumerate(zip(channels[1:], depths, strict=True)):
        outputs = planes * block.expansion
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            shortcut: nn.Module | None = None
            if stride != 1 or inputs != outputs:
                shortcut = conv1x1(inputs, outputs, stride)
                if not preact:
                    shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
            layers.append(block(inputs, planes, stride, shortcut))
            inputs = outputs
    if preact:
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs


@dataclass(frozen=True)
class ImageNetFamily(Activated):
    """What the residual networks made for ImageNet share: four stages of 64 to 512 channels.

    Convolutions start from He's normal distribution, as in torchvision.

    Attributes:
        width: Factor on all channels.
        depth: Blocks of the first stage; of every stage, where the network does not say otherwise.
        stem: ``cifar``, which keeps the resolution of small images, or ``imagenet`` as in the paper.
        activation: ReLU as published, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.

    Source: He et al. 2016, table 1.
    """

    width: Positive = 1.0
    depth: Count = 2
    stem: Stem = "cifar"
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    BLOCK: ClassVar[Block]
    """Class of the blocks."""

    @property
    def depths(self) -> list[int]:
        """Blocks of each of the four stages."""
        return [self.depth] * 4

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        stages = [scaled(64 * 2**stage, self.width) for stage in range(4)]
        trunk, features = residual_trunk(
            ARCHITECTURES.name_of(self),
            self.BLOCK,
            shape,
            channels=[stages[0], *stages],
            depths=self.depths,
            stem=self.stem,
        )
        return self.activated(he_normal(trunk)), features


def he_normal(trunk: nn.Module) -> nn.Module:
    """Draw all convolutions anew from He's normal distribution over the fan-out, and return the trunk.

    So torchvision and the wide residual networks do it; torch's own default has a sixth of the variance.

    Source: He et al. 2015.
    """
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk
