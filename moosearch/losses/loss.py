"""What a training loss is: a criterion on the outputs of a network. It knows no attack and no optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from moosearch.data.tasks import Labels
from moosearch.models.network import Outputs
from moosearch.registry import Registry


@dataclass(frozen=True)
class Terms:
    """A loss and what it consists of.

    Attributes:
        total: Scalar to minimize.
        parts: Named scalars without a graph, for the training history; the names never change.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def sum(cls, **parts: Tensor) -> "Terms":
        """Return the sum of named scalars, these being its parts."""
        total = torch.stack(list(parts.values())).sum()
        return cls(total, {name: part.detach() for name, part in parts.items()})


class Criterion(nn.Module):
    """What is computed in a step. Parameters that it has are trained with the network's, then thrown away."""

    __call__: Callable[..., Terms]

    def follow(self, loss: "Loss", *, smoothing: float) -> None:
        """Take other numbers: those of the epoch that begins. Parameters stay.

        It is called only where numbers change or labels are smoothed; a criterion without it can do neither.

        Args:
            loss: The loss that it was built by, with other values in fields that are not ``fixed``.
            smoothing: Label smoothing, in [0, 1); 0 where the loss does not say that it ``smooths``.
        """
        raise NotImplementedError

    def forward(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, *, progress: float = 0.0
    ) -> Terms:
        """Return the loss of a batch.

        Args:
            clean: Outputs on the images; may be None where they are not needed.
            adversarial: Outputs on the perturbed images, row by row; float32.
            labels: One (B,) tensor a task.
            progress: Share of the training that is done, in [0, 1).

        Raises:
            ValueError: Clean outputs are needed and missing.
        """
        raise NotImplementedError


class Loss(Protocol):
    """A plug-in: the loss of the main task. Auxiliary tasks are added by the training step.

    A class may leave out what has a default here: `LOSSES` adds it. A type checker finds the defaults in
    `Stateless`, or in this protocol where a class derives from it.

    Attributes:
        fixed: Names of numbers that cannot change during training.
        several_labels: Whether labels may be (B, K) probabilities: those of images with several.
    """

    @property
    def needs_clean(self) -> bool:
        """Whether it looks at the outputs on the clean images."""
        ...

    @property
    def smooths(self) -> bool:
        """Whether labels enter by a cross-entropy that can be smoothed."""
        return False

    fixed: ClassVar[tuple[str, ...]] = ()
    several_labels: ClassVar[bool] = False

    def criterion(self, features: int) -> Criterion:
        """Build what is computed in a step, once a training.

        Parameters are initialized on the CPU from torch's global generator.

        Args:
            features: Width o of the trunk's output.
        """
        ...


class Stateless:
    """Base of losses that depend on the batch alone: they define `terms`, and it is their criterion.

    One that ``smooths`` takes a fourth argument, ``smoothing``: the share of a label that is spread over all
    classes in its cross-entropy (Szegedy et al. 2016).
    """

    smooths: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, ...]] = ()
    several_labels: ClassVar[bool] = False

    def terms(self, clean: Outputs | None, adversarial: Outputs, labels: Labels) -> Terms:
        """Return the loss of a batch; the arguments are those of `Criterion.forward`."""
        raise NotImplementedError

    def criterion(self, features: int) -> Criterion:
        """Wrap `terms`."""
        return _StatelessCriterion(self)


class _StatelessCriterion(Criterion):
    def __init__(self, loss: Stateless) -> None:
        super().__init__()
        self.loss = loss
        self.smoothing = 0.0

    def follow(self, loss: Loss, *, smoothing: float) -> None:
        assert isinstance(loss, Stateless)
        self.loss, self.smoothing = loss, smoothing

    def forward(
        self, clean: Outputs | None, adversarial: Outputs, labels: Labels, *, progress: float = 0.0
    ) -> Terms:
        more = {"smoothing": self.smoothing} if self.smoothing else {}
        return self.loss.terms(clean, adversarial, labels, **more)


def needed(clean: Outputs | None) -> Outputs:
    """Return the clean outputs.

    Raises:
        ValueError: There are none.
    """
    if clean is None:
        raise ValueError("this loss needs the outputs on the clean images")
    return clean


LOSSES: Registry[Loss] = Registry(
    "loss", "losses", protocol=Loss, optional=("smooths", "fixed", "several_labels")
)
