"""Where blocks can stand in a trunk: after its stages."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from moosearch.errors import SpecError

_UNFINISHED = (
    nn.Conv2d,
    nn.Linear,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.dropout._DropoutNd,
)
"""Layers after which no stage ends: an activation is still to come."""


@torch.no_grad()
def stages(trunk: nn.Sequential, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Find the stages of a trunk: layers of one resolution, up to the last activation or block of it.

    So stages of residual networks are those of their papers; a stem that is activated before it is pooled
    comes as one before them.

    Args:
        trunk: (B, C, H, W) -> (B, o), layer by layer; on any device, ``meta`` included.
        shape: (C, H, W) of the images.

    Returns:
        For each stage the place after its last layer, and the channels there. Feature maps of one pixel are
        none.
    """
    device = next((parameter.device for parameter in trunk.parameters()), torch.device("cpu"))
    ends: dict[tuple[int, ...], tuple[int, int]] = {}
    x, training = torch.zeros(1, *shape, device=device), trunk.training
    trunk.eval()
    for place, layer in enumerate(trunk):
        x = layer(x)
        if x.ndim == 4 and x[0, 0].numel() > 1 and not isinstance(layer, _UNFINISHED):
            ends[tuple(x.shape[2:])] = (place + 1, x.shape[1])
    trunk.train(training)
    return list(ends.values())


def inserted(
    trunk: nn.Module,
    shape: tuple[int, int, int],
    after: Sequence[int],
    block: Callable[[int], nn.Module | None],
) -> nn.Module:
    """Return a trunk with blocks after some of its stages.

    Args:
        trunk: (B, C, H, W) -> (B, o), layer by layer.
        shape: (C, H, W) of the images.
        after: The stages, from 1, or from the last, which is -1.
        block: Builds a block for a number of channels.

    Raises:
        SpecError: There is no such stage, or one is named twice, or the trunk is not made of layers.
    """
    if not isinstance(trunk, nn.Sequential):
        raise SpecError(f"defenses.denoise: expected a trunk of layers, got {type(trunk).__name__}.")
    found = stages(trunk, shape)
    if not found:
        raise SpecError("defenses.denoise: no stage of this network has feature maps of more than one pixel.")
    for number in after:
        if number == 0 or not -len(found) <= number <= len(found):
            raise SpecError(
                f"defenses.denoise.after: got {number}, expected 1 to {len(found)}, or from the last -1 to "
                f"-{len(found)}: the network has {len(found)} stages with feature maps"
            )
    chosen = sorted(found[number - 1 if number > 0 else number] for number in after)
    if len(set(chosen)) < len(chosen):
        raise SpecError(
            f"defenses.denoise.after: got {list(after)}, expected each stage once: there are {len(found)}."
        )
    blocks = {place: block(channels) for place, channels in chosen}
    layers: list[nn.Module] = []
    for place, layer in enumerate(trunk):
        layers.append(layer)
        extra = blocks.get(place + 1)
        if extra is not None:
            layers.append(extra)
    return nn.Sequential(*layers)
