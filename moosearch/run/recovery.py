"""What a campaign's folder lost, had back from what it still has; all of it under the campaign's lock.

The log is the truth. Only what it does not have is taken from the study, where that is as it was written: in
campaigns of older versions, and where the log, or a part of it, was lost. Weights are trained again: the same
recipe with the same seed.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign import study
from moosearch.campaign.confirmation import read_plan
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, DamagedError, write_atomically
from moosearch.campaign.header import Header
from moosearch.campaign.log import LogReader, aside, repair
from moosearch.campaign.observer import Observer, Restored, ignore
from moosearch.campaign.record import FORMAT, Record
from moosearch.campaign.storage import Storage
from moosearch.campaign.study import Contents, StudyView, fingerprint
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation
from moosearch.job import Job
from moosearch.pareto import Front
from moosearch.space import Gene
from moosearch.space.files import dump, is_whole, load

if TYPE_CHECKING:
    from moosearch.run.state import Running


def description_of(folder: CampaignFolder) -> dict[str, Any]:
    """Return what a campaign's files say that it is: its ``spec`` and its ``environment``."""
    return {"spec": load(folder.spec).data, "environment": _environment(folder)}


def repair_log(folder: CampaignFolder, observer: Observer = ignore) -> None:
    """Throw away the lines of a campaign's log that are not as they were written; a copy is kept.

    Args:
        folder: The campaign's folder, or one without a campaign.
        observer: Is called with what was restored.

    Raises:
        CampaignError: Another process runs the campaign.
    """
    try:
        for _ in LogReader(folder.events).lines():
            pass
    except DamagedError:
        with folder.lock():
            folder.check_writable()
            copy, lines = repair(folder.events)
            with EventLog(folder.events) as log:
                reason = f"thrown away: {len(lines)} lines that are not as written, from line {lines[0]} on"
                _say(log, observer, files=[folder.events.name], aside=copy, lines=lines, reason=reason)


def _say(log: EventLog, observer: Observer, **what: Any) -> None:
    """Log what was restored, and call an observer with it."""
    log.append("restored", durable=True, **what)
    names = what.get("files") or [f"{len(what['candidates'])} evaluations"]
    reason = f": {what['reason']}" if "reason" in what else ""
    copy = f"; a copy is {what['aside']}" if "aside" in what else ""
    observer(Restored(f"{', '.join(names)} restored{reason}{copy}"))


def restore_files(folder: CampaignFolder, observer: Observer = ignore, *, confirmation: bool = True) -> None:
    """Restore what says what the campaign and its confirmation are, where something of it is lost.

    Args:
        folder: The campaign's folder, or one without a campaign.
        observer: Is called with what was restored.
        confirmation: Whether to see to the plan of the confirmation too.

    Raises:
        CampaignError: It is lost for good, or another process runs the campaign.
    """
    wanted = [(folder.spec, _has_spec), (folder.environment, _has_environment)]
    if confirmation:
        wanted.append((folder.confirmation, _has_plan))
    if not folder.started or all(has(folder) for _, has in wanted):
        return
    record = Record.of(folder.events)
    description = record.description or _description_of_study(folder)
    contents: dict[Path, str | None] = {
        folder.spec: dump(description["spec"]) if description else None,
        folder.environment: _json(description["environment"]) if description else None,
        folder.confirmation: _json(record.confirmation) if record.confirmation else None,
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
                _say(log, observer, files=restored)


def open_record(
    storage: Storage,
    header: Header,
    genes: Mapping[str, Gene],
    description: Mapping[str, Any],
    log: EventLog,
    observer: Observer = ignore,
) -> tuple[Record, StudyView]:
    """Open a campaign to go on with it: what its log says, and the study, which is brought up to date.

    Args:
        storage: Where the study is.
        header: What the campaign says of itself.
        genes: The genes of the space, by path.
        description: What the campaign is: its ``spec`` and its ``environment``.
        log: The campaign's log.
        observer: Is called with what was restored.

    Raises:
        CampaignError: The storage cannot be used, the study belongs to another campaign, the log is that of
            another campaign, or is lost, and the study damaged.
    """
    record = Record.of(log.path)
    _see_to_checkpoints(storage.folder)
    _check(record, header)
    if record.header is not None and record.header.generations != header.generations:
        log.append("extended", durable=True, generations=header.generations)
        record.refresh()
    opened = partial(StudyView.open, header=header, genes=genes, description=description)
    view, found, reason = _look(storage, opened)
    if reason and record.header is None and not record.description:
        raise CampaignError(
            f"{storage.shown}: this is damaged ({reason}), and {log.path.name}, from which it would "
            "be restored, is lost. Put a copy of it back, or delete it to start again."
        )
    _take_over(record, found, header, description, log, observer)
    record.refresh()
    if found is not None and not reason:
        reason = _edited(record, found)
    if reason:
        if storage.file is None:
            study.delete(storage, header)
            _say(log, observer, files=[storage.shown], reason=reason)
        else:
            copy = aside(storage.file)
            _say(log, observer, files=[storage.file.name], reason=reason, aside=copy)
        view = found = None
    elif view is None and record.entries:
        _say(log, observer, files=[storage.shown], reason="it was missing")
    if view is None:
        view = _built(storage, opened, record)
    else:
        stored = found.evaluations if found is not None else {}
        for evaluation in record.evaluations(record.entries.keys() - stored.keys()):
            view.append(evaluation)
    view.finish(finished=record.finished)
    return record, view


def _check(record: Record, header: Header) -> None:
    """Check that the log is that of the campaign in the folder, perhaps with another number of generations.

    Raises:
        CampaignError: It is another's.
    """
    if record.header is None:
        return
    there, here = record.header.to_tree(), header.to_tree()
    for key, value in there.items():
        if key != "generations" and value != here[key]:
            raise CampaignError(
                f"{record.path.parent / 'campaign.yaml'}: {key} is {here[key]}, and was {value} when the "
                "campaign began: the file was edited, or another version reads it otherwise. Change it back, "
                "or begin another campaign with --out."
            )


def _look(
    storage: Storage, opened: Callable[[Storage], StudyView]
) -> tuple[StudyView | None, Contents | None, str]:
    """Return the study, what stands in it, and what is wrong with it; nothing of a file that is not there."""
    if storage.file is not None and not storage.file.exists():
        return None, None, ""
    reason = storage.damage()
    if reason:
        return None, None, reason
    try:
        view = opened(storage)
        return view, view.contents(), ""
    except DamagedError as error:
        return None, None, str(error)


def _take_over(
    record: Record,
    found: Contents | None,
    header: Header,
    description: Mapping[str, Any],
    log: EventLog,
    observer: Observer,
) -> None:
    """Take over what the log does not have, and the study has as it was written."""
    older = record.header is None
    if found is not None:
        lost = [
            evaluation
            for identity, evaluation in found.evaluations.items()
            if identity not in record.entries
            and identity not in found.edited
            and (older or found.format > 1)  # an older version's trials have no digests
        ]
        asks = [ask for ask in found.asks if ask.candidate not in record.asks]
        for ask in asks:
            log.append("asked", candidate=ask.candidate, ask=ask.number, after=ask.after)
        generation, candidates = found.current
        if older and generation:
            log.append("generation_started", generation=generation, candidates=candidates)
        for evaluation in lost:
            log.keep(evaluation)
        if lost:
            reason = (
                "an older version kept them in the study" if found.format == 1 else "the log had lost them"
            )
            _say(log, observer, candidates=[e.candidate.id for e in lost], reason=reason)
    if older:
        finished = {"finished": True} if found is not None and found.finished else {}
        said = {"format": FORMAT, "header": header.to_tree(), **description}
        log.append("created", durable=True, **said, **finished)


def _edited(record: Record, found: Contents) -> str:
    """Say where a study says something else than the log; empty where it does not."""
    strangers = found.evaluations.keys() - record.entries.keys()
    if strangers or found.twice:
        return "it was edited: it has evaluations that the log does not have"
    for evaluation in record.evaluations(found.evaluations.keys()):
        identity = evaluation.candidate.id
        if fingerprint(found.evaluations[identity]) != fingerprint(evaluation):
            return f"it was edited: it says something else of {identity} than the log"
    return ""


def _built(storage: Storage, opened: Callable[[Storage], StudyView], record: Record) -> StudyView:
    """Make the study of what the log knows; a file appears as a whole, or a reader would take a part."""
    at = storage
    if storage.file is not None:
        fresh = storage.file.with_name(f".{storage.file.name}.new")
        for suffix in ("-journal", ".lock", ""):
            fresh.with_name(f"{fresh.name}{suffix}").unlink(missing_ok=True)
        # A journal that the lost file left would be played into the new one.
        storage.file.with_name(f"{storage.file.name}-journal").unlink(missing_ok=True)
        at = storage.at(fresh)
    view = opened(at)
    evaluations = {e.candidate.id: e for e in record.evaluations()}
    for identity in record.entries:
        view.append(evaluations[identity])
    generation, candidates = record.current
    if generation:
        asks = [record.asks[identity] for identity in candidates if identity in record.asks]
        view.announce(generation, candidates, asks)
    if storage.file is None:
        return view
    fresh.rename(storage.file)
    return opened(storage)


def restore_weights(running: "Running") -> None:
    """Train again whose weights are to be kept and are missing or cut off; the log stays as it is.

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
        running.observer(
            Restored(
                f"candidate {candidate.id} is trained again: its weights are not there, or not whole; its "
                "evaluation stays as it is"
            )
        )
        running.conductor.submit(Job(candidate))
    for outcome in running.conductor.outcomes():
        files, evaluation = [f"models/{outcome.job.candidate.id}"], outcome.evaluation
        if evaluation.status == "complete":
            running.store_weights(outcome)
            running.log.append("restored", files=files)
        else:
            running.log.append("not_restored", files=files, error=evaluation.error)
            running.observer(Restored(f"{files[0]} could not be restored: {evaluation.reason}"))


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


def _description_of_study(folder: CampaignFolder) -> Mapping[str, Any]:
    """Return what the study remembers; the folder says at least where that is."""
    try:
        return study.read(folder).description
    except CampaignError:
        return {}


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


def _see_to_checkpoints(folder: CampaignFolder) -> None:
    """Delete checkpoints of unfinished jobs that are not whole: these jobs start again."""
    for path in folder.checkpoints.glob("*.safetensors"):
        if not is_whole_safetensors(path):
            path.unlink()


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2) + "\n"
