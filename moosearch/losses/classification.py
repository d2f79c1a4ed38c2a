"""Losses on the logits of the main task, as plug-ins."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F

from moosearch.data.tasks import Labels
from moosearch.losses import functional
from moosearch.losses.loss import LOSSES, Stateless, Terms, needed
from moosearch.models.network import Outputs
from moosearch.registry import Positive


@LOSSES.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Stateless):
    """Cross-entropy on adversarial images (Madry et al. 2018)."""

    needs_clean: ClassVar[bool] = False
    smooths: ClassVar[bool] = True
    several_labels: ClassVar[bool] = True

    def terms(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, smoothing: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        value = F.cross_entropy(adversarial.logits[0], labels[0], label_smoothing=smoothing)
        return Terms.sum(cross_entropy=value)


@LOSSES.register("trades")
@dataclass(frozen=True)
class Trades(Stateless):
    """TRADES (Zhang et al. 2019): clean cross-entropy plus divergence of the adversarial prediction.

    The adversarial images are those of the training attack; the paper's own inner problem is the attack
    ``{name: pgd, objective: kl, random_start: false}``.

    Attributes:
        beta: Weight of the divergence, 1 / lambda of the paper.
    """

    beta: Positive = 6.0
    needs_clean: ClassVar[bool] = True
    smooths: ClassVar[bool] = True
    several_labels: ClassVar[bool] = True

    def terms(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, smoothing: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        cross_entropy, divergence = functional.trades(
            needed(clean).logits[0], adversarial.logits[0], labels[0], beta=self.beta, smoothing=smoothing
        )
        return Terms.sum(cross_entropy=cross_entropy, divergence=divergence)


@LOSSES.register("mart")
@dataclass(frozen=True)
class Mart(Stateless):
    """MART (Wang et al. 2020): boosted cross-entropy plus a divergence that counts where the net is unsure.

    Smoothed labels enter the cross-entropy alone: the margin and the weight of the divergence speak of the
    probability of the right class as it is.

    Attributes:
        beta: Weight of the divergence, lambda of the paper.
    """

    beta: Positive = 6.0
    needs_clean: ClassVar[bool] = True
    smooths: ClassVar[bool] = True

    def terms(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, smoothing: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        cross_entropy, margin, divergence = functional.mart(
            needed(clean).logits[0], adversarial.logits[0], labels[0], beta=self.beta, smoothing=smoothing
        )
        return Terms.sum(cross_entropy=cross_entropy, margin=margin, divergence=divergence)


@LOSSES.register("alp")
@dataclass(frozen=True)
class Alp(Stateless):
    """Adversarial logit pairing (Kannan et al. 2018).

    Attributes:
        weight: Weight of the squared distance of logits.
        images: Whose cross-entropy: ``both`` in equal parts, as published, or ``adversarial`` alone.
    """

    weight: Positive = 0.5
    images: Literal["both", "adversarial"] = "both"
    needs_clean: ClassVar[bool] = True
    smooths: ClassVar[bool] = True
    several_labels: ClassVar[bool] = True

    def terms(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, smoothing: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        cross_entropy, pairing = functional.alp(
            needed(clean).logits[0],
            adversarial.logits[0],
            labels[0],
            weight=self.weight,
            images=self.images,
            smoothing=smoothing,
        )
        return Terms.sum(cross_entropy=cross_entropy, logit_pairing=pairing)


@LOSSES.register("binary_cross_entropy")
@dataclass(frozen=True)
class BinaryCrossEntropy(Stateless):
    """Cross-entropy of every class for itself, there or not, on adversarial images.

    Smoothed, a class that is there counts as there by ``1 - s / 2``, another one by ``s / 2``.
    """

    needs_clean: ClassVar[bool] = False
    smooths: ClassVar[bool] = True
    several_labels: ClassVar[bool] = True

    def terms(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, smoothing: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        logits, y = adversarial.logits[0], labels[0]
        there = (F.one_hot(y, logits.shape[1]) if y.ndim == 1 else y > 0).to(logits.dtype)
        target = (1 - smoothing) * there + smoothing / 2
        value = F.binary_cross_entropy_with_logits(logits, target)
        return Terms.sum(binary_cross_entropy=value)
