"""Networks built for their shapes alone: weights are not drawn, which takes most of the time of building."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moosearch.models.shapes import Shapes

_DRAWN = frozenset(
    {
        Tensor.normal_,
        Tensor.uniform_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.trunc_normal_,
        nn.init.kaiming_uniform_,
    }
)
"""What fills a tensor with random numbers; a mode is not asked again for what these call themselves."""


@contextlib.contextmanager
def blank(device: str) -> Iterator[None]:
    """Build networks in a block on a device, with zeros where weights would be drawn.

    Constants are what they always are. What is built can be counted and timed; its answers mean nothing.

    Args:
        device: ``cpu``, or ``meta``, where tensors hold no numbers at all: there batch normalization, which
            changes no shape, is passed over too.
    """
    with torch.device(device), _Undrawn(), Shapes():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves out what draws numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in _DRAWN:
            tensor: Tensor = args[0] if args else given["tensor"]
            with torch.no_grad():
                return tensor.zero_()
        if func is F.batch_norm and args[0].is_meta:
            return args[0]
        return func(*args, **given)
