"""Feature denoising: blocks that filter feature maps, and learn how much of that to take.

Source: Xie et al. 2019, Feature Denoising for Improving Adversarial Robustness; what the text leaves open is
as in the authors' code (facebookresearch/ImageNet-Adversarial-Training). They put a block after each of the
last stages of a ResNet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pydantic
import torch.nn.functional as F
from torch import Tensor, nn

from moosearch.errors import SpecError
from moosearch.models.defenses.defense import DENOISERS, DefenseLayer
from moosearch.models.defenses.filters import bilateral, local_mean, local_median, non_local_means
from moosearch.registry import NonNegative, Number

LARGEST_WINDOW = 15
"""A median or bilateral filter takes memory with the square of the side."""


class DenoisingBlock(DefenseLayer):
    """``x + strength * BN(conv1x1(filter(x)))``; a fresh one is the identity: BN's scale starts at zero."""

    strength: Tensor

    def __init__(self, channels: int, strength: float, filter: Callable[[Tensor], Tensor]) -> None:  # noqa: A002
        """Put a block together.

        Args:
            channels: C of the feature maps.
            strength: Factor on what the filter adds.
            filter: (B, C, H, W) -> the same.
        """
        super().__init__()
        self.hold(strength=strength)
        self.filter = filter
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        total: Tensor = x + self.strength * self.norm(self.conv(self.filter(x)))
        return total


class NonLocal(nn.Module):
    """Non-local means of a map, compared as it is or through embeddings (1x1 convolutions theta and phi)."""

    def __init__(self, channels: int, embedding: int | None, pool: int) -> None:
        """Put the filter together.

        Args:
            channels: C of the feature maps.
            embedding: D of theta and phi; None compares the maps themselves.
            pool: Side of the squares of which the largest values stand for what is averaged, and for its
                keys.
        """
        super().__init__()
        self.pool = pool
        self.theta, self.phi = (
            nn.Identity() if embedding is None else nn.Conv2d(channels, embedding, 1, bias=False)
            for _ in range(2)
        )
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        values, keys = x, self.phi(x)
        if self.pool > 1:
            values, keys = (F.max_pool2d(maps, self.pool, ceil_mode=True) for maps in (values, keys))
        return non_local_means(self.theta(x), keys, values)


@dataclass(frozen=True)
class _Placed:
    """What all blocks have.

    Attributes:
        after: The stages after which a block stands, from 1; negative ones count from the last, which is -1.
        strength: Factor on what the filter adds; 0 for a block that does nothing.
    """

    after: tuple[int, ...] = (-1,)
    strength: NonNegative = 1.0

    def __post_init__(self) -> None:
        """Check the stages, as far as they can be without a network."""
        if not self.after or 0 in self.after or len(set(self.after)) < len(self.after):
            raise SpecError(
                f"after: got {list(self.after)}, expected stages, each once: 1, 2 and so on from the first, "
                "-1, -2 and so on from the last."
            )


@dataclass(frozen=True)
class _Local(_Placed):
    """A filter over windows.

    Attributes:
        window: Side of the window, odd.
    """

    window: Annotated[int, pydantic.Field(ge=3, le=LARGEST_WINDOW)] = 3

    def __post_init__(self) -> None:
        """Check that a window has a middle."""
        super().__post_init__()
        if self.window % 2 == 0:
            raise SpecError(
                f"window: got {self.window}, expected an odd number from 3 to {LARGEST_WINDOW}. "
                f"The nearest are {self.window - 1} and {self.window + 1}."
            )


@DENOISERS.register("mean")
@dataclass(frozen=True)
class Mean(_Local):
    """Local means: average pooling at every place."""

    def block(self, channels: int) -> nn.Module:
        """Build a block: (B, channels, H, W) -> the same."""
        return DenoisingBlock(channels, self.strength, partial(local_mean, window=self.window))


@DENOISERS.register("median")
@dataclass(frozen=True)
class Median(_Local):
    """Local medians, in each channel; beyond the border its values are repeated."""

    def block(self, channels: int) -> nn.Module:
        """Build a block: (B, channels, H, W) -> the same."""
        return DenoisingBlock(channels, self.strength, partial(local_median, window=self.window))


@DENOISERS.register("bilateral")
@dataclass(frozen=True)
class Bilateral(_Local):
    """Local means, weighted by how alike features are: non-local means that stay in the window.

    Of the paper's two weights it is the Gaussian: softmax of x_i . x_j / sqrt(C) over the window.
    """

    def block(self, channels: int) -> nn.Module:
        """Build a block: (B, channels, H, W) -> the same."""
        return DenoisingBlock(channels, self.strength, partial(bilateral, window=self.window))


@dataclass(frozen=True)
class _Global(_Placed):
    """A mean over the whole map.

    Attributes:
        pool: Side of the squares of which only the largest values are averaged: 2 takes a quarter of the
            time (Wang et al. 2018, section 3.3); 1, as in the paper, for every place.
    """

    pool: Annotated[int, pydantic.Field(ge=1, le=4)] = 1


@DENOISERS.register("gaussian")
@dataclass(frozen=True)
class Gaussian(_Global):
    """Non-local means with weights exp(x_i . x_j / sqrt(C)), without embeddings."""

    def block(self, channels: int) -> nn.Module:
        """Build a block: (B, channels, H, W) -> the same."""
        return DenoisingBlock(channels, self.strength, NonLocal(channels, None, self.pool))


@DENOISERS.register("embedded_gaussian")
@dataclass(frozen=True)
class EmbeddedGaussian(_Global):
    """Non-local means with weights exp(theta(x_i) . phi(x_j) / sqrt(D)), theta and phi being learned.

    They start small, so that the first weights are nearly equal.

    Attributes:
        embedding: D as a share of the channels.
    """

    embedding: Annotated[Number, pydantic.Field(gt=0, le=1)] = 0.5

    def block(self, channels: int) -> nn.Module:
        """Build a block: (B, channels, H, W) -> the same."""
        size = max(1, round(channels * self.embedding))
        return DenoisingBlock(channels, self.strength, NonLocal(channels, size, self.pool))
