"""What a campaign's folder lost, had back from what it still has; all of it under the campaign's lock.

The log and the ledger hold every evaluation both, the log and the study what the campaign is, and weights
are trained again: the same recipe with the same seed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign.confirmed import read_plan
from moosearch.campaign.events import EventLog, read_events
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.ledger import Header, Ledger, checked
from moosearch.campaign.order import Ask
from moosearch.campaign.storage import DamagedError, Storage
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation
from moosearch.evaluators import Job
from moosearch.pareto import Front
from moosearch.space import Gene
from moosearch.space.files import dump, is_whole, load

if TYPE_CHECKING:
    from moosearch.campaign.running import Running


@dataclass(frozen=True)
class Memory:
    """What a log remembers.

    Attributes:
        description: What the campaign is: its ``spec``, as it was extended last, and its ``environment``;
            empty where it is unknown.
        evaluations: Everything evaluated, as trees by candidate id, in the order of storing.
        asks: Of a steady-state search: who was asked for, by candidate id.
        confirmation: The plan of the confirmation; empty where there is none.
    """

    description: Mapping[str, Any] = field(default_factory=dict)
    evaluations: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    confirmation: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> "Memory":
        """Read a log; what is not as it should be is passed over."""
        memory = cls()
        description, confirmation = memory.description, memory.confirmation
        for event in read_events(path):
            kind, candidate = event["event"], event.get("candidate")
            if kind == "created" and not description and _is_description(event):
                description = {key: event[key] for key in ("spec", "environment")}
            elif (
                kind == "extended"
                and generations_of(description)
                and isinstance(event.get("generations"), int)
            ):
                description = extended(description, event["generations"])
            elif kind == "evaluated" and isinstance(candidate, dict):
                memory.evaluations.setdefault(str(candidate.get("id")), event)
            elif kind == "asked":
                memory.asks[str(candidate)] = event
            elif kind == "confirmation_planned" and isinstance(event.get("plan"), dict):
                confirmation = event["plan"]
        return cls(description, memory.evaluations, memory.asks, confirmation)


def extended(description: Mapping[str, Any], generations: int) -> dict[str, Any]:
    """Return the description of a campaign with another number of generations."""
    spec = description["spec"]
    budget = {**spec["campaign"]["budget"], "generations": generations}
    return {**description, "spec": {**spec, "campaign": {**spec["campaign"], "budget": budget}}}


def generations_of(description: Mapping[str, Any]) -> int | None:
    """Return how many generations a description plans; None where it does not say."""
    try:
        return int(description["spec"]["campaign"]["budget"]["generations"])
    except (LookupError, TypeError, ValueError):
        return None


def description_of(folder: CampaignFolder) -> dict[str, Any]:
    """Return what a campaign's files say that it is: its ``spec`` and its ``environment``."""
    return {"spec": load(folder.spec).data, "environment": _environment(folder)}


def restore_files(folder: CampaignFolder, *, confirmation: bool = True) -> None:
    """Restore what says what the campaign and its confirmation are, where something of it is lost.

    Args:
        folder: The campaign's folder, or one without a campaign.
        confirmation: Whether to see to the plan of the confirmation too.

    Raises:
        CampaignError: It is lost for good, or another process runs the campaign.
    """
    wanted = [(folder.spec, _has_spec), (folder.environment, _has_environment)]
    if confirmation:
        wanted.append((folder.confirmation, _has_plan))
    if not folder.started or all(has(folder) for _, has in wanted):
        return
    memory = Memory.of(folder.events)
    description = memory.description or _description_of_study(folder)
    contents: dict[Path, str | None] = {
        folder.spec: dump(description["spec"]) if description else None,
        folder.environment: _json(description["environment"]) if description else None,
        folder.confirmation: _json(memory.confirmation) if memory.confirmation else None,
    }
    if not any(contents.values()) and not any(path.exists() for path, _ in wanted):
        return
    with folder.lock():
        folder.check_writable()
        lost = [path for path, has in wanted if not has(folder)]
        for path in lost:
            content = contents[path]
            if content is None:
                _give_up(folder, path)
            else:
                write_atomically(path, content)
        restored = [path.name for path in lost if contents[path] is not None]
        if restored:
            with EventLog(folder.events) as log:
                log.append("restored", durable=True, files=restored)


def open_ledger(
    storage: Storage, header: Header, genes: Mapping[str, Gene], description: Mapping[str, Any], log: EventLog
) -> Ledger:
    """Open the ledger for writing; what it or the log lost, it has again from the other.

    Args:
        storage: Where it is.
        header: What to store of the campaign.
        genes: The genes of the space, by path.
        description: What the campaign is: its ``spec`` and its ``environment``.
        log: The campaign's log.

    Raises:
        CampaignError: The storage cannot be used, or belongs to another campaign.
    """
    folder = storage.folder
    memory = Memory.of(folder.events)
    if not memory.description:
        log.append("created", durable=True, **description)
    elif generations_of(memory.description) not in (None, header.generations):  # killed before it said so
        log.append("extended", durable=True, generations=header.generations)
    keys = [objective.key for objective in header.objectives]
    logged = _evaluations(memory, keys)
    _see_to_checkpoints(folder)

    def opened(at: Storage) -> Ledger:
        return Ledger.create(at, header, genes, description)

    ledger, reason = _whole_ledger(storage, opened)
    if reason and not memory.description:
        raise CampaignError(
            f"{storage.shown}: this is damaged ({reason}), and {folder.events.name}, from which it would "
            "be restored, is lost. Put a copy of it back, or delete it to start anew."
        )
    if reason and storage.file is not None:
        aside = _move_aside(storage.file)
        log.append("restored", durable=True, files=[storage.file.name], aside=aside.name, reason=reason)
    if ledger is None:
        if storage.file is not None:
            _build(storage, opened, logged, memory)
        ledger = opened(storage)
    known = {e.candidate.id: e for e in ledger.evaluations()}
    lost = [e for identity, e in logged.items() if identity not in known]
    for evaluation in lost:
        ledger.append(evaluation)
    if lost:
        log.append("restored", durable=True, candidates=[e.candidate.id for e in lost])
    for identity, evaluation in known.items():
        if identity not in logged:
            log.keep(evaluation)
    return ledger


def restore_weights(running: "Running") -> None:
    """Train again whose weights are to be kept and are missing or cut off; the ledger stays as it is.

    Raises:
        Stopped: Somebody wished it.
    """
    plan, known = running.plan, list(running.known.values())
    kept = Front.of(known, plan.objectives).members
    if plan.campaign.keep == "all":
        kept = tuple(e for e in known if e.status == "complete")
    lost = [e.candidate for e in kept if not _has_model(running.folder, e)]
    if not lost:
        return
    for candidate in lost:
        running.conductor.submit(Job(candidate))
    for outcome in running.conductor.outcomes():
        files, evaluation = [f"models/{outcome.job.candidate.id}"], outcome.evaluation
        if evaluation.status == "complete":
            running.store_weights(outcome)
            running.log.append("restored", files=files)
        else:
            running.log.append("not_restored", files=files, error=evaluation.error)


def is_whole_safetensors(path: Path) -> bool:
    """Whether a file of weights is there and as long as its header says."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = path.stat().st_size
            header = json.loads(stream.read(length)) if length <= size - 8 else {}
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return bool(ends) and size == 8 + length + max(ends)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _has_model(folder: CampaignFolder, evaluation: Evaluation) -> bool:
    identity, training = evaluation.candidate.id, evaluation.candidate.spec.get("training", {})
    epochs, best = training.get("epochs"), evaluation.provenance.get("best_epoch")
    names = ["weights"]
    if best not in (None, epochs):
        names.append("best" if training.get("checkpoint") == "last" else "last")
    try:
        rows = folder.history(identity).read_bytes().count(b"\n") - 1
    except OSError:
        return False
    return rows == epochs and all(is_whole_safetensors(folder.weights(identity, name)) for name in names)


def _has_spec(folder: CampaignFolder) -> bool:
    return is_whole(folder.spec) or (folder.spec.exists() and _is_older(folder))


def _has_environment(folder: CampaignFolder) -> bool:
    return bool(_environment(folder))


def _has_plan(folder: CampaignFolder) -> bool:
    if not folder.confirmation.exists():
        return not any(folder.confirmed.glob("*/*.json"))
    try:
        return read_plan(folder) is not None
    except CampaignError:
        return False


def _is_older(folder: CampaignFolder) -> bool:
    """Whether a version began it that wrote no log, no ids, and no end of a document."""
    return not folder.events.exists() and bool(_environment(folder)) and "id" not in _environment(folder)


def _environment(folder: CampaignFolder) -> dict[str, Any]:
    try:
        found = json.loads(folder.environment.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_description(tree: Mapping[str, Any]) -> bool:
    spec, environment = tree.get("spec"), tree.get("environment")
    return isinstance(spec, dict) and "candidate" in spec and isinstance(environment, dict)


def _description_of_study(folder: CampaignFolder) -> Mapping[str, Any]:
    """Return what the study remembers; the folder says at least where that is."""
    try:
        found = Ledger.open(folder).description
    except CampaignError:
        return {}
    return found if _is_description(found) else {}


def _give_up(folder: CampaignFolder, path: Path) -> None:
    """Do without a file that nothing remembers, where that can be.

    Raises:
        CampaignError: It cannot.
    """
    if path == folder.confirmation:
        raise CampaignError(
            f"{path}: this is damaged, and nothing remembers it: `moosearch confirm {folder.root} --anew` "
            "throws the confirmation away."
        )
    if path == folder.spec and path.exists():
        raise CampaignError(
            f"{path}: this is damaged, and neither {folder.events.name} nor the study remembers it. Put a "
            f"copy of it back, or delete it and start with `moosearch search FILE --out {folder.root}`."
        )


def _evaluations(memory: Memory, keys: list[str]) -> dict[str, Evaluation]:
    found = {}
    for identity, tree in memory.evaluations.items():
        try:
            found[identity] = checked(tree, keys)
        except ValueError:
            continue
    return found


def _whole_ledger(storage: Storage, opened: Callable[[Storage], Ledger]) -> tuple[Ledger | None, str]:
    """Open the ledger in a file of the folder.

    Returns:
        The ledger, and None where there is no such file, or it is damaged; and why it is.
    """
    if storage.file is None or not storage.file.exists():
        return None, ""
    reason = storage.damage()
    if reason:
        return None, reason
    try:
        ledger = opened(storage)
        ledger.evaluations()
    except DamagedError as error:
        return None, str(error)
    return ledger, ""


def _move_aside(path: Path) -> Path:
    """Rename a damaged file, and what SQLite keeps beside it; return its new path."""
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    for suffix in ("-journal", "-wal", "-shm", ""):
        own = path.with_name(f"{path.name}{suffix}")
        if own.exists():
            own.rename(own.with_name(f"{own.name}.damaged-{number}"))
    return path.with_name(f"{path.name}.damaged-{number}")


def _build(
    storage: Storage, opened: Callable[[Storage], Ledger], logged: dict[str, Evaluation], memory: Memory
) -> None:
    """Make the ledger's file of what the log knows; it appears as a whole, or a reader would take a part."""
    assert storage.file is not None
    fresh = storage.file.with_name(f".{storage.file.name}.new")
    for suffix in ("-journal", ".lock", ""):
        fresh.with_name(f"{fresh.name}{suffix}").unlink(missing_ok=True)
    # A journal that the lost file left would be played into the new one.
    storage.file.with_name(f"{storage.file.name}-journal").unlink(missing_ok=True)
    ledger = opened(storage.at(fresh))
    for evaluation in logged.values():
        ledger.append(evaluation)
    if logged:
        generation = max(e.generation for e in logged.values())
        flying = [Ask(i, a["ask"], a["after"]) for i, a in memory.asks.items() if i not in logged]
        ledger.announce_asks(generation, flying)
    fresh.rename(storage.file)


def _see_to_checkpoints(folder: CampaignFolder) -> None:
    """Delete checkpoints of unfinished jobs that are not whole: these jobs start anew."""
    for path in folder.checkpoints.glob("*.safetensors"):
        if not is_whole_safetensors(path):
            path.unlink()


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2) + "\n"
