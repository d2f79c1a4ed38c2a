"""MOREL: a representation loss in an embedding space, traded off against another loss."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moosearch.data.tasks import Labels
from moosearch.errors import SpecError
from moosearch.losses import functional
from moosearch.losses.classification import Mart
from moosearch.losses.loss import LOSSES, Criterion, Loss, Terms, needed
from moosearch.models.network import Outputs
from moosearch.pareto.scalarization import conic_scalarization
from moosearch.registry import Count, NonNegative, Number, Positive, late

OpenShare = Annotated[Number, pydantic.Field(gt=0, lt=1)]


@LOSSES.register("morel")
@dataclass(frozen=True)
class Morel(Loss):
    """MOREL (Hotegni & Peitz 2024): a representation loss L_1 and another loss L_2 as one number.

    ``L_1 = L_cosine + alpha * L_csl``. Where the paper and its published code differ, defaults follow the
    paper: `rows` and `reduction`, and no biases in M_e.

    In the paper's form the preference also scales the gradient: with k2 = 1 - k1 the base loss has the weight
    1 - k1, so that SGD trains it as with k2 times the learning rate and 1 / k2 times the weight decay.
    `normalize` separates the two: ``CS(k, gamma, a) / k2``, in which L_2 has the weight 1 and L_1 has
    k1 / k2. The minimizers are the same, and so are the properties of the conic scalarization, since gamma is
    divided too.

    Attributes:
        base: L_2, the loss for accuracy; not ``morel`` itself.
        k1: Weight of L_1.
        k2: Weight of L_2; 1 - k1 if not given.
        reference: The reference point (a_1, a_2) of both losses.
        gamma: Augmentation of the conic scalarization, less than both weights; unused by the weighted sum.
        scalarization: ``conic``, or the ablation ``weighted_sum``.
        alpha: Weight of L_csl in L_1.
        temperature: tau of L_csl; not in the paper, 0.1 in its code.
        embedding: Width b of the embedding space.
        heads: Heads of the attention M_e; a divisor of ``embedding``.
        attention: Whether rows pass through M_e before L_csl.
        contrastive: Whether L_csl is there; M_e has no effect without it.
        rows: Whose rows L_csl compares: ``both`` natural and adversarial, or ``natural`` alone.
        reduction: ``sum`` over rows, or ``mean`` as in the published code.
        normalize: Whether the scalarized loss is divided by k2, so that the base loss keeps its weight 1.
    """

    base: Annotated[Loss, LOSSES] = field(default_factory=Mart)
    k1: OpenShare = 0.1
    k2: Positive | None = None
    reference: tuple[NonNegative, ...] = (0.0, 0.0)
    gamma: NonNegative = 2e-5
    scalarization: Literal["conic", "weighted_sum"] = "conic"
    alpha: OpenShare = 1e-5
    temperature: Positive = 0.1
    embedding: Count = 128
    heads: Count = 2
    attention: bool = True
    contrastive: bool = True
    rows: Literal["both", "natural"] = "both"
    reduction: Literal["sum", "mean"] = "sum"
    normalize: bool = late(default=False)
    needs_clean: ClassVar[bool] = True
    fixed: ClassVar[tuple[str, ...]] = ("embedding", "heads")

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        if isinstance(self.base, Morel):
            raise SpecError("base: got morel, expected another loss: morel does not go on top of itself.")
        if len(self.reference) != 2:
            raise SpecError(f"reference: got {list(self.reference)}, expected two numbers, [a1, a2].")
        if self.scalarization == "conic" and self.gamma >= min(self.preference):
            raise SpecError(
                f"gamma: got {self.gamma}, expected less than both weights (k1, k2) = {self.preference}."
            )
        if self.embedding % self.heads:
            raise SpecError(f"heads: got {self.heads}, expected a divisor of embedding ({self.embedding}).")

    @property
    def preference(self) -> tuple[float, float]:
        """The weights (k_1, k_2)."""
        return self.k1, 1 - self.k1 if self.k2 is None else self.k2

    @property
    def smooths(self) -> bool:
        """Whether the base does; L_csl compares labels as they are."""
        return self.base.smooths

    def criterion(self, features: int) -> Criterion:
        """Build what is computed in a step: the embedding space is part of it, never of the network."""
        return MorelCriterion(self, features)


class ClassAttention(nn.Module):
    """Class-adaptive multi-head attention M_e: rows attend to the rows of their own class.

    Source: Hotegni & Peitz 2024, algorithm 1 (weight matrices without biases).
    """

    def __init__(self, embedding: int, heads: int) -> None:
        """Create layer normalization and projections; heads divide the embedding."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(embedding, eps=1e-6)
        self.project = nn.Linear(embedding, 3 * embedding, bias=False)  # W^Q, W^K, W^V of all heads
        self.output = nn.Linear(embedding, embedding, bias=False)  # W^O

    def forward(self, rows: Tensor, y: Tensor) -> Tensor:
        """Let each of G groups attend within itself, all classes at once.

        Args:
            rows: (G, B, b) embedded rows.
            y: (B,) classes, the same in every group.

        Returns:
            (G, B, b) rows plus what they attended to.
        """
        projected: Tensor = self.project(self.norm(rows)).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (G, heads, B, b / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=functional.same_class(y))
        attended: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return rows + attended


class MorelCriterion(Criterion):
    """The criterion of `Morel`: embedding L_e, attention M_e and the base's criterion."""

    def __init__(self, spec: Morel, features: int) -> None:
        """Create the embedding space of features of this width."""
        super().__init__()
        self.spec = spec
        self.base = spec.base.criterion(features)
        self.embed = nn.Linear(features, spec.embedding)
        attends = spec.attention and spec.contrastive
        self.attend = ClassAttention(spec.embedding, spec.heads) if attends else None

    def follow(self, loss: Loss, *, smoothing: float) -> None:
        """Take other numbers, the base's included; embedding and attention stay."""
        assert isinstance(loss, Morel)
        self.spec = loss
        self.base.follow(loss.base, smoothing=smoothing)

    def forward(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, *, progress: float = 0.0
    ) -> Terms:
        """Return the loss of a batch."""
        spec, clean = self.spec, needed(clean)
        base = self.base(clean, adversarial, labels, progress=progress)
        rows = self.embed(torch.stack([clean.features, adversarial.features]))  # (2, B, b)
        cosine = functional.cosine(*rows)
        contrastive = self._contrastive(rows, labels[0]) if spec.contrastive else torch.zeros_like(cosine)
        robustness = cosine + spec.alpha * contrastive
        total = conic_scalarization(
            (robustness, base.total),
            preference=spec.preference,
            reference=spec.reference,
            gamma=spec.gamma if spec.scalarization == "conic" else 0.0,
        )
        own = {
            "cosine": cosine,
            "contrastive": contrastive,
            "robustness": robustness,
            "accuracy": base.total,
        }
        if spec.normalize:
            total = total / spec.preference[1]
        return Terms(total, base.parts | {name: part.detach() for name, part in own.items()})

    def _contrastive(self, rows: Tensor, y: Tensor) -> Tensor:
        if self.spec.rows == "natural":
            rows = rows[:1]
        if self.attend is not None:
            rows = self.attend(rows, y)
        return functional.contrastive(
            rows.flatten(0, 1),
            y.repeat(len(rows)),
            temperature=self.spec.temperature,
            reduction=self.spec.reduction,
        )
