"""The inference copy of a network, in which training attacks run: the same function, computed faster."""

import copy
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from moosearch.models.defenses.defense import DefenseLayer
from moosearch.models.first_layer import FirstConv
from moosearch.models.kernels import CHECKED_IMAGES, fault
from moosearch.models.network import RobustNet
from moosearch.models.subsampled import Subsampled

FOLDED = (nn.Conv2d, Subsampled)
"""Convolutions that take a batch normalization in; a parametrized one is of a class of its own."""


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class _Fold(NamedTuple):
    """A convolution of the inference copy, and the convolution and batch normalization that it stands for."""

    target: nn.Conv2d | FirstConv
    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None


class InferenceCopy(RobustNet):
    """A network in eval mode without parameter gradients, batch normalization folded into convolutions.

    It follows its source: `refresh` takes over the source's weights after an optimizer step. Its trunk can
    compute in bfloat16; normalization, heads, and what comes in and goes out stay float32.
    """

    def __init__(
        self,
        source: RobustNet,
        *,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """Copy a network, on its device.

        Args:
            source: The network to follow.
            dtype: In which the trunk computes.
            memory_format: Of the trunk's convolutions.
        """
        nn.Module.__init__(self)
        self.features, self.parts = source.features, source.parts
        self.guard = copy.deepcopy(source.guard)
        self.normalize = copy.deepcopy(source.normalize)
        self.heads = copy.deepcopy(source.heads)
        trunk, folds = _folded(source.trunk)
        self.trunk = trunk if dtype == torch.float32 else nn.Sequential(_Cast(dtype), trunk)
        trunk.to(dtype)
        for module in trunk.modules():  # statistics and scales of what could not be folded stay exact
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()
        self.to(memory_format=memory_format)
        self._folds = folds
        folded = {id(tensor) for fold in folds for tensor in fold.target.state_dict(keep_vars=True).values()}
        self._pairs = [
            pair
            for ours, theirs in (
                (self.guard, source.guard),
                (self.normalize, source.normalize),
                (self.heads, source.heads),
                (trunk, source.trunk),
            )
            for pair in _pairs(ours, theirs)
            if id(pair[0]) not in folded
        ]
        self.requires_grad_(requires_grad=False).eval()
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the source's weights and statistics as they are now."""
        for target, conv, norm in self._folds:
            scale, shift = _affine(conv, norm)
            assert target.bias is not None
            target.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
            target.bias.copy_(shift)
            if isinstance(target, FirstConv):
                target.refresh()
        if self._pairs:
            ours, theirs = zip(*self._pairs, strict=True)
            torch._foreach_copy_(ours, theirs)


def inference_copy(net: RobustNet, shape: tuple[int, ...]) -> InferenceCopy:
    """Return the inference copy in float32, in the fastest layout that this machine computes correctly.

    A wrong gradient would make an attack weak, and the network look robust.

    Args:
        net: The network.
        shape: (C, H, W) of the images.
    """
    frozen = InferenceCopy(net, memory_format=torch.channels_last)
    device = next(net.parameters()).device

    def attack() -> None:
        x = torch.zeros(CHECKED_IMAGES, *shape, device=device, requires_grad=True)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            total = frozen(x.contiguous(memory_format=torch.channels_last)).sum()
            if total.requires_grad:  # a trunk of a user's own may look at nothing
                torch.autograd.grad(total, x)

    return InferenceCopy(net) if fault(attack) else frozen


def _affine(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Return the (O,) factor on a convolution's weight, and its bias, with a batch normalization taken in."""
    bias = torch.zeros_like(conv.weight[:, 0, 0, 0]) if conv.bias is None else conv.bias
    if norm is None:
        return torch.ones_like(bias), bias
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = (bias - mean) * scale
    return scale, shift if norm.bias is None else shift + norm.bias


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # a buffer in an expression is followed, not taken as a constant

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, DefenseLayer | Subsampled) or super().is_leaf_module(m, module_qualified_name)


def _folded(trunk: nn.Module) -> tuple[nn.Module, list[_Fold]]:
    """Copy a trunk with every ``convolution -> batch normalization`` replaced by one convolution.

    A first convolution on one channel becomes a `FirstConv`. A trunk that torch.fx cannot trace is copied as
    it is.
    """
    frozen = copy.deepcopy(trunk).eval()
    try:
        graph = _Tracer().trace(frozen)
    except Exception:  # whatever a user's own trunk does that cannot be traced
        return copy.deepcopy(trunk), []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in calls)
    alone = [node for node in calls if uses[node.target] == 1]
    norms: dict[Any, tuple[fx.Node, nn.BatchNorm2d]] = {}
    for node in alone:
        module = trunk.get_submodule(str(node.target))
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            norms[node.args[0]] = (node, module)
    folds = []
    for node in alone:
        name = str(node.target)
        conv, target = trunk.get_submodule(name), frozen.get_submodule(name)
        if not isinstance(conv, nn.Conv2d) or not isinstance(target, nn.Conv2d) or type(conv) not in FOLDED:
            continue
        after, norm = norms.get(node, (None, None)) if len(node.users) == 1 else (None, None)
        before = node.args[0]
        if isinstance(before, fx.Node) and before.op == "placeholder" and FirstConv.fits(conv):
            first = FirstConv(conv)
            frozen.set_submodule(name, first)
            folds.append(_Fold(first, conv, norm))
        elif norm is not None:
            target.bias = nn.Parameter(torch.zeros_like(conv.weight[:, 0, 0, 0]))
            folds.append(_Fold(target, conv, norm))
        if after is not None:
            after.replace_all_uses_with(node)
            graph.erase_node(after)
    return fx.GraphModule(frozen, graph), folds


def _pairs(ours: nn.Module, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Pair the tensors of the same name."""
    state = theirs.state_dict(keep_vars=True)
    return [
        (tensor, state[name]) for name, tensor in ours.state_dict(keep_vars=True).items() if name in state
    ]
