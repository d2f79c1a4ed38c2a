"""Layers in parts: the same features and gradients with less memory, by computing activations again."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from moosearch.models.activation import SmoothRelu
from moosearch.models.defenses.defense import DefenseLayer
from moosearch.models.subsampled import Subsampled

APART = frozenset(
    (
        nn.Sequential,
        nn.Identity,
        nn.Flatten,
        nn.Linear,
        nn.Conv2d,
        Subsampled,
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveMaxPool2d,
        nn.ReLU,
        nn.SiLU,
        nn.GELU,
        nn.Softplus,
        SmoothRelu,
        nn.GroupNorm,
        nn.LayerNorm,
    )
)
"""Layers that are known to treat every image on its own, in training too, and to draw nothing at random."""


def run_in_parts(trunk: nn.Module, x: Tensor, parts: int) -> Tensor:
    """Run a trunk, and keep a fraction of what backward needs; the rest is computed again then.

    Where every image goes its own way (always in eval mode), the batch passes in parts. Where images meet in
    batch statistics, or a mask is drawn for a whole batch, the layers are halved instead, and their halves
    again, and only the images between them are kept. Either way the outputs are those of one pass over the
    whole batch up to rounding, so any loss can be differentiated; statistics are updated once.

    Args:
        trunk: (B, C, H, W) -> (B, o). Layers that change their input in place say so by a field ``inplace``.
        x: (B, C, H, W).
        parts: A power of two.
    """
    layers = _flat(trunk)
    if not torch.is_grad_enabled():
        pieces = x.chunk(parts) if _apart(layers) else (x,)
        return torch.cat([_run(layers, piece) for piece in pieces])
    sizes = [] if _apart(layers) else _sizes(layers, x)
    return _nested(layers, sizes, parts, x)


def _flat(trunk: nn.Module) -> list[nn.Module]:
    if type(trunk) is not nn.Sequential:
        return [trunk]
    return [layer for child in trunk for layer in _flat(child)]


def _nested(layers: Sequence[nn.Module], sizes: Sequence[int], parts: int, x: Tensor) -> Tensor:
    if parts == 1:
        return _run(layers, x)
    if _apart(layers):
        return torch.cat([_later(partial(_run, layers), layers, piece) for piece in x.chunk(parts)])
    cut = _cut(layers, sizes)
    if cut:
        for half in (slice(cut), slice(cut, None)):
            run = partial(_nested, layers[half], sizes[half], parts // 2)
            x = _later(run, layers[half], x)
        return x
    return _run(layers, x)


def _run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _later(run: "partial[Tensor]", layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Run, forget all but the result, and run again when backward gets there."""
    y: Tensor = checkpoint(run, x, use_reentrant=False, context_fn=lambda: (nullcontext(), Still(layers)))
    return y


def _apart(layers: Sequence[nn.Module]) -> bool:
    """Whether no image can make a difference to another one's outputs."""
    modules = [module for layer in layers for module in layer.modules()]
    return not any(module.training and not _alone(module) for module in modules)


def _alone(module: nn.Module) -> bool:
    return type(module) in APART or (isinstance(module, DefenseLayer) and not module.random)


def _cut(layers: Sequence[nn.Module], sizes: Sequence[int]) -> int:
    """Return before which layer to cut, so that the larger half is as small as it can be; 0 for nowhere."""
    places = [place for place in range(1, len(layers)) if not _changes_its_input(layers[place])]
    return min(places, key=lambda place: max(sum(sizes[:place]), sum(sizes[place:])), default=0)


def _changes_its_input(layer: nn.Module) -> bool:
    first = next(module for module in layer.modules() if not any(module.children()))
    return bool(getattr(first, "inplace", False))


def _sizes(layers: Sequence[nn.Module], x: Tensor) -> list[int]:
    """Return how many bytes each layer keeps of images for backward, measured on two of them."""
    x, sizes, known = x[:2], [0], set()

    def count(tensor: Tensor) -> Tensor:
        # Neither weights, nor copies of them in another precision: they are there once for all images.
        if tensor.ndim and len(tensor) == len(x) and tensor.data_ptr() not in known:
            known.add(tensor.data_ptr())
            sizes[-1] += tensor.nbytes
        return tensor

    devices = [x.device] if x.device.type == "cuda" else []
    with Still(layers), torch.random.fork_rng(devices), saved_tensors_hooks(count, lambda kept: kept):
        for layer in layers:
            x = layer(x)
            sizes.append(0)
    return sizes[:-1]


class Still:
    """Lets layers update copies of their statistics within a block; it can be entered again and again.

    Where derivatives are differentiated, layers are run once more for each of the two.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        """Take the layers."""
        self.layers = layers
        self.held: list[tuple[nn.Module, dict[str, Tensor | None]]] = []

    def __enter__(self) -> None:
        """Put copies in the place of statistics."""
        for layer in self.layers:
            for module in layer.modules():
                if module.training and module._buffers:
                    self.held.append((module, module._buffers))
                    copies = {name: b if b is None else b.clone() for name, b in module._buffers.items()}
                    module.__dict__["_buffers"] = copies

    def __exit__(self, *_: object) -> None:
        """Put the statistics back."""
        while self.held:
            module, buffers = self.held.pop()
            module.__dict__["_buffers"] = buffers
