"""The backward pass of another function: how attacks and training see through what has no useful gradient."""

import torch
from torch import Tensor


def asks_for_gradient(x: Tensor) -> bool:
    """Whether a layer's backward pass from here may be needed; not in an exported program, which predicts."""
    return torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_exporting()


def straight_through(value: Tensor, stand_in: Tensor) -> Tensor:
    """Return ``value`` exactly, with the gradient of ``stand_in`` where one is asked for.

    Args:
        value: What the forward pass gives.
        stand_in: Of the same shape, finite: what backward differentiates in its place.

    Source: backward pass differentiable approximation, Athalye et al. 2018, section 4.1.
    """
    if not asks_for_gradient(stand_in):
        return value
    return value.detach() + (stand_in - stand_in.detach())
