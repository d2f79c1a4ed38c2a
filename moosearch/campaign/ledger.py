"""The ledger: an Optuna study, one finished trial a candidate. The log can rebuild it, and it the log.

``optuna-dashboard`` and `optuna.load_study` read it as it stands, also while the campaign runs.
"""

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from moosearch.campaign.folder import CampaignFolder, is_id
from moosearch.campaign.order import Ask
from moosearch.campaign.storage import STRANGE, DamagedError, Storage, cause, is_damage, opening
from moosearch.errors import CampaignError, StorageError
from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.space import Choice, Gene, Integer, Real
from moosearch.space.files import load

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

    def to_tree(self) -> dict[str, Any]:
        """Return plain data: a tolerance of 0 is left out, as an older version stored none."""
        tree = dataclasses.asdict(self)
        objectives = [{k: v for k, v in o.items() if k != "tolerance" or v} for o in tree["objectives"]]
        return tree | {"objectives": objectives}


class Ledger:
    """Evaluations of one campaign: append, look up, iterate."""

    def __init__(
        self,
        study: optuna.Study,
        header: Header,
        genes: Mapping[str, Gene],
        storage: Storage,
        *,
        writing: bool,
    ) -> None:
        """Wrap an open study; use `create` or `open`."""
        self.header = header
        self._study, self._storage, self._writing = study, storage, writing
        self._distributions = {path: _distribution(gene) for path, gene in genes.items()}

    @classmethod
    def create(
        cls, storage: Storage, header: Header, genes: Mapping[str, Gene], description: Mapping[str, Any]
    ) -> "Ledger":
        """Open the study for writing, and create it where there is none.

        Args:
            storage: Where it is.
            header: What to store of the campaign.
            genes: The genes of the space, by path.
            description: What else to store, so that the folder's files can be restored: ``spec`` and
                ``environment``, whose ``id`` says whose study it is.

        Raises:
            CampaignError: The storage cannot be used, or the study is that of another campaign.
            DamagedError: The study is ours, and not as it was stored.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        stored = json.loads(json.dumps(header.to_tree() | {"format": FORMAT}))
        opened = storage.open(writing=True)
        with opening(storage.shown):
            names = optuna.get_all_study_names(opened)
            if storage.file is not None and names and names != [header.name]:
                raise CampaignError(f"{storage.shown}: holds other studies: {', '.join(names)}.")
            study = optuna.create_study(
                storage=opened,
                study_name=header.name,
                directions=[objective.sense for objective in header.objectives],
                load_if_exists=True,
            )
            attributes = study.user_attrs
            old, owner = attributes.get("header"), attributes.get("campaign")
            ours = description["environment"].get("id")
            if old is None and owner in (None, ours) and not study.trials:  # new, or killed while it was
                with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                    study.set_metric_names([objective.key for objective in header.objectives])
                study.set_user_attr("description", description)
                study.set_user_attr("campaign", ours)
                study.set_user_attr("header", stored)
            elif owner is not None and owner != ours:
                raise CampaignError(
                    f"{storage.shown}: the study `{header.name}` belongs to the campaign of another folder: "
                    "give this one another campaign.name."
                )
            elif old != stored and owner == ours and _longer(old, stored):
                study.set_user_attr("finished", value=False)
                study.set_user_attr("description", description)
                study.set_user_attr("header", stored)
            elif old != stored:
                if owner is not None:
                    raise DamagedError(f"{storage.shown}: the study's header is not that of this campaign.")
                raise CampaignError(f"{storage.shown}: holds the study of another campaign.")
        return cls(study, header, genes, storage, writing=True)

    @classmethod
    def open(cls, folder: CampaignFolder) -> "Ledger":
        """Open the study of a campaign for reading.

        Raises:
            CampaignError: There is no study of ours, or it was written by a newer version.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = Storage.of(folder)
        try:
            opened = storage.open(writing=False)
            study = optuna.load_study(study_name=_name(folder, storage, opened), storage=opened)
            attributes = study.user_attrs
            stored = dict(attributes["header"])
            version = stored.pop("format")
            if version == FORMAT:
                header = _HEADER.validate_python(stored)
        except DamagedError as error:
            again = f"`moosearch resume {folder.root}` restores what can be restored."
            raise DamagedError(f"{error} {again}") from error
        except CampaignError:
            raise
        except Exception as error:  # whatever may be wrong in a database that somebody damaged
            raise _unusable(storage, f"not the study of a campaign: {cause(error)}") from error
        if version != FORMAT:
            raise CampaignError(f"{storage.shown}: written by another version; this one reads {FORMAT}.")
        ours, owner = _identity(folder), attributes.get("campaign")
        if ours and owner and ours != owner:
            raise CampaignError(f"{storage.shown}: the study `{header.name}` belongs to another folder.")
        return cls(study, header, {}, storage, writing=False)

    @property
    def description(self) -> Mapping[str, Any]:
        """The ``spec`` and ``environment`` that were stored with it; empty in an older version's."""
        found = self._study.user_attrs.get("description")
        return found if isinstance(found, dict) else {}

    def append(self, evaluation: Evaluation) -> None:
        """Store an evaluation; when this returns, it is on disk."""
        failed = evaluation.status == "failed"
        params = dict(evaluation.candidate.genome)
        # Optuna looks each attribute up before it writes it: those that say nothing would cost as much.
        attributes = {name: value for name in _ATTRIBUTES if (value := getattr(evaluation, name))}
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
        with self._using():
            self._study.add_trial(trial)

    def evaluations(self) -> list[Evaluation]:
        """Return everything evaluated, in the order asked for, whatever the order of finishing.

        Raises:
            StorageError: A database that is written to is gone.
            CampaignError: One that is only read is, or what is read is none of ours.
        """
        unique = {e.candidate.id: e for _, e in reversed(self.trials())}
        return sorted(unique.values(), key=lambda e: (e.generation, e.index))

    def trials(self) -> list[tuple[FrozenTrial, Evaluation]]:
        """Return what is stored of every evaluation, with what it says, in the order of storing.

        Raises:
            StorageError: A database that is written to is gone.
            CampaignError: One that is only read is, or what is read is none of ours.
        """
        with self._using():
            trials = self._study.get_trials(deepcopy=False)
        try:
            if [trial.number for trial in trials] != list(range(len(trials))):
                raise ValueError("trials are missing")
            return [(trial, self._read(trial)) for trial in trials if "candidate" in trial.user_attrs]
        except (ValueError, KeyError, TypeError) as error:
            raise _unusable(self._storage, f"it is not as it was written: {cause(error)}") from error

    def announce(self, generation: int, candidates: Sequence[Candidate]) -> None:
        """Store what is being worked on, for those who watch."""
        ids = [candidate.id for candidate in candidates]
        with self._using():
            self._study.set_user_attr("current", {"generation": generation, "candidates": ids})

    def announce_asks(self, generation: int, asks: Sequence[Ask]) -> None:
        """Store who is in flight in a steady-state search, and when each was asked for."""
        current = {
            "generation": generation,
            "candidates": [ask.candidate for ask in asks],
            "asks": [dataclasses.asdict(ask) for ask in asks],
        }
        with self._using():
            self._study.set_user_attr("current", current)

    def asks(self) -> list[Ask]:
        """Return the asks that were announced last.

        Raises:
            KeyError: What is stored is none.
            TypeError: What is stored is none.
        """
        with self._using():
            current: Any = self._study.user_attrs.get("current", {})
        return [Ask(**ask) for ask in current.get("asks", [])]

    def conclude(self) -> None:
        """Store that the campaign came to its end."""
        with self._using():
            self._study.set_user_attr("finished", value=True)

    def reopen(self) -> None:
        """Store that the campaign goes on beyond its end."""
        with self._using():
            self._study.set_user_attr("finished", value=False)

    @property
    def finished(self) -> bool:
        """Whether the campaign came to its end: the budget is spent or the space exhausted."""
        with self._using():
            return bool(self._study.user_attrs.get("finished", False))

    def current(self) -> tuple[int, list[str]]:
        """Return the generation being worked on, from 1, and the ids of its candidates."""
        with self._using():
            current: Any = self._study.user_attrs.get("current", {"generation": 0, "candidates": []})
        try:
            return int(current["generation"]), [str(identity) for identity in current["candidates"]]
        except (ValueError, KeyError, TypeError) as error:
            raise _unusable(self._storage, "what it works on is unknown") from error

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except STRANGE as error:
            if not self._writing or is_damage(error):
                raise _unusable(self._storage, cause(error)) from error
            raise StorageError(
                f"{self._storage.shown}: the ledger cannot be used: {cause(error)}. What was evaluated is "
                f"stored; go on with `moosearch resume {self._storage.folder.root}`."
            ) from error

    def _read(self, trial: FrozenTrial) -> Evaluation:
        attributes = trial.user_attrs
        complete = trial.state == TrialState.COMPLETE
        keys = [objective.key for objective in self.header.objectives]
        tree = {
            "candidate": {
                "id": attributes["candidate"],
                "genome": dict(trial.params),
                "spec": attributes["spec"],
            },
            "status": "complete" if complete else "failed",
            "objectives": dict(zip(keys, trial.values, strict=True)) if complete else {},
            "violations": dict(trial.constraints),
            # What is empty is not stored, and a campaign of an older version has not all of them.
            **{name: attributes[name] for name in _ATTRIBUTES if name in attributes},
        }
        return checked(tree, keys)


_HEADER = TypeAdapter(Header)
_EVALUATION = TypeAdapter(Evaluation)


def checked(tree: Mapping[str, Any], keys: Sequence[str]) -> Evaluation:
    """Return the evaluation that was stored as a tree, by whomever.

    Args:
        tree: As `Evaluation.to_tree` writes it.
        keys: The objectives, which all must be known of one that is complete, in this order.

    Raises:
        ValueError: It is none.
    """
    try:
        _EVALUATION.validate_python(tree)
        evaluation = Evaluation.of(tree)
    except (LookupError, TypeError) as error:
        raise ValueError(f"no evaluation: {error}") from error
    if not is_id(evaluation.candidate.id):
        raise ValueError(f"{evaluation.candidate.id!r} is no id of a candidate")
    known = evaluation.objectives
    if evaluation.status == "complete" and set(known) != set(keys):
        raise ValueError(f"{evaluation.candidate.id} has other objectives")
    return evaluation


def _longer(old: Any, new: Mapping[str, Any]) -> bool:
    """Whether two headers differ in the number of generations alone."""
    return isinstance(old, Mapping) and {**old, "generations": new["generations"]} == new


def _name(folder: CampaignFolder, storage: Storage, opened: BaseStorage) -> str:
    """Return the name of a campaign's study: in its own file there is no other."""
    names = optuna.get_all_study_names(opened)
    if storage.file is not None:
        (name,) = names
        return name
    wanted = load(folder.spec).data["campaign"]["name"]
    if wanted not in names:
        raise DamagedError(f"{storage.shown}: has no study `{wanted}`.")
    return str(wanted)


def _identity(folder: CampaignFolder) -> str:
    """Return the campaign's id; empty where that is not known."""
    try:
        return str(json.loads(folder.environment.read_text()).get("id", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _unusable(storage: Storage, reason: str) -> DamagedError:
    return DamagedError(
        f"{storage.shown}: cannot be used: {reason}. `moosearch resume {storage.folder.root}` restores what "
        "can be restored."
    )


def _distribution(gene: Gene) -> BaseDistribution:
    if isinstance(gene, Real):
        return FloatDistribution(gene.low, gene.high, log=gene.log)
    if isinstance(gene, Integer):
        return IntDistribution(gene.low, gene.high, log=gene.log, step=gene.step)
    assert isinstance(gene, Choice)
    return CategoricalDistribution(gene.labels)
