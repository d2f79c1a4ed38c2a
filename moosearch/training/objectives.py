"""What candidates are judged by: accuracies on the validation split, and costs of the deployed network."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import pydantic

from moosearch.attacks import ATTACKS, Attack, Threat
from moosearch.attacks.gradient import Pgd
from moosearch.data import Split, Task
from moosearch.errors import SpecError
from moosearch.evaluation import Sense
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.models import RobustNet, count_flops, count_parameters, measure_latency
from moosearch.registry import Count, Registry

Kind = Literal["fraction", "counted", "timed"]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        net: A network in eval mode; untrained where only its cost is asked.
        val: Validation images, on the network's device; None where only its cost is asked.
        tasks: The dataset's tasks.
        shape: (C, H, W) of an image.
        seed: Seed of the attacks, the same for all candidates of a campaign.
    """

    net: RobustNet
    val: Split | None
    tasks: tuple[Task, ...]
    shape: tuple[int, int, int]
    seed: int

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
        kind: ``fraction`` of images, in [0, 1], of a trained network; or a cost >= 0 that depends on the
            architecture alone, ``counted`` (needs no weights) or ``timed`` (needs a real device).
    """

    @property
    def label(self) -> str:
        """The name to go by."""
        ...

    sense: ClassVar[Sense]
    unit: ClassVar[str]
    kind: ClassVar[Kind]

    def measure(self, subject: Subject) -> float:
        """Measure."""
        ...


OBJECTIVES: Registry[Objective] = Registry("objective")


def key_of(objective: Objective) -> str:
    """Return the key of an objective: its label, or the plug-in's name."""
    return objective.label or OBJECTIVES.name_of(objective)


@OBJECTIVES.register("clean_accuracy")
@dataclass(frozen=True)
class CleanAccuracy:
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
class RobustAccuracy:
    """Fraction of validation images classified rightly as they are and under every attack listed.

    Attributes:
        attacks: The attacks; the default is a PGD of 10 steps on the margin, whose gradient does not
            vanish for confident networks.
        images: Validation images, the first ones, the same for all candidates; 0 for all.
        label: The name to go by, where there are several of these.
    """

    attacks: tuple[Annotated[Attack, ATTACKS], ...] = (
        Pgd(eps=0.1, step=0.025, steps=10, objective="margin"),
    )
    images: Annotated[int, pydantic.Field(ge=0)] = 0
    label: str = ""
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
        return tuple(dict.fromkeys(Threat(attack.norm, attack.eps) for attack in self.attacks))

    def measure(self, subject: Subject) -> float:
        """Return a fraction in [0, 1]."""
        some = subject.images.first(self.images)
        right = correct_under(subject.net, some, subject.tasks, self.attacks, seed=subject.seed)
        return fraction(right)


@OBJECTIVES.register("flops")
@dataclass(frozen=True)
class Flops:
    """Floating-point operations of the deployed network for one image (a multiply-accumulate is two)."""

    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "FLOP"
    kind: ClassVar[Kind] = "counted"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        return float(count_flops(subject.net.deployed(), subject.shape))


@OBJECTIVES.register("parameters")
@dataclass(frozen=True)
class Parameters:
    """Trainable numbers of the deployed network."""

    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "parameters"
    kind: ClassVar[Kind] = "counted"

    def measure(self, subject: Subject) -> float:
        """Return a count."""
        return float(count_parameters(subject.net.deployed()))


@OBJECTIVES.register("latency")
@dataclass(frozen=True)
class Latency:
    """Median inference time of the deployed network, in milliseconds, where it was trained.

    A time is measured, not derived: it differs between runs, and so does a front that depends on it.

    Attributes:
        batch: Images at a time.
        repeats: Timed passes.
        label: The name to go by, where there are several of these.
    """

    batch: Count = 1
    repeats: Count = 50
    label: str = ""
    sense: ClassVar[Sense] = "minimize"
    unit: ClassVar[str] = "ms"
    kind: ClassVar[Kind] = "timed"

    def measure(self, subject: Subject) -> float:
        """Return milliseconds a batch."""
        return measure_latency(subject.net.deployed(), subject.shape, batch=self.batch, repeats=self.repeats)
