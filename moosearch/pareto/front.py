"""The front: the non-dominated, feasible evaluations of a campaign, and ways to pick one of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moosearch.errors import SpecError, nearest
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto.dominance import Array, non_dominated, to_losses
from moosearch.pareto.hypervolume import hypervolume

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Front:
    """Non-dominated, feasible evaluations, best first in the first objective.

    Attributes:
        members: The evaluations.
        objectives: What was optimized.
    """

    members: tuple[Evaluation, ...]
    objectives: tuple[ObjectiveInfo, ...]

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]) -> "Front":
        """Take the non-dominated among the feasible evaluations; the order given does not matter."""
        feasible = [e for e in evaluations if e.feasible]
        losses = to_losses(feasible, objectives)
        keep = non_dominated(losses)
        rows = [
            (tuple(loss), e.candidate.id, e)
            for loss, e, kept in zip(losses.tolist(), feasible, keep, strict=True)
            if kept
        ]
        rows.sort(key=lambda row: row[:2])
        return cls(tuple(row[2] for row in rows), tuple(objectives))

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def __iter__(self) -> Iterator[Evaluation]:
        """Iterate over the members."""
        return iter(self.members)

    @property
    def losses(self) -> Array:
        """(N, J) scaled losses of the members."""
        return to_losses(self.members, self.objectives)

    def hypervolume(self) -> float:
        """Return the dominated share of the box between ideal and reference point, in [0, 1]."""
        return hypervolume(self.losses)

    def knee(self) -> Evaluation:
        """Return the member that gives most in all objectives at once.

        Losses are scaled to the front's own range; the knee is the member farthest from the hyperplane
        through the extreme points of that range, on the side of the ideal.

        Raises:
            SpecError: The front is empty.

        Source: Das 1999, *On characterizing the "knee" of the Pareto curve*, with the hyperplane of the
        unit simplex.
        """
        losses = self._checked().losses
        span = np.ptp(losses, axis=0)
        scaled = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0)
        return self.members[int(np.argmin(scaled.sum(axis=1)))]

    def best(self, key: str) -> Evaluation:
        """Return the member that is best in one objective.

        Raises:
            SpecError: No objective has this key, or the front is empty.
        """
        keys = [o.key for o in self.objectives]
        if key not in keys:
            raise SpecError(f"no objective is called '{key}'. {nearest(key, keys)}")
        return self.members[int(np.argmin(self._checked().losses[:, keys.index(key)]))]

    def pick(self, rule: str) -> Evaluation:
        """Return one member by rule: ``knee``, ``best:OBJECTIVE``, or an id or its beginning.

        Raises:
            SpecError: The rule is unknown, or fits no member or several.
        """
        if rule == "knee":
            return self.knee()
        if rule.startswith("best:"):
            return self.best(rule.removeprefix("best:"))
        found = [e for e in self.members if rule and e.candidate.id.startswith(rule)]
        if len(found) == 1:
            return found[0]
        rules = ["knee", *(f"best:{o.key}" for o in self.objectives)]
        why = f"fits {len(found)} members" if found else "is neither a rule nor a member's id"
        raise SpecError(f"'{rule}' {why} of the front. {nearest(rule, rules)}")

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas frame: a row a member, with id, objectives and active genes."""
        return to_frame(self.members)

    def _checked(self) -> "Front":
        if not self.members:
            raise SpecError("the front is empty: no candidate completed and kept the constraints.")
        return self


def value_text(value: float) -> str:
    """Write an objective's value for people: four digits, or whole with separators from 1,000.

    Example:
        >>> value_text(0.97222), value_text(609536.0)
        ('0.9722', '609,536')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def spread_text(mean: float, std: float) -> str:
    """Write a mean with its standard deviation; NaN, as that of a single value, is left out.

    Example:
        >>> spread_text(0.95312, 0.00418)
        '0.9531 ±0.0042'
    """
    return value_text(mean) if math.isnan(std) else f"{value_text(mean)} ±{std:.2g}"


def to_frame(evaluations: Sequence[Evaluation]) -> "pd.DataFrame":
    """Return a pandas frame of evaluations: id, objectives, other metrics and active genes.

    Where candidates were trained repeatedly, ``_std`` columns hold the objectives' standard deviations.
    The columns are the same on every machine and in every run with the same results: nothing that is
    measured in time is in it.
    """
    import pandas as pd

    rows = [
        {"id": e.candidate.id, **e.objectives, **_deviations(e), **e.metrics, **e.candidate.genome}
        for e in evaluations
    ]
    genes = {path for e in evaluations for path in e.candidate.genome}
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in genes))
    return pd.DataFrame(rows, columns=[*columns, *sorted(genes)])


def _deviations(evaluation: Evaluation) -> dict[str, float]:
    return {f"{key}_std": std for key, std in evaluation.deviations.items() if key in evaluation.objectives}
