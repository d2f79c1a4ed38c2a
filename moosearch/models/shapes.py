"""Shapes of what operators return, computed without torch's compiler."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from moosearch.models.watcher import Watcher

aten = torch.ops.aten


class Shapes(Watcher):  # type: ignore[no-untyped-call]
    """Runs the operators in its context; on the device ``meta`` without torch's compiler where that is easy.

    Tensors have no numbers there. torch has rules in Python for what some operators return, and imports its
    compiler, which takes a second, when it first uses one. What does not fit together is left to torch, which
    says so.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        rule = _pointwise if torch.Tag.pointwise in func.tags else _RULES.get(func)
        returned = rule(func, args, given) if rule is not None and _all_on_meta(args, given) else None
        return func(*args, **given) if returned is None else returned


def _all_on_meta(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether tensors are given by position alone, on ``meta``, and are of real numbers."""
    tensors = _tensors(args)
    plain = bool(tensors) and not _tensors(kwargs)
    return plain and all(tensor.is_meta and tensor.is_floating_point() for tensor in tensors)


def _tensors(given: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]


def _pointwise(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return what is computed number by number: arguments are broadcast, and types promoted."""
    shape = _broadcast(_tensors(args))
    if shape is None:
        return None
    if func._schema.is_mutable:
        changed: Tensor = args[0]
        return changed if changed.shape == shape else None
    single = func(*tree_map_only(Tensor, _single, tuple(args)), **kwargs)
    return torch.empty(shape, dtype=single.dtype, device="meta")


def _single(tensor: Tensor) -> Tensor:
    """Return one number with as many dimensions: types are promoted as with the whole."""
    return torch.zeros([1] * tensor.ndim, dtype=tensor.dtype, device="cpu")


def _broadcast(tensors: Sequence[Tensor]) -> tuple[int, ...] | None:
    """Return the shape that tensors are broadcast to; None where they do not fit."""
    # torch.broadcast_shapes would import SymPy.
    try:
        return np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    except ValueError:
        return None


def _mean(_func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    total: Tensor = aten.sum.dim_IntList(*args, **kwargs)
    return total


def _addmm(_func: Any, args: Sequence[Any], _kwargs: Mapping[str, Any]) -> Tensor | None:
    bias, first, second = args
    product: Tensor = aten.mm.default(first, second)
    return product if _broadcast([bias, product]) == product.shape else None


_RULES: Mapping[Any, Callable[[Any, Sequence[Any], Mapping[str, Any]], Tensor | None]] = {
    aten.mean.dim: _mean,
    aten.addmm.default: _addmm,
}
