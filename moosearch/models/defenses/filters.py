"""Filters of feature maps: (B, C, H, W) -> the same, every image on its own.

Windows end at the border of a map, but for the median's, in which the border's values are repeated.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def local_mean(x: Tensor, window: int) -> Tensor:
    """Return the mean over the window around each place.

    Args:
        x: (B, C, H, W).
        window: Side of the window, odd.

    Source: Xie et al. 2019, section 4.2.
    """
    return F.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=False)


def local_median(x: Tensor, window: int) -> Tensor:
    """Return the median over the window around each place, in each channel; its gradient goes to one place.

    Args:
        x: (B, C, H, W).
        window: Side of the window, odd.

    Source: Xie et al. 2019, eq. 3.
    """
    radius = window // 2
    for dim in (2, 3):
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
        x = torch.cat([*[first] * radius, x, *[last] * radius], dim)
    values = torch.stack(_shifts(x, window), dim=-1)
    # The place of the median is all that backward needs; and what torch calls median has no ONNX operator.
    place = values.detach().sort(dim=-1).indices[..., window**2 // 2, None]
    return values.gather(-1, place).squeeze(-1)


def bilateral(x: Tensor, window: int) -> Tensor:
    """Return `non_local_means` of x over the window around each place instead of the whole map.

    Args:
        x: (B, C, H, W).
        window: Side of the window, odd.

    Source: Xie et al. 2019, eq. 2, with the Gaussian weights of section 4.2 and no embeddings.
    """
    padding = [window // 2] * 4
    neighbors = _shifts(F.pad(x, padding), window)
    borders = _shifts(F.pad(torch.zeros_like(x[:1, 0]), padding, value=-torch.inf), window)
    query = x * x.shape[1] ** -0.5
    scores = torch.stack([(query * neighbor).sum(dim=1) for neighbor in neighbors], dim=1)
    weights = (scores + torch.stack(borders, dim=1)).softmax(dim=1).to(x.dtype)
    filtered = weights[:, :1] * neighbors[0]
    for index, neighbor in enumerate(neighbors[1:], start=1):
        filtered = filtered + weights[:, index, None] * neighbor
    return filtered


def non_local_means(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return for each place i the mean of all values v_j, weighted by exp(q_i . k_j / sqrt(D)).

    Memory is linear in the number of places on a CPU, and on a GPU where C is a multiple of 8; a second
    derivative is to be had there only under torch's ``sdpa_kernel(SDPBackend.MATH)``.

    Args:
        queries: (B, D, H, W), D at most C.
        keys: (B, D, h, w).
        values: (B, C, h, w).

    Returns:
        (B, C, H, W).

    Source: Xie et al. 2019, eq. 1 with the Gaussian (softmax) weights of section 4.2.
    """
    # Kernels that do not keep all weights want the features of a place side by side, and D = C: by zeros.
    channels, scale = values.shape[1], queries.shape[1] ** -0.5
    q, k, v = (
        F.pad(maps.flatten(2).transpose(1, 2), (0, channels - maps.shape[1])).unsqueeze(1).contiguous()
        for maps in (queries, keys, values)
    )
    means = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return means.squeeze(1).transpose(1, 2).reshape(*values.shape[:2], *queries.shape[2:])


def _shifts(padded: Tensor, window: int) -> list[Tensor]:
    """Return what stands at each offset of the window, for all places: (..., H + w - 1, W + w - 1) views."""
    height, width = (size - window + 1 for size in padded.shape[-2:])
    rows = [padded[..., start : start + height, :] for start in range(window)]
    return [row[..., start : start + width] for row in rows for start in range(window)]
