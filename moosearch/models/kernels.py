"""Whether this machine's kernels compute what they should: every convolution and matrix product that runs.

Libraries choose another kernel for every shape, layout, precision and set of instructions, and some of them
are wrong: they write past their memory, or return other numbers. What is contiguous and in float32 uses
the most common kernels, and is trusted. All else is compared with contiguous float64, which none of the
libraries for lower precision computes. A kernel that is chosen for larger batches alone is not seen.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from moosearch.models.watcher import Watcher

aten = torch.ops.aten

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 2**-5}
"""How far a number may be from the exact one: a share of its size plus the root mean square of all.

Both get the same operands, so rounding alone differs: the result's, 2^-24 or 2^-9 of it, and that of sums in
float32, some 1e-5 of the root mean square for a million terms. A wrong kernel is off by as much as that.
"""

CHECKED_IMAGES = 8
"""Images on which passes are checked, at most: which kernel runs hardly depends on them."""

CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)
CHECKED = frozenset({*CONVOLUTIONS, aten.addmm.default, aten.mm.default, aten.bmm.default})
"""Operators whose kernels are oneDNN's, cuDNN's or another library's."""


def fault(run: Callable[[], object]) -> str:
    """Run something, and say what it needs that this machine's kernels compute wrongly; it ends there.

    An operator is checked before it runs, once in a process for all operands of the same shapes, strides and
    precision: on random numbers of its own, the same ones whatever ran before.

    Args:
        run: What to run, on the CPU or a GPU; what it returns is thrown away.

    Returns:
        One line; empty where nothing is wrong.
    """
    try:
        with _Watch():
            run()
    except _FaultError as found:
        return str(found)
    return ""


class _FaultError(Exception):
    """An operator is computed wrongly."""


class _Operand(NamedTuple):
    """A tensor but for its numbers."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def plain(self) -> bool:
        """Whether it is contiguous and in float32, sides of length 1 included."""
        usual = torch.empty(self.size, device="meta").stride()
        return self.dtype == torch.float32 and self.stride == usual

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return such a tensor of normally distributed numbers; expanded sides stay expanded."""
        sides = [1 if stride == 0 else size for size, stride in zip(self.size, self.stride, strict=True)]
        tensor = torch.empty_strided(sides, self.stride, dtype=self.dtype, device=self.device)
        tensor.copy_(torch.randn(sides, generator=generator))
        return tensor.expand(self.size)


class _Watch(Watcher):  # type: ignore[no-untyped-call]
    """Checks operators before they run."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in CHECKED:
            operands = tuple(map(_described, args))
            named = tuple(sorted((kwargs or {}).items()))
            found = _verdict(func, operands, named, torch.get_num_threads())
            if found:
                raise _FaultError(found)
        return func(*args, **(kwargs or {}))


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Operand(tuple(value.shape), value.stride(), value.dtype, value.device)
    return tuple(value) if isinstance(value, list) else value


@functools.lru_cache(maxsize=1 << 14)
def _verdict(func: Any, operands: tuple[Any, ...], named: tuple[tuple[str, Any], ...], _threads: int) -> str:
    """Say what is wrong with an operator; empty if nothing is."""
    tensors = [operand for operand in operands if isinstance(operand, _Operand)]
    dtype = tensors[0].dtype
    if dtype not in TOLERANCES or all(tensor.plain for tensor in tensors):
        return ""
    if func in CONVOLUTIONS and kills(func, operands):
        return f"{_named(func, operands)} is known to write past its memory"
    generator = torch.Generator().manual_seed(0)
    drawn = [o.draw(generator) if isinstance(o, _Operand) else o for o in operands]
    options = dict(named)
    found = tree_leaves(func(*drawn, **options))
    expected = tree_leaves(func(*tree_map(_exact, drawn), **options))
    for one, other in zip(found, expected, strict=True):
        if one is not None and not agree(one, other, TOLERANCES[dtype]):
            return f"{_named(func, operands)} is computed wrongly"
    return ""


def kills(func: Any, operands: Sequence[Any]) -> bool:
    """Whether a convolution has a shape and a layout that are known to write past memory; see `subsampled`.

    Args:
        func: One of `CONVOLUTIONS`.
        operands: What describes its operands.
    """
    image, weight, _, stride, padding = operands[1:6] if func == CONVOLUTIONS[1] else operands[:5]
    single = all(side == 1 for side in weight.size[2:]) and max(stride) > 1 and max(padding) == 0
    return single and weight.device.type == "cpu" and not (image.plain and weight.plain)


def agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether every number is what it should be, up to a share of its size plus the root mean square of all.

    Args:
        found: Any floating-point tensor.
        expected: Of the same shape, in float64.
        tolerance: The share. What is not finite agrees with nothing.
    """
    scale = expected.abs() + expected.square().mean().sqrt()
    return bool(((found - expected).abs() <= tolerance * scale).all())


def _exact(value: Any) -> Any:
    """Return a tensor contiguous in float64, and anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty(value.shape, dtype=torch.float64, device=value.device).copy_(value)


def _named(func: Any, operands: Sequence[Any]) -> str:
    """Name an operator and its operands for people."""
    tensors = [operand for operand in operands if isinstance(operand, _Operand)]
    shown = tensors[1:3] if func == CONVOLUTIONS[1] else tensors[:2]
    sizes = " and ".join("x".join(map(str, tensor.size)) for tensor in shown)
    name = str(func).removeprefix("aten.").removesuffix(".default").replace("_", " ")
    stride = f", stride {max(operands[4 if func == CONVOLUTIONS[1] else 3])}" if func in CONVOLUTIONS else ""
    return f"{name} of {sizes}{stride} in {str(tensors[0].dtype).removeprefix('torch.')}"
