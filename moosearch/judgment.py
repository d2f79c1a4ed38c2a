"""What a network withstood: shares of images by threat and attack, from the worker to the page.

A judgment is plain and frozen. It is written as JSON, and what is read back is checked as a whole.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

CONFIDENCE = 0.95


def wilson(correct: int, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a fraction: (low, high) in [0, 1].

    Args:
        correct: Images that count, in [0, images].
        images: Number of images, > 0.
        confidence: How often such intervals hold the true fraction, in (0, 1).

    Source: Wilson 1927, eq. 7.
    """
    # SciPy has it too, but takes a second to import, in every worker.
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, weight = correct / images, z * z / images
    middle, half = p + weight / 2, z * math.sqrt((p * (1 - p) + weight / 4) / images)
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    return (0.0 if correct == 0 else low), (1.0 if correct == images else high)


@dataclass(frozen=True)
class Share:
    """A share of images.

    Attributes:
        correct: Images that count.
        accuracy: Their share, in [0, 1].
        interval: Its Wilson interval, (low, high).
    """

    correct: int
    accuracy: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, correct: int, images: int) -> "Share":
        """Return the share of so many images."""
        return cls(correct, correct / images, wilson(correct, images))


@dataclass(frozen=True)
class AttackShare(Share):
    """The share of images that withstood an attack.

    Attributes:
        attack: The attack as in a search space file.
        norm: Norm of its ball.
        eps: Radius of its ball, in pixel units of [0, 1].
        mean_distance: Of the images fooled, in that norm; None where there are none.
        seconds: How long it took.
        images_per_second: Its speed; None where no image was attacked.
        doubt: Why it does not believe its own accuracy; empty where it does.
    """

    attack: Any
    norm: str
    eps: float
    mean_distance: float | None
    seconds: float
    images_per_second: float | None
    doubt: str


@dataclass(frozen=True)
class SuiteResult:
    """What attacks did to a network.

    Attributes:
        images: Images that were judged.
        clean: Right as they are.
        worst_case: Right as they are and under every attack.
        average_robust: Mean accuracy over the attacks (Avg-Robust of Hotegni & Peitz 2024); None without any.
        attacks: By name.
    """

    images: Annotated[int, pydantic.Field(ge=1)]
    clean: Share
    worst_case: Share
    average_robust: float | None
    attacks: Mapping[str, AttackShare]

    def __post_init__(self) -> None:
        """Check that shares are those of the images.

        Raises:
            ValueError: One is not.
        """
        for share in (self.clean, self.worst_case, *self.attacks.values()):
            _check_share(share, self.images)

    def to_tree(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return rows of a table: ``clean``, the attacks by name, ``worst_case`` and ``average_robust``.

        Returns:
            Rows with ``attack``, ``correct``, ``accuracy``, ``low``, ``high``, and what else is known of it.
        """
        rows = []
        for name, share in {"clean": self.clean, **self.attacks, "worst_case": self.worst_case}.items():
            row = asdict(share) | {"attack": name}
            row["low"], row["high"] = row.pop("interval")
            rows.append(row)
        return [*rows, {"attack": "average_robust", "accuracy": self.average_robust}]


@dataclass(frozen=True)
class MaskingCheck:
    """A check for masked gradients.

    Attributes:
        name: Its name.
        passed: Whether it passed.
        explanation: What it looks at, and what to do where it failed.
        observed: What it counted.
    """

    name: str
    passed: bool
    explanation: str
    observed: Any = None


@dataclass(frozen=True)
class ThreatResult(SuiteResult):
    """What a suite of attacks did in a threat.

    Attributes:
        norm: Norm of the ball.
        eps: Its radius, in pixel units of [0, 1].
        checks: For masked gradients; warnings of the attacks count as one.
    """

    norm: str
    eps: float
    checks: tuple[MaskingCheck, ...]


class Measure(NamedTuple):
    """One number of many that a judgment has.

    Attributes:
        kind: What it is: a confirmed objective, what the objective measures as in the search, the accuracy
            under an attack, or the suite's worst case or mean.
        name: Key of the objective, or name of the attack; empty of a suite.
        threat: Such as ``linf_0.1``, where there are several.
    """

    kind: Literal["objective", "as_searched", "attack", "worst_case", "average_robust"]
    name: str = ""
    threat: str = ""

    @property
    def column(self) -> str:
        """Its name in tables that are files."""
        if self.kind == "objective":
            return self.name
        if self.kind == "as_searched":
            return f"{self.name}_as_searched"
        head = f"attack_{self.name}" if self.kind == "attack" else f"suite_{self.kind}"
        return f"{head}_{self.threat}" if self.threat else head

    @property
    def label(self) -> str:
        """Its name for people; what a suite's is of, they know from the heading."""
        head = self.name if self.kind == "attack" else self.kind
        return f"{head}_{self.threat}".strip("_").replace("_", " ")


@dataclass(frozen=True)
class Judgment:
    """How a confirmation judged a network on test images.

    Attributes:
        images: Images that it was judged on.
        clean: Right as they are.
        as_searched: What the objectives measure on these images, but of proofs, by key.
        threats: The balls that the campaign claims robustness in; none where it claims none.
    """

    images: Annotated[int, pydantic.Field(ge=1)]
    clean: Share
    as_searched: Mapping[str, float]
    threats: tuple[ThreatResult, ...]

    def __post_init__(self) -> None:
        """Check that all is of the same images.

        Raises:
            ValueError: Something is not.
        """
        _check_share(self.clean, self.images)
        if any(threat.images != self.images for threat in self.threats):
            raise ValueError("threats were judged on other images")

    def to_tree(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def of(cls, tree: Any) -> "Judgment":
        """Return what `to_tree` wrote.

        Raises:
            ValueError: It is none, or contradicts itself.
        """
        return _JUDGMENT.validate_python(tree)

    @property
    def failed_checks(self) -> dict[str, str]:
        """Checks for masked gradients that failed: name -> explanation."""
        checks = [check for threat in self.threats for check in threat.checks]
        return {check.name: check.explanation for check in checks if not check.passed}

    def measured(self) -> dict[Measure, float]:
        """Return everything that is one number, but the confirmed objectives."""
        found = {Measure("as_searched", key): value for key, value in self.as_searched.items()}
        for threat in self.threats:
            where = f"{threat.norm}_{threat.eps:g}" if len(self.threats) > 1 else ""
            found |= {Measure("attack", name, where): each.accuracy for name, each in threat.attacks.items()}
            found[Measure("worst_case", "", where)] = threat.worst_case.accuracy
            if threat.average_robust is not None:
                found[Measure("average_robust", "", where)] = threat.average_robust
        return found


_JUDGMENT = pydantic.TypeAdapter(Judgment)


def _check_share(share: Share, images: int) -> None:
    if not 0 <= share.correct <= images or abs(share.accuracy - share.correct / images) > 1e-9:
        raise ValueError(f"a share of {share.accuracy} is not that of {share.correct} in {images}")
