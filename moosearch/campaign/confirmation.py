"""What a confirmation found, read from its files: the front's recipes, trained again, judged on test images.

Reading needs no torch.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from moosearch.campaign.folder import CampaignFolder
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.judgment import Judgment, Measure
from moosearch.pareto import non_dominated, to_losses
from moosearch.pareto.uncertainty import Replicates
from moosearch.registry import Count
from moosearch.seeding import derive_seed, numpy_generator

if TYPE_CHECKING:
    import pandas as pd


KEPT_SHARE, ROUNDING = 0.5, 0.05
"""Robustness is overestimated where the suite leaves less than this share of what the search's own attack
measures on the test images, and the difference is more than this."""

OVERESTIMATED = (
    "the search chose it for robustness that is not there: most of what its own attack measures on the test "
    "images is gone under the suite"
)
"""What is said of a member whose robustness is overestimated."""

SEARCH_AGAIN = (
    "The search's own attack is blind to something in these networks. Search again with one that is not: "
    "name bpda or square among the attacks of the objective."
)
"""What to do about it."""


@dataclass(frozen=True)
class Standing:
    """Where a member stands among the confirmed.

    Attributes:
        non_dominated: Whether it is so by its means.
        probability: Of being so, as `Replicates.probabilities` says; NaN where nothing is known of the noise.
        stays: Whether no other dominates it beyond noise, as `Replicates.stays` says.
        overestimated: Whether its robustness was, see `Retraining.overestimated`: then it does not stay,
            whatever its other values, and nobody is compared with it.
    """

    non_dominated: bool
    probability: float
    stays: bool
    overestimated: bool = False

    def to_tree(self) -> dict[str, Any]:
        """Write it as plain data."""
        return asdict(self) | {"probability": _known(self.probability)}


@dataclass(frozen=True)
class Retraining:
    """A recipe that was trained again with a fresh seed.

    Attributes:
        number: Which one, from 1.
        objectives: Confirmed values by objective; empty when it failed.
        judgment: How it was judged; None when it failed.
        error: The traceback of one that failed.
    """

    number: int
    objectives: Mapping[str, float]
    judgment: Judgment | None
    error: str

    @classmethod
    def read(cls, path: Path) -> "Retraining | None":
        """Read the file of a training; None where it is none, which is as good as not there."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = _RETRAINING.validate_python(stored | {"judgment": stored["judgment"] or None})
            if not found.error and (
                found.judgment is None or not found.judgment.as_searched.keys() <= found.objectives.keys()
            ):
                return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return replace(found, number=int(path.stem))

    @property
    def reason(self) -> str:
        """The last line of the error."""
        return self.error.strip().rpartition("\n")[2]

    @property
    def measured(self) -> dict[Measure, float]:
        """Everything measured that is one number; it was judged."""
        assert self.judgment is not None
        confirmed = {Measure("objective", key): value for key, value in self.objectives.items()}
        return confirmed | self.judgment.measured()

    @property
    def overestimated(self) -> bool:
        """Whether the attacks that the search believed were blind: most of the robustness they see is gone.

        A defense that masks gradients does this (Athalye et al. 2018). Honest networks lose some points; and
        where one of several robust accuracies is by a weak attack in a ball too large for anybody, nearly
        all of that one. So it is their mean that decides; accuracies without an attack are left aside.
        """
        assert self.judgment is not None
        clean, seen = self.judgment.clean.accuracy, self.judgment.as_searched
        attacked = [key for key, value in seen.items() if not value == self.objectives[key] == clean]
        if not attacked:
            return False
        before = statistics.fmean(seen[key] for key in attacked)
        after = statistics.fmean(self.objectives[key] for key in attacked)
        return before - after > max(ROUNDING, (1 - KEPT_SHARE) * before)

    @property
    def failed_checks(self) -> dict[str, str]:
        """Checks for masked gradients that failed: name -> explanation."""
        return {} if self.judgment is None else self.judgment.failed_checks


@dataclass(frozen=True)
class _Plan:
    spec: Mapping[str, Any]
    settings: Mapping[str, Any]
    members: Mapping[Annotated[str, pydantic.Field(pattern="^[0-9a-f]{12}$")], Count]


_RETRAINING = pydantic.TypeAdapter(Retraining)
_PLAN = pydantic.TypeAdapter(_Plan)


def read_plan(folder: CampaignFolder) -> dict[str, Any] | None:
    """Return what is planned: ``spec``, ``settings``, and ``members``, how many trainings of whom.

    None where no confirmation was started.

    Raises:
        CampaignError: The file is damaged.
    """
    path = folder.confirmation
    try:
        if not path.is_file():
            return None
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _PLAN.validate_python(plan)
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is no plan of a confirmation" if isinstance(error, ValueError) else str(error)
        raise folder.damaged(path, reason) from error
    return plan


@dataclass(frozen=True)
class Spread:
    """Values of one thing over fresh trainings.

    Attributes:
        values: By number of the training.
    """

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float:
        """Their standard deviation (n - 1 in the denominator); NaN of a single one."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class Member:
    """A recipe of the front with what its fresh trainings gave.

    Attributes:
        estimate: What the search measured.
        complete: Trainings that were judged.
        failed: Trainings that failed.
        standing: Where it stands among the confirmed; None where no training was judged.
    """

    estimate: Evaluation
    complete: tuple[Retraining, ...]
    failed: tuple[Retraining, ...]
    standing: Standing | None = None

    @property
    def confirmed(self) -> list[Evaluation]:
        """The estimate as each training confirmed it; costs are as they were."""
        return [
            replace(self.estimate, objectives={**self.estimate.objectives, **retraining.objectives})
            for retraining in self.complete
        ]

    @cached_property
    def measured(self) -> dict[Measure, Spread]:
        """Everything measured: objectives first."""
        each = {retraining.number: retraining.measured for retraining in self.complete}
        common = [m for m in next(iter(each.values()), {}) if all(m in values for values in each.values())]
        return {m: Spread({number: values[m] for number, values in each.items()}) for m in common}

    def confirmed_value(self, key: str) -> Spread | None:
        """Return the confirmed values of an objective; None of a cost, which is as it was."""
        return self.measured.get(Measure("objective", key))

    @property
    def judgment(self) -> Judgment:
        """How the first training was judged: on the same images, by the same attacks as the others."""
        judgment = self.complete[0].judgment
        assert judgment is not None
        return judgment

    @property
    def images(self) -> int:
        """Test images that it was judged on."""
        return self.judgment.images

    @property
    def overestimated(self) -> bool:
        """Whether its robustness is overestimated in most trainings."""
        return 2 * sum(retraining.overestimated for retraining in self.complete) > len(self.complete)

    @property
    def failed_checks(self) -> Counter[str]:
        """In how many trainings each check for masked gradients failed."""
        return Counter(name for retraining in self.complete for name in retraining.failed_checks)

    @property
    def explanations(self) -> dict[str, str]:
        """What the checks that failed mean."""
        return {k: text for retraining in self.complete for k, text in retraining.failed_checks.items()}

    @property
    def unreliable(self) -> bool:
        """Whether its confirmed values are not to be relied on, or do not hold the search's promise."""
        return self.standing is None or not self.standing.stays or bool(self.failed_checks)

    def to_tree(self) -> dict[str, Any]:
        """Write what was confirmed as plain data; at least one training was judged."""
        values = {
            measure.column: {
                "mean": spread.mean,
                "std": _known(spread.std),
                "by_seed": {str(number): value for number, value in spread.values.items()},
            }
            for measure, spread in self.measured.items()
        }
        counts = self.failed_checks
        return {
            "measured_on": "test split",
            "images": self.images,
            "trainings": len(self.complete),
            "trainings_failed": len(self.failed),
            "values": values,
            "threats": [
                {
                    "norm": threat.norm,
                    "eps": threat.eps,
                    "attacks": {name: each.attack for name, each in threat.attacks.items()},
                }
                for threat in self.judgment.threats
            ],
            "standing": None if self.standing is None else self.standing.to_tree(),
            "failed_checks": {
                name: {"trainings": counts[name], "explanation": text}
                for name, text in self.explanations.items()
            },
        }


@dataclass(frozen=True)
class Confirmation:
    """A confirmation as far as it is.

    Attributes:
        members: The recipes, best first in the first objective, as the search estimated it.
        objectives: What was optimized.
        planned: Trainings that were asked for.
    """

    members: tuple[Member, ...]
    objectives: tuple[ObjectiveInfo, ...]
    planned: int

    @classmethod
    def read(
        cls, folder: CampaignFolder, evaluations: Iterable[Evaluation], objectives: Sequence[ObjectiveInfo]
    ) -> "Confirmation | None":
        """Read what is in a campaign's folder; None where no confirmation was started."""
        stored = read_plan(folder)
        if stored is None:
            return None
        known = {e.candidate.id: e for e in evaluations if e.status == "complete"}
        plan: dict[str, int] = stored["members"]
        strangers = plan.keys() - known.keys()
        if strangers:
            raise folder.damaged(folder.confirmation, f"the campaign has no candidate {min(strangers)}")
        members = []
        for identity in sorted(plan, key=lambda i: to_losses([known[i]], objectives)[0].tolist()):
            read = [Retraining.read(path) for path in folder.retrainings(identity)]
            found = [retraining for retraining in read if retraining is not None]
            complete = tuple(r for r in found if not r.error)
            failed = tuple(r for r in found if r.error)
            members.append(Member(known[identity], complete, failed))
        return cls(_placed(members, objectives), tuple(objectives), sum(plan.values()))

    @property
    def done(self) -> int:
        """Trainings that ended, well or not."""
        return sum(len(m.complete) + len(m.failed) for m in self.members)

    @property
    def failed(self) -> int:
        """Trainings that failed."""
        return sum(len(m.failed) for m in self.members)

    @property
    def measured(self) -> tuple[Measure, ...]:
        """Everything measured of any member."""
        return tuple(dict.fromkeys(measure for m in self.members for measure in m.measured))

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Keys of the objectives that were confirmed; costs are as they were."""
        return tuple(o.key for o in self.objectives if Measure("objective", o.key) in self.measured)

    def member(self, candidate_id: str) -> Member | None:
        """Return the member with this id, if it was judged at all."""
        return next((m for m in self.members if m.estimate.candidate.id == candidate_id and m.complete), None)

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas frame: a row a member.

        Columns: the search's estimate under an objective's own name; ``_mean``, ``_std`` and ``_seed<n>`` of
        everything that was confirmed; trainings done and failed; where the member stands; failed checks.
        """
        import pandas as pd

        return pd.DataFrame([_row(member, self.objectives) for member in self.members])


def _known(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _placed(members: Sequence[Member], objectives: Sequence[ObjectiveInfo]) -> tuple[Member, ...]:
    """Say of every member that was judged where it stands.

    All are compared by as many trainings as each of them has, but for overestimated ones.
    """
    judged = [member for member in members if member.complete]
    compared = [member for member in judged if not member.overestimated]
    standings = iter(_standings(compared, objectives) if compared else ())
    gone = Standing(non_dominated=False, probability=0.0, stays=False, overestimated=True)
    return tuple(
        replace(m, standing=gone if m.overestimated else next(standings)) if m.complete else m
        for m in members
    )


def _standings(judged: Sequence[Member], objectives: Sequence[ObjectiveInfo]) -> list[Standing]:
    repetitions = min(len(member.complete) for member in judged)
    exact = [info.key not in judged[0].complete[0].objectives for info in objectives]
    losses = [to_losses(member.confirmed[:repetitions], objectives) for member in judged]
    replicates = Replicates(np.stack(losses), exact)
    columns = (
        non_dominated(replicates.means).tolist(),
        replicates.probabilities(numpy_generator(derive_seed(0, "standing"))).tolist(),
        replicates.stays().tolist(),
    )
    return [Standing(*row) for row in zip(*columns, strict=True)]


def _row(member: Member, objectives: Sequence[ObjectiveInfo]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": member.estimate.candidate.id}
    row |= {info.key: member.estimate.objectives[info.key] for info in objectives}
    for measure, spread in member.measured.items():
        name = measure.column
        row |= {f"{name}_mean": spread.mean, f"{name}_std": spread.std}
        row |= {f"{name}_seed{number}": value for number, value in spread.values.items()}
    row |= {"trainings": len(member.complete), "trainings_failed": len(member.failed)}
    if member.standing is not None:
        row["non_dominated"] = member.standing.non_dominated
        row["probability"] = member.standing.probability
        row["stays"] = member.standing.stays
        row["overestimated"] = member.standing.overestimated
    row["failed_checks"] = " ".join(sorted(member.failed_checks))
    return row
