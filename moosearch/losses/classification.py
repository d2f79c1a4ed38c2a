"""Losses of the main task as plug-ins."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from moosearch.data.tasks import Labels
from moosearch.losses import functional
from moosearch.losses.loss import LOSSES, Terms
from moosearch.models.network import Outputs
from moosearch.registry import Positive


@LOSSES.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy on adversarial images (Madry et al. 2018)."""

    needs_clean: ClassVar[bool] = False

    def __call__(self, clean: Outputs | None, adversarial: Outputs, labels: Labels) -> Terms:
        """Return the loss of a batch."""
        return Terms(F.cross_entropy(adversarial.logits[0], labels[0]))


@LOSSES.register("trades")
@dataclass(frozen=True)
class Trades:
    """TRADES (Zhang et al. 2019): clean cross-entropy plus divergence of the adversarial prediction.

    The adversarial images are those of the training attack; the paper's own inner problem is the attack
    ``{name: pgd, objective: kl, random_start: false}``.

    Attributes:
        beta: Weight of the divergence, 1 / lambda of the paper.
    """

    beta: Positive = 6.0
    needs_clean: ClassVar[bool] = True

    def __call__(self, clean: Outputs | None, adversarial: Outputs, labels: Labels) -> Terms:
        """Return the loss of a batch."""
        if clean is None:
            raise ValueError("TRADES needs the outputs on clean images")
        accuracy, robustness = functional.trades(
            clean.logits[0], adversarial.logits[0], labels[0], beta=self.beta
        )
        parts = {"accuracy": accuracy.detach(), "robustness": robustness.detach()}
        return Terms(accuracy + robustness, parts)
