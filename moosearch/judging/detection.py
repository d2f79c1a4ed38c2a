"""Detection of adversarial images by feature squeezing: scores, a threshold, and what comes of both.

A network sees an image as it is and squeezed, that is with less room for an adversary; where the two
predictions are far from each other, the image is rejected (Xu, Evans & Qi 2018).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moosearch.attacks import Attack, perturb
from moosearch.data import Split, Task, labels_of
from moosearch.errors import DivergedError
from moosearch.judging.measure import attack_generator, averaged, batch_size, copy_of
from moosearch.judgment import wilson
from moosearch.models import RobustNet

Told = Callable[[int, int], None]
"""Is told the images done and how many there are."""


def views(classify: Callable[[Tensor], Tensor], squeezers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Return what a network says of images as they are and squeezed.

    Args:
        classify: (B, C, H, W) -> (B, K) logits.
        squeezers: (B, C, H, W) in [0, 1] -> the same.
        x: (B, C, H, W) images in [0, 1].

    Returns:
        (1 + S, B, K) logits: of the images as they are, then squeezed by each of S squeezers.
    """
    return torch.stack([classify(x), *(classify(squeeze(x)) for squeeze in squeezers)])


def scores(logits: Tensor) -> Tensor:
    """Return how far predictions on squeezed images are from those on the images themselves.

    The score is the largest l1 distance over the squeezers, of probability vectors: in [0, 2].

    Args:
        logits: (1 + S, B, K) as `views` returns them, S >= 1.

    Returns:
        (B,) scores.

    Source: Xu, Evans & Qi 2018, eqs. 5 and 6.
    """
    probabilities = logits.softmax(dim=2)
    return (probabilities[1:] - probabilities[:1]).abs().sum(dim=2).amax(dim=0)


def threshold_of(legitimate: Tensor, fpr: float) -> float:
    """Return the (1 - fpr) quantile of scores: the least of them that at most a share fpr of them exceeds.

    Args:
        legitimate: (N,) scores of legitimate images, N >= 1.
        fpr: Share of legitimate images that may be rejected, in (0, 1).

    Returns:
        A score t; images whose score is larger than t are rejected.

    Raises:
        ValueError: There is no score, or ``fpr`` is not in (0, 1).

    Source: the paper's section 5.1; an order statistic as in its authors' code, so that ties and small N
    reject fewer, never more.
    """
    if not len(legitimate):
        raise ValueError("no score of a legitimate image: there is no threshold")
    if not 0 < fpr < 1:
        raise ValueError(f"fpr: got {fpr}, expected more than 0 and less than 1")
    count = len(legitimate)
    rejected = min(math.floor(fpr * count + 1e-9), count - 1)  # 0.29 * 100 is just below 29
    return float(legitimate.sort().values[count - 1 - rejected])


@dataclass(frozen=True)
class Scored:
    """What a network and its detector make of N images.

    Attributes:
        right: (N,) booleans: classified rightly, whether or not they are rejected.
        score: (N,) scores in [0, 2].
    """

    right: Tensor
    score: Tensor


@torch.no_grad()
def score_images(
    net: RobustNet, squeezers: Sequence[nn.Module], images: Split, *, batch: int = 0, told: Told | None = None
) -> Scored:
    """Classify and score images as they are.

    Args:
        net: The network, in eval mode.
        squeezers: The squeezers, on the network's device.
        images: N images, there too.
        batch: Images at a time; 0 for `batch_size`.
        told: Is told how far it is.

    Raises:
        DivergedError: Logits are not finite.
    """
    size, right, score = batch or batch_size(images), [], []
    for number, part in enumerate(images.batches(size)):
        with averaged(net):
            logits = views(net, squeezers, part.x)
        if not torch.isfinite(logits).all():
            raise DivergedError("the logits of the trained network are not finite: diverged")
        right.append(logits[0].argmax(dim=1) == part.y)
        score.append(scores(logits))
        if told is not None:
            told(min((number + 1) * size, len(images)), len(images))
    return Scored(torch.cat(right), torch.cat(score))


def score_under(
    attack: Attack,
    net: RobustNet,
    squeezers: Sequence[nn.Module],
    images: Split,
    tasks: tuple[Task, ...],
    clean: Scored,
    *,
    seed: int,
    batch: int = 0,
    told: Told | None = None,
) -> Scored:
    """Attack the images that are classified rightly, then classify and score what came of them.

    An attack goes its whole way, as in the paper: one that stopped at the first image that fools would leave
    it at the boundary, where detection is another matter.

    Args:
        attack: The attack; it meets the network's inference copy.
        net: The network, in eval mode.
        squeezers: The squeezers, on the network's device.
        images: N images, there too.
        tasks: The dataset's tasks.
        clean: What `score_images` says of them.
        seed: Decides the random numbers. An image's depend on its batch too.
        batch: Images at a time; 0 for `batch_size`.
        told: Is told how far it is.

    Returns:
        N images again: those that were wrong as they are were left as they are.
    """
    size, frozen, done = batch or batch_size(images), copy_of(net, images), 0
    right, score, total = clean.right.clone(), clean.score.clone(), int(clean.right.sum())
    for number, part in enumerate(images.batches(size)):
        here = slice(number * size, number * size + len(part))
        rows = clean.right[here].nonzero().squeeze(1)
        if not len(rows):
            continue
        labels = tuple(each[rows] for each in labels_of(tasks, part.y))
        generator = attack_generator(seed, number, attack, part.x.device)
        x_adv = perturb(attack, frozen, part.x[rows], labels, generator=generator)
        found = score_images(net, squeezers, Split(x_adv, labels[0]), batch=size)
        right[here][rows], score[here][rows] = found.right, found.score
        done += len(rows)
        if told is not None:
            told(done, total)
    return Scored(right, score)


def rate(count: int, of: int) -> dict[str, Any]:
    """Return ``count``, ``of``, their ``rate`` and its Wilson ``interval``; None where ``of`` is 0."""
    known = of > 0
    return {
        "count": count,
        "of": of,
        "rate": count / of if known else None,
        "interval": list(wilson(count, of)) if known else None,
    }


def area(legitimate: Tensor, adversarial: Tensor) -> float | None:
    """Return the area under the ROC curve: how often an adversarial image has the larger score; ties half.

    None where one of the two, (N,) and (M,) scores, is empty.
    """
    from sklearn.metrics import roc_auc_score  # takes a second to import

    if not len(legitimate) or not len(adversarial):
        return None
    truth = [0] * len(legitimate) + [1] * len(adversarial)
    return float(roc_auc_score(truth, torch.cat([legitimate, adversarial]).cpu().numpy()))


def fooled(clean: Scored, attacked: Scored) -> Tensor:
    """Mark successful adversarial images: right as they were, wrong under attack: (N,) booleans."""
    return clean.right & ~attacked.right


def withstood(clean: Scored, attacked: Scored, threshold: float) -> Tensor:
    """Mark images that are right as they are, and under attack right or rejected: (N,) booleans."""
    return clean.right & (attacked.right | (attacked.score > threshold))


def clean_rates(clean: Scored, threshold: float) -> dict[str, Any]:
    """Return what a detector does to images that nobody attacked, each a `rate`.

    Returns:
        ``false_positives``: rejected, of those classified rightly; ``wrong_rejected``: rejected, of the
        others; ``right_and_accepted``: of all.
    """
    right, rejected = clean.right, clean.score > threshold
    return {
        "false_positives": _share(rejected, right),
        "wrong_rejected": _share(rejected, ~right),
        "right_and_accepted": _share(right & ~rejected, torch.ones_like(right)),
    }


def attack_rates(clean: Scored, attacked: Scored, threshold: float) -> dict[str, Any]:
    """Return what a detector makes of an attack.

    Returns:
        As `rate` each: ``fooled``: of the images attacked, those that are right as they are; ``detected``:
        rejected, of those that fool; ``failed_detected``: rejected, of those that do not; ``right``: without
        the detector, of all images; ``defended``: right or rejected with it, of all images. And ``auc``:
        `area` of legitimate images, classified rightly, against those that fool.
    """
    success, rejected = fooled(clean, attacked), attacked.score > threshold
    everything = torch.ones_like(success)
    return {
        "fooled": _share(success, clean.right),
        "detected": _share(rejected, success),
        "failed_detected": _share(rejected, clean.right & ~success),
        "auc": area(clean.score[clean.right], attacked.score[success]),
        "right": _share(clean.right & ~success, everything),
        "defended": _share(withstood(clean, attacked, threshold), everything),
    }


def worst_case(clean: Scored, attacked: Sequence[Scored], threshold: float) -> dict[str, Any]:
    """Return ``right`` and ``defended`` under the worst of attacks for each image, each a `rate`."""
    right, kept = clean.right.clone(), clean.right.clone()
    for each in attacked:
        right &= each.right
        kept &= withstood(clean, each, threshold)
    everything = torch.ones_like(right)
    return {"right": _share(right, everything), "defended": _share(kept, everything)}


def _share(marks: Tensor, among: Tensor) -> dict[str, Any]:
    return rate(int((marks & among).sum()), int(among.sum()))
