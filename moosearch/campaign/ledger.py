"""The ledger: an Optuna study, one finished trial a candidate. It is the only state of a campaign.

``optuna-dashboard`` and `optuna.load_study` read it as it stands, also while the campaign runs.
"""

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from moosearch.errors import CampaignError
from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.space import Choice, Gene, Integer, Real

FORMAT = 1
"""Version of what is stored in the study; raised when its meaning changes."""

_ATTRIBUTES = (
    "metrics",
    "seconds",
    "provenance",
    "error",
    "failure",
    "attempts",
    "generation",
    "index",
    "asked_after",
    "told",
    "replicates",
    "intervals",
)


@dataclasses.dataclass(frozen=True)
class Header:
    """What the study knows of its campaign, so that it can be read without the search space file.

    Attributes:
        name: Name of the campaign.
        objectives: What is optimized, with the reference point.
        constraints: Bounds, as text.
        algorithm: Name of the search algorithm.
        population: Candidates a generation.
        generations: Generations planned.
        seed: Seed of the campaign.
    """

    name: str
    objectives: tuple[ObjectiveInfo, ...]
    constraints: tuple[str, ...]
    algorithm: str
    population: int
    generations: int
    seed: int


class Ledger:
    """Evaluations of one campaign: append, look up, iterate."""

    def __init__(self, study: optuna.Study, header: Header, genes: Mapping[str, Gene]) -> None:
        """Wrap an open study; use `create` or `open`."""
        self.header = header
        self._study = study
        self._distributions = {path: _distribution(gene) for path, gene in genes.items()}

    @classmethod
    def create(cls, storage: str, header: Header, genes: Mapping[str, Gene]) -> "Ledger":
        """Open the study for writing, and create it where there is none.

        Args:
            storage: URL of the storage.
            header: What to store of the campaign.
            genes: The genes of the space, by path.

        Raises:
            CampaignError: The storage cannot be read, or holds something else.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        stored = dataclasses.asdict(header) | {"format": FORMAT}
        try:
            names = optuna.get_all_study_names(storage)
            if names and names != [header.name]:
                raise CampaignError(f"{storage}: holds other studies: {', '.join(names)}.")
            study = optuna.create_study(
                storage=storage,
                study_name=header.name,
                directions=[objective.sense for objective in header.objectives],
                load_if_exists=True,
            )
            old = study.user_attrs.get("header")
        except (SQLAlchemyError, ValueError) as error:
            raise CampaignError(f"{storage}: not the study of a campaign: {_cause(error)}") from error
        if old != json.loads(json.dumps(stored)) and (old is not None or study.trials):
            raise CampaignError(f"{storage}: holds the study of another campaign.")
        if old is None:
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.set_metric_names([objective.key for objective in header.objectives])
            study.set_user_attr("header", stored)
        return cls(study, header, genes)

    @classmethod
    def open(cls, storage: str) -> "Ledger":
        """Open a study for reading.

        Raises:
            CampaignError: There is no study of ours, or it was written by a newer version.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            (name,) = optuna.get_all_study_names(storage)
            study = optuna.load_study(study_name=name, storage=storage)
            stored = dict(study.user_attrs["header"])
        except Exception as error:
            raise CampaignError(f"{storage}: not the study of a campaign: {_cause(error)}") from error
        if stored.pop("format") != FORMAT:
            raise CampaignError(f"{storage}: written by another version; this one reads {FORMAT}.")
        stored["objectives"] = tuple(ObjectiveInfo(**info) for info in stored["objectives"])
        stored["constraints"] = tuple(stored["constraints"])
        return cls(study, Header(**stored), {})

    def append(self, evaluation: Evaluation) -> None:
        """Store an evaluation; when this returns, it is on disk."""
        failed = evaluation.status == "failed"
        params = dict(evaluation.candidate.genome)
        attributes = {name: getattr(evaluation, name) for name in _ATTRIBUTES}
        trial = optuna.trial.create_trial(
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
            values=None if failed else [evaluation.objectives[o.key] for o in self.header.objectives],
            params=params,
            distributions={path: self._distributions[path] for path in params},
            user_attrs=attributes | {"candidate": evaluation.candidate.id, "spec": evaluation.candidate.spec},
            constraints=dict(evaluation.violations),
        )
        started = evaluation.provenance.get("started")
        if started:
            trial.datetime_start = datetime.fromisoformat(started).astimezone().replace(tzinfo=None)
            seconds = timedelta(seconds=evaluation.seconds.get("total", 0.0))
            trial.datetime_complete = trial.datetime_start + seconds
        self._study.add_trial(trial)

    def evaluations(self) -> list[Evaluation]:
        """Return everything evaluated, in the order asked for, whatever the order of finishing."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        found = [self._read(trial) for trial in trials if "candidate" in trial.user_attrs]
        unique = {e.candidate.id: e for e in reversed(found)}
        return sorted(unique.values(), key=lambda e: (e.generation, e.index))

    def announce(self, generation: int, candidates: Sequence[Candidate]) -> None:
        """Store what is being worked on, for those who watch."""
        ids = [candidate.id for candidate in candidates]
        self._study.set_user_attr("current", {"generation": generation, "candidates": ids})

    def conclude(self) -> None:
        """Store that the campaign came to its end."""
        self._study.set_user_attr("finished", value=True)

    @property
    def finished(self) -> bool:
        """Whether the campaign came to its end: the budget is spent or the space exhausted."""
        return bool(self._study.user_attrs.get("finished", False))

    def current(self) -> tuple[int, list[str]]:
        """Return the generation being worked on, from 1, and the ids of its candidates."""
        current: dict[str, Any] = self._study.user_attrs.get("current", {"generation": 0, "candidates": []})
        return current["generation"], current["candidates"]

    def _read(self, trial: FrozenTrial) -> Evaluation:
        attributes = trial.user_attrs
        values = trial.values if trial.state == TrialState.COMPLETE else []
        keys = [objective.key for objective in self.header.objectives]
        return Evaluation(
            Candidate(attributes["candidate"], dict(trial.params), attributes["spec"]),
            "complete" if trial.state == TrialState.COMPLETE else "failed",
            objectives=dict(zip(keys, values, strict=False)),
            violations=dict(trial.constraints),
            # A campaign of an older version has not all of them.
            **{name: attributes[name] for name in _ATTRIBUTES if name in attributes},
        )


def _cause(error: Exception) -> str:
    """Return one line that says what a database did not like."""
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.splitlines()[0]


def _distribution(gene: Gene) -> BaseDistribution:
    if isinstance(gene, Real):
        return FloatDistribution(gene.low, gene.high, log=gene.log)
    if isinstance(gene, Integer):
        return IntDistribution(gene.low, gene.high, log=gene.log, step=gene.step)
    assert isinstance(gene, Choice)
    return CategoricalDistribution(gene.labels)
