"""Losses as pure functions of logits."""

import torch.nn.functional as F
from torch import Tensor


def trades(clean: Tensor, adversarial: Tensor, y: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Return the two terms of TRADES: ``CE(f(x), y)`` and ``beta * KL(p(x) || p(x'))``.

    Args:
        clean: (B, K) logits on clean images.
        adversarial: (B, K) logits on adversarial images.
        y: (B,) labels.
        beta: Weight of the divergence, 1 / lambda of the paper, > 0.

    Returns:
        Two scalars, means over the batch, to be summed.

    Source: Zhang et al. 2019, eq. 5; Hotegni & Peitz 2024, eq. 11.
    """
    kl = F.kl_div(
        adversarial.log_softmax(dim=1),
        clean.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return F.cross_entropy(clean, y), beta * kl
