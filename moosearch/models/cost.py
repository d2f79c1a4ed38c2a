"""What a deployed network costs, counted: FLOPs, parameters, memory of activations. Nothing is timed here."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from moosearch.models.blank import blank
from moosearch.models.shapes import Shapes
from moosearch.models.watcher import Watcher

aten = torch.ops.aten
FORMULAS: Mapping[Any, Any] = {
    **flop_registry,
    # torch counts it on a GPU, and its parts where there are no numbers, but not on a CPU.
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
}
"""What an operator computes, by operator."""


class FlopCounter(Watcher):
    """Counts the floating-point operations that run in its context, by torch's formulas.

    torch's own `FlopCounterMode` hooks modules to say where they run, and `torch.autograd.grad` for what goes
    into one fails with its hooks; and it imports torch's compiler.

    Attributes:
        total: Operations so far: of convolutions, matrix products and attention.
    """

    total: int

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __enter__(self) -> "FlopCounter":
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        formula = FORMULAS.get(func._overloadpacket)
        if formula is None and func._can_decompose():  # in inference mode layers come as a whole
            with self:
                return func.decompose(*args, **(kwargs or {}))
        returned = func(*args, **(kwargs or {}))
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=returned))
        return returned


def count_flops(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Count the floating-point operations of one image, by torch's counter.

    It counts convolutions and matrix products, a multiply-accumulate as two; element-wise operations
    are free.

    Args:
        network: A deployed network on any device.
        shape: (C, H, W) of an image.
    """
    device = next(network.parameters()).device
    network.eval()
    image = torch.zeros(1, *shape, device=device)
    # On meta torch would compose batch normalization, which is free, of many parts, and import its compiler.
    shapes_alone = blank("meta") if device.type == "meta" else contextlib.nullcontext()
    with torch.no_grad(), shapes_alone, FlopCounter() as counter:
        network(image)
    return counter.total


def count_parameters(network: nn.Module) -> int:
    """Count the trainable numbers of a deployed network."""
    return sum(parameter.numel() for parameter in network.parameters())


def peak_memory(network: nn.Module, shape: tuple[int, int, int], *, batch: int) -> int:
    """Count the most bytes that the tensors of an inference hold at once, parameters and buffers apart.

    Tensors that share memory, such as views and what is changed in place, count once. What an operator
    needs while it runs is not seen, nor what an allocator keeps. It is the same on every device, ``meta``
    included, where it takes neither time nor memory.

    Args:
        network: A deployed network on any device.
        shape: (C, H, W) of an image.
        batch: Images at a time; they count too.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), Shapes(), _Tensors([*network.parameters(), *network.buffers()]) as tensors:
        network(torch.zeros(batch, *shape, device=device))
    peak: int = tensors.peak
    return peak


class _Tensors(Watcher):
    """Watches the memory of what operators return.

    Attributes:
        peak: The most bytes that were held at once.
    """

    def __init__(self, aside: Sequence[Tensor]) -> None:
        """Leave aside the memory of some tensors."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._aside = {tensor.untyped_storage()._cdata for tensor in aside}
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        returned = func(*args, **(kwargs or {}))
        self._held = {
            key: (held, size)
            for key, (held, size) in self._held.items()
            if not held.expired()  # type: ignore[no-untyped-call]
        }
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._aside:
                    held = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                    self._held[storage._cdata] = held, storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._held.values()))
        return returned
