"""What candidates are judged by: what an objective is, and accuracies on the validation split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, ClassVar, Literal, Protocol

import pydantic
import torch
from torch import Tensor

from moosearch.attacks import ATTACKS, Attack, Threat
from moosearch.attacks.gradient import Pgd
from moosearch.data import Split, Task
from moosearch.errors import SpecError
from moosearch.evaluation import Sense
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.models import RobustNet
from moosearch.registry import Registry, late
from moosearch.training.spec import CandidateSpec

Kind = Literal["fraction", "counted", "timed", "spent"]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        net: A network in eval mode; untrained where only its cost is asked.
        val: Validation images, on the network's device; None where only its cost is asked.
        tasks: The dataset's tasks.
        shape: (C, H, W) of an image.
        seed: Seed of the attacks, the same for all candidates of a campaign.
        spec: How the network is trained; None where that is not known.
        trained_on: Training images; None where that is not known.
        rough: Whether a rough value will do, by which subjects can be ordered: it may be measured in less
            time and on another scale.
        noise: Where an objective that measures notes its coefficient of variation, by its key.
    """

    net: RobustNet
    val: Split | None
    tasks: tuple[Task, ...]
    shape: tuple[int, int, int]
    seed: int
    spec: CandidateSpec | None = None
    trained_on: int | None = None
    rough: bool = False
    noise: dict[str, float] = field(default_factory=dict)

    @property
    def images(self) -> Split:
        """The validation images."""
        if self.val is None:
            raise ValueError("accuracies need images")
        return self.val


class Objective(Protocol):
    """A plug-in that measures one number.

    Attributes:
        label: The name to go by, where it is not the plug-in's.
        sense: Whether larger or smaller is better.
        unit: Unit of the number.
        kind: ``fraction`` of images, in [0, 1], of a trained network; or a cost >= 0: one of the deployed
            network, whatever its weights, ``counted`` or ``timed`` (measured on a real device), or ``spent``,
            counted too, on training it.

    A class may leave out what has a default here: `OBJECTIVES` adds it.
    """

    @property
    def label(self) -> str:
        """The name to go by."""
        ...

    @property
    def tolerance(self) -> float:
        """By what share values may differ and be alike, see `moosearch.evaluation.ObjectiveInfo`."""
        return 0.0

    @property
    def images(self) -> int:
        """The images that a fraction is of, the first ones; 0 for all."""
        return 0

    @property
    def is_proportion(self) -> bool:
        """Whether a fraction is a share of images, rather than a mean of several."""
        return True

    sense: ClassVar[Sense]
    unit: ClassVar[str]
    kind: ClassVar[Kind]

    def measure(self, subject: Subject) -> float:
        """Measure."""
        ...


OBJECTIVES: Registry[Objective] = Registry(
    "objective", protocol=Objective, optional=("tolerance", "images", "is_proportion")
)


def key_of(objective: Objective) -> str:
    """Return the key of an objective: its label, or the plug-in's name."""
    return objective.label or OBJECTIVES.name_of(objective)


@OBJECTIVES.register("clean_accuracy")
@dataclass(frozen=True)
class CleanAccuracy(Objective):
    """Fraction of validation images classified rightly."""

    label: str = ""
    sense: ClassVar[Sense] = "maximize"
    unit: ClassVar[str] = "fraction"
    kind: ClassVar[Kind] = "fraction"

    def measure(self, subject: Subject) -> float:
        """Return a fraction in [0, 1]."""
        return fraction(correct_clean(subject.net, subject.images))


@OBJECTIVES.register("robust_accuracy")
@dataclass(frozen=True)
class RobustAccuracy(Objective):
    """Fraction of validation images classified rightly as they are and under attack.

    Attributes:
        attacks: The attacks, which may be of several balls; the default is a PGD of 10 steps on the margin,
            whose gradient does not vanish for confident networks.
        images: Validation images, the first ones, the same for all candidates; 0 for all.
        label: The name to go by, where there are several of these.
        over: How several attacks count: in the ``worst_case`` an image must withstand all of them; the
            ``mean`` is that of the accuracies under each of them alone (Avg-Robust of Hotegni & Peitz 2024).
    """

    attacks: tuple[Annotated[Attack, ATTACKS], ...] = (
        Pgd(eps=0.1, step=0.025, steps=10, objective="margin"),
    )
    images: Annotated[int, pydantic.Field(ge=0)] = 0
    label: str = ""
    over: Literal["worst_case", "mean"] = late("worst_case")
    sense: ClassVar[Sense] = "maximize"
    unit: ClassVar[str] = "fraction"
    kind: ClassVar[Kind] = "fraction"

    def __post_init__(self) -> None:
        """Check that there is an attack."""
        if not self.attacks:
            raise SpecError("robust_accuracy needs at least one attack in `attacks`.")
        if any(attack.mode == "train" for attack in self.attacks):
            raise SpecError("robust_accuracy: got an attack with mode: train, expected eval, as deployed.")

    @property
    def threats(self) -> tuple[Threat, ...]:
        """The balls of the attacks, each once: what the objective claims to be robust against."""
        return tuple(dict.fromkeys(map(_ball, self.attacks)))

    @property
    def groups(self) -> tuple[tuple[Attack, ...], ...]:
        """The attacks of which an image must withstand all; the mean over groups is what counts."""
        return (self.attacks,) if self.over == "worst_case" else tuple((a,) for a in self.attacks)

    @property
    def is_proportion(self) -> bool:
        """Whether it is a share of images, rather than a mean of several."""
        return len(self.groups) == 1

    def measure(self, subject: Subject) -> float:
        """Return a number in [0, 1]."""
        some = subject.images.first(self.images)
        return fmean(
            fraction(correct_under(subject.net, some, subject.tasks, group, seed=subject.seed))
            for group in self.groups
        )

    def confirmed(self, withstood: Mapping[Threat, Tensor], clean: Tensor) -> float:
        """Return the value that a suite of attacks confirms.

        An attack's place is taken by the worst case over the suite in its ball. So a mean over attacks
        becomes one over their balls, never over the suite: attacks that find nothing would raise it.

        Args:
            withstood: Ball -> (N,) booleans, right as they are and under every attack of the suite.
            clean: (N,) booleans, right as they are, for balls of one point.
        """
        return fmean(
            fraction(torch.stack([withstood.get(_ball(attack), clean) for attack in group]).all(dim=0))
            for group in self.groups
        )


def _ball(attack: Attack) -> Threat:
    return Threat(attack.norm, attack.eps)
