"""The activation of a trunk: ReLU, or a smooth stand-in for it."""

from collections.abc import Callable
from typing import Literal

from torch import nn

Activation = Literal["relu", "silu", "gelu", "softplus"]
"""A field of every architecture. ``softplus`` is log(1 + exp(10 x)) / 10, at most 0.07 above ReLU."""

_SMOOTH: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": lambda: nn.Softplus(beta=10),
}


def activate(trunk: nn.Module, activation: Activation) -> nn.Module:
    """Replace every ReLU of a trunk in place, and return it.

    A smooth activation gives attacks and training a gradient that changes continuously, and adversarial
    training both more robustness and more accuracy. It has no weights: parameters, their initialization
    and FLOPs are those with ReLU.

    Source: Xie et al. 2020, Smooth Adversarial Training.
    """
    if activation != "relu":
        for parent in trunk.modules():
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(parent, name, _SMOOTH[activation]())
    return trunk
