"""The backward pass of another function: how attacks and training see through what has no useful gradient."""

import torch
from torch import Tensor


def straight_through(value: Tensor, stand_in: Tensor) -> Tensor:
    """Return ``value`` exactly, with the gradient of ``stand_in`` where one is asked for.

    In an exported program it is ``value`` alone: a program predicts.

    Args:
        value: What the forward pass gives.
        stand_in: Of the same shape, finite: what backward differentiates in its place.

    Source: backward pass differentiable approximation, Athalye et al. 2018, section 4.1.
    """
    if not (torch.is_grad_enabled() and stand_in.requires_grad) or torch.compiler.is_exporting():
        return value
    return value.detach() + (stand_in - stand_in.detach())
