"""What is proposed and what is known of it: `Candidate`, `Objective` descriptions and `Evaluation`.

Plain data without torch: the search, the log and the front speak in these.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

from moosearch.errors import Place
from moosearch.registry import Number, build

Scalar = str | int | float | bool
Genome = Mapping[str, Scalar]
Sense = Literal["maximize", "minimize"]
Failure = Literal["", "error", "nan", "memory", "time", "lost"]
"""Why a candidate failed: an exception, numbers that are not finite, memory, time limit, its worker died."""


@dataclass(frozen=True)
class Candidate:
    """A filled candidate spec.

    Attributes:
        id: 12 hexadecimal digits, the hash of the filled spec.
        genome: The *active* genes: gene path -> value. A gene under an option that was not chosen is
            not part of it, so it cannot make two candidates different.
        spec: The filled candidate spec, plain mappings and lists.
    """

    id: str
    genome: Genome
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class ObjectiveInfo:
    """What the search must know of an objective; measured values are stored in natural direction.

    Attributes:
        key: The name that tables and options use.
        sense: Whether larger or smaller values are better.
        unit: Unit of the values, such as ``"fraction"`` or ``"FLOP"``.
        ideal: The best conceivable value (1 for accuracies, 0 for costs).
        reference: The coordinate of the hypervolume's reference point, fixed when the campaign starts.
        tolerance: By what share positive values may differ and still be alike in dominance. Values are put
            into boxes, each wider than the one before it by this share; those of one box are equal, see
            `moosearch.pareto.dominance.boxed`. With 0 every value is for itself.
    """

    key: str
    sense: Sense
    unit: str
    ideal: float
    reference: float
    tolerance: float = 0.0


_CONSTRAINT = re.compile(r"\s*([\w.-]+)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a measured value: ``key <= bound`` or ``key >= bound``."""

    key: str
    relation: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, text: str, place: Place) -> "Constraint":
        """Read a constraint as it is written in a search space file; what its key names is not asked.

        Args:
            text: ``NAME <= NUMBER`` or ``NAME >= NUMBER``.
            place: Where it stands, for messages.

        Raises:
            SpecError: It is none.

        Example:
            >>> Constraint.parse("flops<=2e6", Place())
            Constraint(key='flops', relation='<=', bound=2000000.0)
        """
        match = _CONSTRAINT.fullmatch(text)
        if match is None:
            raise place.error(f"got '{text}', expected NAME <= NUMBER or NAME >= NUMBER.")
        key, relation, bound = match.groups()
        return cls(key, "<=" if relation == "<=" else ">=", build(Number, bound, place))

    def violation(self, value: float) -> float:
        """Return how far a value is beyond the bound, relative to it; <= 0 where it is kept.

        Example:
            >>> Constraint("flops", "<=", 2e6).violation(3e6)
            0.5
        """
        excess = value - self.bound if self.relation == "<=" else self.bound - value
        return excess / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        """Write the constraint as in a search space file."""
        return f"{self.key} {self.relation} {self.bound:.12g}"


@dataclass(frozen=True)
class Evaluation:
    """What is known of a candidate.

    Attributes:
        candidate: The candidate.
        status: ``"complete"``, or ``"failed"`` with `error`.
        objectives: Objective key -> value in natural direction, the mean over replicates where there are
            several; empty when failed.
        metrics: Other measured values, such as those that only constraints need.
        violations: Constraint (as text) -> violation, <= 0 where kept.
        seconds: Wall-clock seconds by part of the work.
        provenance: Seed, device and package versions of the run; ``noise``, the coefficient of variation of
            what was measured in time, by key; ``fault``, what the machine computes wrongly in the precision
            and layout that were asked for, where it was trained contiguous in float32 for that.
        error: The traceback of a failed candidate.
        failure: What kind of failure it was; empty when complete.
        attempts: How often it was tried.
        generation: The generation that asked for it, from 1; 0 where it belongs to none.
        index: Its position in that generation, from 0.
        asked_after: In a steady-state search, how many evaluations had been told when it was asked for.
        told: In a steady-state search, its position in the order of tells, from 1; 0 in a generational one.
        replicates: What each of several trainings measured: key -> value; empty where there was one.
        intervals: Key -> low and high end of the 95 % Wilson interval of an accuracy, for the images it was
            measured on; empty where there are replicates.
    """

    candidate: Candidate
    status: Literal["complete", "failed"]
    objectives: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    failure: Failure = ""
    attempts: int = 1
    generation: int = 0
    index: int = 0
    asked_after: int = 0
    told: int = 0
    replicates: Sequence[Mapping[str, float]] = ()
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data, as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Evaluation":
        """Return the evaluation of `to_tree`; keys that it does not know are passed over.

        Raises:
            KeyError: It is none.
            TypeError: It is none.
        """
        known = {f.name for f in fields(cls)} - {"candidate"}
        candidate = Candidate(**tree["candidate"])
        found = {key: value for key, value in tree.items() if key in known}
        return cls(candidate, **found | {"replicates": tuple(found.get("replicates", ()))})

    @property
    def deviations(self) -> dict[str, float]:
        """Standard deviation over the replicates (n - 1 in the denominator) by key; empty without them."""
        keys = self.replicates[0] if self.replicates else ()
        return {key: statistics.stdev(each[key] for each in self.replicates) for key in keys}

    @property
    def kept(self) -> Mapping[str, float]:
        """What the training measured whose weights are kept: the first one."""
        return self.replicates[0] if self.replicates else {**self.objectives, **self.metrics}

    @property
    def feasible(self) -> bool:
        """Whether it completed and keeps every constraint."""
        return self.status == "complete" and all(v <= 0 for v in self.violations.values())

    @property
    def reason(self) -> str:
        """The last line of the error: exception type and message."""
        lines = self.error.strip().splitlines()
        return lines[-1] if lines else ""


class HasObjectives(Protocol):
    """What dominance asks of an evaluation, or of what stands for one."""

    @property
    def objectives(self) -> Mapping[str, float]:
        """Objective key -> value in natural direction; empty when failed."""
        ...

    @property
    def feasible(self) -> bool:
        """Whether it completed and keeps every constraint."""
        ...

    @property
    def status(self) -> str:
        """``"complete"`` or ``"failed"``."""
        ...

    @property
    def generation(self) -> int:
        """The generation that asked for it."""
        ...
