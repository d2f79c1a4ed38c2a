"""Residual networks that activate before the convolutions: pre-activation ResNet-18, wide networks."""

from dataclasses import dataclass

from torch import nn

from moosearch.errors import SpecError
from moosearch.models.activation import SHARPNESS, Activated, Activation
from moosearch.models.architecture import ARCHITECTURES, scaled
from moosearch.models.residual import ImageNetFamily, PreActBlock, he_normal, residual_trunk
from moosearch.registry import Count, Positive, late


@ARCHITECTURES.register("preact_resnet18")
@dataclass(frozen=True)
class PreActResNet18(ImageNetFamily):
    """Pre-activation ResNet-18: four stages of two blocks, then a last normalization and activation.

    The last normalization is the paper's; a widespread implementation for CIFAR leaves it out. With the
    stem ``imagenet`` images are pooled before they are first normalized.

    Source: He et al. 2016b, Identity Mappings in Deep Residual Networks.
    """

    BLOCK = PreActBlock


@ARCHITECTURES.register("wide_resnet")
@dataclass(frozen=True)
class WideResNet(Activated):
    """WRN-d-k: three stages of pre-activation blocks with 16 k, 32 k and 64 k channels, without dropout.

    Convolutions start from He's normal distribution, as published.

    Attributes:
        depth: Layers d, counted in either way: n blocks a stage are 6 n + 4 in the paper, which counts the
            three shortcuts that change the shape, and 6 n + 2 for Madry et al., who count the linear layer
            instead. So 34 and 32 are the same network (n = 5); let a gene step by 6.
        widen: Factor k of the three stages.
        width: A further factor on all channels, the stem's 16 included, for networks smaller than k = 1.
        activation: ReLU as published, or a smooth one; see `Activated`.
        sharpness: Of the activations ``softplus`` and ``smooth_relu``.

    Source: Zagoruyko & Komodakis 2016. WRN-34-10 of TRADES and MOREL is the default; WRN-32 of Hyun & Park
    2024 on CIFAR-10 is Madry's count.
    """

    depth: Count = 34
    widen: Count = 10
    width: Positive = 1.0
    activation: Activation = "relu"
    sharpness: Positive = late(SHARPNESS)

    def __post_init__(self) -> None:
        """Check that the depth makes whole blocks, and that the activation has a sharpness."""
        super().__post_init__()
        if self.depth < 8 or self.depth % 6 not in (2, 4):
            around = range(max(8, self.depth - 4), max(8, self.depth) + 5)
            valid = [depth for depth in around if depth % 6 in (2, 4)]
            nearest = sorted(sorted(valid, key=lambda depth: abs(depth - self.depth))[:2])
            raise SpecError(
                f"wide_resnet: got depth {self.depth}, expected 6n + 4 as the paper counts layers or 6n + 2 "
                f"as Madry counts them, n being the blocks a stage. The nearest are "
                f"{' and '.join(map(str, nearest))}."
            )

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk: (B, C, H, W) -> (B, o)."""
        stages = [scaled(16 * self.widen * 2**stage, self.width) for stage in range(3)]
        trunk, features = residual_trunk(
            "wide_resnet",
            PreActBlock,
            shape,
            channels=[scaled(16, self.width), *stages],
            depths=[(self.depth - 2) // 6] * 3,
        )
        return self.activated(he_normal(trunk)), features
