"""Feature squeezing: fewer shades, smoother images (Xu et al. 2018). In one list, both squeeze jointly."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from moosearch.models.defenses.defense import INPUT_DEFENSES, DefenseLayer
from moosearch.models.defenses.straight_through import asks_for_gradient, straight_through


class BitDepthLayer(DefenseLayer):
    """Rounds every number to one of 2^bits shades; backward, it is the identity."""

    bits: Tensor

    def __init__(self, bits: int) -> None:
        """Hold the number of bits, so that a schedule may change it."""
        super().__init__()
        self.hold(bits=bits)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        levels = torch.exp2(self.bits) - 1
        return straight_through((x * levels).round() / levels, x)


@INPUT_DEFENSES.register("bit_depth")
@dataclass(frozen=True)
class BitDepth:
    """Reduction of the color depth: ``round(x * (2^bits - 1)) / (2^bits - 1)`` (Xu et al. 2018, III-A).

    Its gradient is zero almost everywhere; attacks and training get that of the identity.

    Attributes:
        bits: Of each number, 1 to 8. Images of 8 bits are left as they are by 8.
    """

    bits: Annotated[int, pydantic.Field(ge=1, le=8)] = 5

    def layer(self, shape: tuple[int, int, int]) -> BitDepthLayer:
        """Build the layer."""
        return BitDepthLayer(self.bits)


def median_of_four(x: Tensor) -> Tensor:
    """Return the third smallest of each 2 x 2 window: (..., H, W) -> (..., H - 1, W - 1).

    Of an even number of values the upper median, as SciPy takes it.
    """
    low, high = _ordered(x[..., :-1], x[..., 1:])
    lows = torch.maximum(low[..., :-1, :], low[..., 1:, :])
    highs = torch.minimum(high[..., :-1, :], high[..., 1:, :])
    return torch.maximum(lows, highs)


def median_of_nine(x: Tensor) -> Tensor:
    """Return the median of each 3 x 3 window: (..., H, W) -> (..., H - 2, W - 2).

    Columns are sorted once for the three windows that they are in. The median of nine is that of the largest
    of the three lows, the median of the three middles and the smallest of the three highs.
    """
    low, high = _ordered(x[..., :-2, :], x[..., 1:-1, :])
    middle, high = _ordered(high, x[..., 2:, :])
    low, middle = _ordered(low, middle)
    lows, middles, highs = ((t[..., :-2], t[..., 1:-1], t[..., 2:]) for t in (low, middle, high))
    largest = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    smallest = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _middle(largest, _middle(*middles), smallest)


def _ordered(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    low, high = _ordered(a, b)
    return torch.maximum(low, torch.minimum(high, c))


MEDIANS = {2: median_of_four, 3: median_of_nine}


class MedianFilterLayer(DefenseLayer):
    """Replaces every number by the median of its window, channel by channel.

    Its gradient is its own: that of the number that is the median, shared where several are. In its
    place the identity made attacks weaker, and the mean of the window as strong: no BPDA is needed.
    """

    def __init__(self, size: int) -> None:
        """Take the side of the window, 2 or 3."""
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        # SciPy's `reflect` repeats the edge first, and a window of two looks up and left.
        after = self.size - 2
        padded, median_of = F.pad(x, (1, after, 1, after), mode="replicate"), MEDIANS[self.size]
        if not asks_for_gradient(x):
            return median_of(padded)
        # Backward through the minima and maxima would give the same, several times slower.
        median, (height, width) = median_of(padded.detach()), x.shape[2:]
        windows = [
            padded[..., i : i + height, j : j + width] for i in range(self.size) for j in range(self.size)
        ]
        marks = [(window == median).to(x.dtype) for window in windows]
        chosen = torch.stack([window * mark for window, mark in zip(windows, marks, strict=True)]).sum(dim=0)
        return straight_through(median, chosen / torch.stack(marks).sum(dim=0))


@INPUT_DEFENSES.register("median_filter")
@dataclass(frozen=True)
class MedianFilter:
    """Median smoothing, equal to ``scipy.ndimage.median_filter`` (Xu et al. 2018, III-B).

    Attributes:
        size: Side of the window, 2 or 3.
    """

    size: Literal[2, 3] = 2

    def layer(self, shape: tuple[int, int, int]) -> MedianFilterLayer:
        """Build the layer."""
        return MedianFilterLayer(self.size)
