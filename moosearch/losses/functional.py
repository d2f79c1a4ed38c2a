"""Losses as pure functions of logits and of embedded features."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def trades(
    clean: Tensor, adversarial: Tensor, y: Tensor, *, beta: float, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the two terms of TRADES: ``CE(f(x), y)`` and ``beta * KL(p(x) || p(x'))``.

    Args:
        clean: (B, K) logits on clean images.
        adversarial: (B, K) logits on adversarial images.
        y: (B,) labels.
        beta: Weight of the divergence, 1 / lambda of the paper, > 0.
        smoothing: Share of the labels that is spread over all classes in the cross-entropy.

    Returns:
        Two scalars, means over the batch, to be summed.

    Source: Zhang et al. 2019, eq. 5; Hotegni & Peitz 2024, eq. 11.
    """
    accuracy = F.cross_entropy(clean, y, label_smoothing=smoothing)
    return accuracy, beta * _divergence(clean, adversarial).mean()


def mart(
    clean: Tensor, adversarial: Tensor, y: Tensor, *, beta: float, smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three terms of MART, the first two being its boosted cross-entropy.

    They are ``-log p_y(x')``, ``-log(1 - max_{k != y} p_k(x'))`` and
    ``beta * KL(p(x) || p(x')) * (1 - p_y(x))``.

    Args:
        clean: (B, K) logits on clean images.
        adversarial: (B, K) logits on adversarial images.
        y: (B,) labels.
        beta: Weight of the divergence, lambda of Wang et al. and 1 / lambda of Hotegni & Peitz, > 0.
        smoothing: Share of the labels that is spread over all classes in the cross-entropy.

    Returns:
        Three scalars, means over the batch, to be summed.

    Source: Wang et al. 2020; Hotegni & Peitz 2024, eq. 12, which prints natural features in the boosted
    cross-entropy where both codes use adversarial ones. The published code adds 1e-4 to ``1 - max p`` to keep
    its logarithm finite; here it is the sum of the other probabilities, in logarithms.
    """
    right = y.unsqueeze(1)
    log_p = adversarial.log_softmax(dim=1)
    rival = log_p.scatter(1, right, -torch.inf).argmax(dim=1, keepdim=True)
    margin = -log_p.scatter(1, rival, -torch.inf).logsumexp(dim=1)
    doubt = -torch.expm1(clean.log_softmax(dim=1).gather(1, right).squeeze(1))
    divergence = beta * (_divergence(clean, adversarial) * doubt).mean()
    return F.cross_entropy(adversarial, y, label_smoothing=smoothing), margin.mean(), divergence


def loat(clean: Tensor, adversarial: Tensor, y: Tensor, *, late: bool) -> tuple[Tensor, Tensor]:
    """Return the two regularizers of LOAT.

    Both concern a group of images: early in the training those that are misclassified without perturbation,
    late those that are not. Where s is the squared distance of the wrong classes' clean probabilities from
    their mean, the first is the mean s outside the group minus the mean s in it; the second is the group's
    mean squared distance between clean and adversarial probabilities.

    Args:
        clean: (B, K) logits on clean images.
        adversarial: (B, K) logits on adversarial images.
        y: (B,) labels.
        late: Whether the group are the images that are classified rightly.

    Returns:
        The spread, in (-1, 1), and the pairing, in [0, 2]. Means over no image are 0.

    Source: Yin & Ruan 2024 and their code (``LORE``, ``reg_type mse``).
    """
    p, p_adv = clean.softmax(dim=1), adversarial.softmax(dim=1)
    wrong = 1 - F.one_hot(y, p.shape[1])  # (B, K)
    mean = (p * wrong).sum(dim=1, keepdim=True) / (p.shape[1] - 1)
    spread = ((p - mean).square() * wrong).sum(dim=1)
    pairing = (p_adv - p).square().sum(dim=1)
    group = (clean.argmax(dim=1) == y) == late
    return _mean_where(~group, spread) - _mean_where(group, spread), _mean_where(group, pairing)


def alp(
    clean: Tensor,
    adversarial: Tensor,
    y: Tensor,
    *,
    weight: float,
    images: Literal["both", "adversarial"],
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the two terms of adversarial logit pairing: cross-entropy and squared distance of logits.

    Args:
        clean: (B, K) logits on clean images.
        adversarial: (B, K) logits on adversarial images.
        y: (B,) labels.
        weight: Weight lambda of the pairing, > 0.
        images: Whose cross-entropy: the mean over clean and adversarial images, or the latter alone.
        smoothing: Share of the labels that is spread over all classes in the cross-entropy.

    Returns:
        Two scalars, to be summed; the pairing is a mean over images and classes.

    Source: Kannan et al. 2018 and their code.
    """
    accuracy = F.cross_entropy(adversarial, y, label_smoothing=smoothing)
    if images == "both":
        accuracy = (accuracy + F.cross_entropy(clean, y, label_smoothing=smoothing)) / 2
    return accuracy, weight * F.mse_loss(adversarial, clean)


def cosine(natural: Tensor, adversarial: Tensor) -> Tensor:
    """Return ``1 - mean_i cos(s_i, s'_i)``: (N, b), (N, b) -> scalar in [0, 2].

    Source: Hotegni & Peitz 2024, eq. 8.
    """
    return 1 - F.cosine_similarity(natural, adversarial, dim=1).mean()


def contrastive(
    rows: Tensor, y: Tensor, *, temperature: float, reduction: Literal["sum", "mean"] = "sum"
) -> Tensor:
    """Return the multi-positive contrastive loss.

    ``sum_j -1/|P(j)| sum_{p in P(j)} log(exp(t_j.t_p / tau) / sum_{q != j} exp(t_j.t_q / tau))`` over
    normalized rows t, where P(j) are the other rows of j's class; a row without one contributes 0.

    Args:
        rows: (N, b) embedded rows, of any length.
        y: (N,) classes.
        temperature: tau > 0.
        reduction: Whether rows are added up or averaged (the N of them, contributing or not).

    Returns:
        A scalar >= 0.

    Source: Hotegni & Peitz 2024, eq. 9, after Khosla et al. 2020.
    """
    t = F.normalize(rows, dim=1)
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    # The lowest finite number: a single row has no other, and the softmax of -inf alone is NaN.
    scores = (t @ t.T / temperature).masked_fill(itself, torch.finfo(t.dtype).min)
    positive = same_class(y) & ~itself
    log_p = scores.log_softmax(dim=1).masked_fill(~positive, 0)
    anchors = -log_p.sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    return anchors.sum() if reduction == "sum" else anchors.mean()


def same_class(y: Tensor) -> Tensor:
    """Return which pairs of rows are of one class: (N,) -> (N, N)."""
    return y.unsqueeze(1) == y


def _divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(p(x) || p(x')) of each image: (B, K), (B, K) -> (B,)."""
    clean, adversarial = clean.log_softmax(dim=1), adversarial.log_softmax(dim=1)
    return F.kl_div(adversarial, clean, reduction="none", log_target=True).sum(dim=1)


def _mean_where(mask: Tensor, values: Tensor) -> Tensor:
    """(B,), (B,) -> mean of the values where the mask is set, 0 where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
