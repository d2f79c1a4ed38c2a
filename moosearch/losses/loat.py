"""LOAT: a regularizer of the first and the last phase of a training, on top of another loss."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import pydantic
import torch

from moosearch.data.tasks import Labels
from moosearch.errors import SpecError
from moosearch.losses import functional
from moosearch.losses.classification import CrossEntropy
from moosearch.losses.loss import LOSSES, Criterion, Loss, Terms, needed
from moosearch.models.network import Outputs
from moosearch.registry import NonNegative, Number, Positive

Share = Annotated[Number, pydantic.Field(ge=0, le=1)]


@LOSSES.register("loat")
@dataclass(frozen=True)
class Loat(Loss):
    """Logit-oriented adversarial training (Yin & Ruan 2024), on top of another loss.

    Attributes:
        base: What is regularized; not ``loat`` itself or ``morel``.
        theta: Weight of the spread of the wrong classes' probabilities.
        gamma: Weight of the pairing of probabilities; 0 is the published variant without it.
        first: Share of the training that is the first phase; published: the first of about 100 epochs.
        last: Where the last phase begins; published: epoch 90 of 100. 1 is never.
    """

    base: Annotated[Loss, LOSSES] = field(default_factory=CrossEntropy)
    theta: Positive = 1.0
    gamma: NonNegative = 0.05
    first: Share = 0.01
    last: Share = 0.9
    needs_clean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        if hasattr(self.base, "base"):
            raise SpecError(
                f"base: got {LOSSES.name_of(self.base)}, expected a loss without a base of its own."
            )
        if self.first > self.last:
            raise SpecError(f"first: got {self.first}, expected at most last ({self.last}).")

    @property
    def smooths(self) -> bool:
        """Whether the base does; the regularizer sees labels as they are."""
        return self.base.smooths

    def criterion(self, features: int) -> Criterion:
        """Build what is computed in a step."""
        return LoatCriterion(self, features)


class LoatCriterion(Criterion):
    """The criterion of `Loat`."""

    def __init__(self, spec: Loat, features: int) -> None:
        """Build the base's criterion."""
        super().__init__()
        self.spec = spec
        self.base = spec.base.criterion(features)

    def follow(self, loss: Loss, *, smoothing: float) -> None:
        """Take other numbers, the base's included."""
        assert isinstance(loss, Loat)
        self.spec = loss
        self.base.follow(loss.base, smoothing=smoothing)

    def forward(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, *, progress: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        spec, clean = self.spec, needed(clean)
        base = self.base(clean, adversarial, labels, progress=progress)
        late = progress >= spec.last
        if late or progress < spec.first:
            spread, pairing = functional.loat(clean.logits[0], adversarial.logits[0], labels[0], late=late)
        else:
            spread = pairing = torch.zeros_like(base.total)
        added = Terms.sum(spread=spec.theta * spread, probability_pairing=spec.gamma * pairing)
        return Terms(base.total + added.total, base.parts | added.parts)
