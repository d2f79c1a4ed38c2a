"""A campaign as an Optuna study, a view of its log: one finished trial a candidate.

``optuna-dashboard`` and `optuna.load_study` read it as it stands, also while the campaign runs. Nothing that
stands in it is believed but where the log does not have it: in campaigns of versions before the log was the
truth, and where the log was lost. Each trial has a digest of what it says, so that an edited one is noticed.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
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

from moosearch.campaign.folder import CampaignFolder, DamagedError
from moosearch.campaign.header import Header
from moosearch.campaign.log import DIGITS, dumps
from moosearch.campaign.order import Ask
from moosearch.campaign.record import checked, is_description
from moosearch.campaign.storage import STRANGE, Storage, cause, is_damage, opening
from moosearch.errors import CampaignError, StorageError
from moosearch.evaluation import Evaluation
from moosearch.space import Choice, Gene, Integer, Real
from moosearch.space.files import load

FORMAT = 2
"""Version of what is stored in the study; from 2 on trials have digests, and the log is the truth."""

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


@dataclass(frozen=True)
class Contents:
    """What stands in a study.

    Attributes:
        header: What the campaign says of itself.
        format: Version of what is stored.
        description: The ``spec`` and the ``environment`` that were stored with it; may be empty.
        evaluations: By candidate id, in the order of storing.
        edited: Ids of candidates whose trials are not as they were written, as far as they have digests.
        twice: Whether a candidate stands in it twice.
        asks: Of a steady-state search: those that were announced last.
        current: The generation being worked on, and the ids of its candidates.
        finished: Whether the search came to its end.
    """

    header: Header
    format: int
    description: Mapping[str, Any]
    evaluations: Mapping[str, Evaluation]
    edited: frozenset[str] = frozenset()
    twice: bool = False
    asks: Sequence[Ask] = field(default=())
    current: tuple[int, list[str]] = (0, [])
    finished: bool = False


def fingerprint(evaluation: Evaluation) -> str:
    """Return a digest of an evaluation, the same whether it was read from the log or from a study."""
    text = dumps(_plain(evaluation.to_tree()), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:DIGITS]


def _plain(node: Any) -> Any:
    """Return a tree in which all numbers are of one type: Optuna stores whole ones as 1.0."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return float(node) if isinstance(node, int) and not isinstance(node, bool) else node


def read(folder: CampaignFolder) -> Contents:
    """Read the study of a campaign whose log does not have everything.

    Raises:
        CampaignError: There is no study of ours, or it was written by a newer version.
        DamagedError: The log had everything, and was lost.
    """
    storage = Storage.of(folder)
    try:
        opened = storage.open(writing=False)
        study = optuna.load_study(study_name=_name(folder, storage, opened), storage=opened)
    except DamagedError as error:
        again = f"`moosearch resume {folder.root}` restores what can be restored."
        raise DamagedError(f"{error} {again}") from error
    except CampaignError:
        raise
    except Exception as error:  # whatever may be wrong in a database that somebody damaged
        raise _unusable(storage, f"not the study of a campaign: {cause(error)}") from error
    found = contents(study, storage)
    ours, owner = _identity(folder), study.user_attrs.get("campaign")
    if ours and owner and ours != owner:
        raise CampaignError(f"{storage.shown}: the study `{found.header.name}` belongs to another folder.")
    return found


def contents(study: optuna.Study, storage: Storage) -> Contents:
    """Return what stands in a study.

    Raises:
        DamagedError: It is not as it was written.
        CampaignError: It was written by a newer version, or cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        attributes = study.user_attrs
        stored = dict(attributes["header"])
        version = stored.pop("format")
        if isinstance(version, int) and version > FORMAT:
            raise CampaignError(f"{storage.shown}: written by another version; this one reads {FORMAT}.")
        header = Header.of(stored)
        trials = study.get_trials(deepcopy=False)
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise ValueError("trials are missing")
        evaluations, edited, twice = dict[str, Evaluation](), set[str](), False
        plain = (None,) if version < FORMAT else ()  # an older version wrote no digests
        for trial in trials:
            if "candidate" not in trial.user_attrs:
                continue
            evaluation = _evaluation(trial, header)
            identity = evaluation.candidate.id
            twice = twice or identity in evaluations
            evaluations.setdefault(identity, evaluation)
            if trial.user_attrs.get("digest") not in (fingerprint(evaluation), *plain):
                edited.add(identity)
        current: Any = attributes.get("current", {"generation": 0, "candidates": []})
        return Contents(
            header,
            version,
            _description(attributes.get("description")),
            evaluations,
            frozenset(edited),
            twice,
            [Ask(**ask) for ask in current.get("asks", [])],
            (int(current["generation"]), [str(identity) for identity in current["candidates"]]),
            bool(attributes.get("finished", False)),
        )
    except CampaignError:
        raise
    except Exception as error:  # whatever may be wrong in a database that somebody damaged
        if isinstance(error, STRANGE) and not is_damage(error):
            raise CampaignError(f"{storage.shown}: cannot be read: {cause(error)}.") from error
        what = "not the study of a campaign" if isinstance(error, KeyError) else "not as it was written"
        raise _unusable(storage, f"{what}: {cause(error)}") from error


class StudyView:
    """The study of a campaign that is written: it follows the log."""

    def __init__(
        self, study: optuna.Study, storage: Storage, header: Header, genes: Mapping[str, Gene]
    ) -> None:
        """Wrap an open study; use `open`."""
        self._study, self._storage, self._header = study, storage, header
        self._distributions = distributions(genes)

    @classmethod
    def open(
        cls, storage: Storage, header: Header, genes: Mapping[str, Gene], description: Mapping[str, Any]
    ) -> "StudyView":
        """Open the study for writing, and create it where there is none.

        Args:
            storage: Where it is.
            header: What the campaign says of itself.
            genes: The genes of the space, by path.
            description: The campaign's ``spec`` and ``environment``, whose ``id`` says whose study it is.

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
            old: Any = attributes.get("header")
            owner = attributes.get("campaign")
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
            elif not _alike(old, stored):
                if owner is not None:
                    raise DamagedError(f"{storage.shown}: the study's header is not that of this campaign.")
                raise CampaignError(f"{storage.shown}: holds the study of another campaign.")
            elif old["generations"] != header.generations:
                study.set_user_attr("description", description)
                study.set_user_attr("header", stored | {"format": old["format"]})
        return cls(study, storage, header, genes)

    def contents(self) -> Contents:
        """Return what stands in it.

        Raises:
            DamagedError: It is not as it was written.
        """
        return contents(self._study, self._storage)

    def append(self, evaluation: Evaluation) -> None:
        """Store an evaluation; when this returns, it is on disk."""
        with self._writing():
            self._study.add_trial(trial_of(evaluation, self._header, self._distributions))

    def announce(self, generation: int, candidates: Sequence[str], asks: Sequence[Ask] = ()) -> None:
        """Store what is being worked on, for those who watch.

        Args:
            generation: From 1.
            candidates: Ids of those that are to be evaluated.
            asks: Of a steady-state search: when each of them was asked for.
        """
        current: dict[str, Any] = {"generation": generation, "candidates": list(candidates)}
        if asks:
            current["asks"] = [asdict(ask) for ask in asks]
        with self._writing():
            self._study.set_user_attr("current", current)

    def finish(self, *, finished: bool) -> None:
        """Store whether the campaign came to its end."""
        with self._writing():
            if self._study.user_attrs.get("finished", False) != finished:
                self._study.set_user_attr("finished", value=finished)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except STRANGE as error:
            if is_damage(error):
                raise _unusable(self._storage, cause(error)) from error
            raise StorageError(
                f"{self._storage.shown}: the study cannot be written: {cause(error)}. What was evaluated is "
                f"stored; go on with `moosearch resume {self._storage.folder.root}`."
            ) from error


def delete(storage: Storage, header: Header) -> None:
    """Delete a campaign's study from a database that others may share.

    Raises:
        CampaignError: It cannot be deleted.
    """
    with opening(storage.shown):
        optuna.delete_study(study_name=header.name, storage=storage.open(writing=True))


def distributions(genes: Mapping[str, Gene]) -> dict[str, BaseDistribution]:
    """Return genes as Optuna has them, by path."""
    return {path: _distribution(gene) for path, gene in genes.items()}


def trial_of(
    evaluation: Evaluation, header: Header, ranges: Mapping[str, BaseDistribution], **more: Any
) -> FrozenTrial:
    """Return an evaluation as a trial.

    Args:
        evaluation: What is known of the candidate.
        header: What the campaign says of itself.
        ranges: The genes as `distributions` returns them.
        more: Of `optuna.trial.create_trial`, in place of what it would be given.
    """
    failed = evaluation.status == "failed"
    params = dict(evaluation.candidate.genome)
    # Optuna looks each attribute up before it writes it: those that say nothing would cost as much.
    attributes = {name: value for name in _ATTRIBUTES if (value := getattr(evaluation, name))}
    attributes |= {"candidate": evaluation.candidate.id, "spec": evaluation.candidate.spec}
    given: dict[str, Any] = {
        "state": TrialState.FAIL if failed else TrialState.COMPLETE,
        "values": None if failed else [evaluation.objectives[o.key] for o in header.objectives],
        "params": params,
        "distributions": {path: ranges[path] for path in params},
        "user_attrs": attributes | {"digest": fingerprint(evaluation)},
        "constraints": dict(evaluation.violations),
    }
    trial = optuna.trial.create_trial(**given | more)
    started = evaluation.provenance.get("started")
    if started:
        trial.datetime_start = datetime.fromisoformat(started).astimezone().replace(tzinfo=None)
        seconds = timedelta(seconds=evaluation.seconds.get("total", 0.0))
        trial.datetime_complete = trial.datetime_start + seconds
    return trial


def _evaluation(trial: FrozenTrial, header: Header) -> Evaluation:
    """Return what a trial says.

    Raises:
        ValueError: It is none of ours.
        KeyError: It is none of ours.
    """
    attributes = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    keys = [objective.key for objective in header.objectives]
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


def _description(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) and is_description(found) else {}


def _alike(old: Any, new: Mapping[str, Any]) -> bool:
    """Whether two stored headers are of one campaign, perhaps with another number of generations."""
    aside = {"generations": new["generations"], "format": new["format"]}
    return isinstance(old, Mapping) and {"generations", "format"} <= old.keys() and {**old, **aside} == new


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
