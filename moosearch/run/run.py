"""A campaign from start to end.

Resume is replay: the algorithm starts from its seed, and the log answers for what was evaluated.
"""

import contextlib
import dataclasses
import json
import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from moosearch.algorithms.grid import GridSearch
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.observer import Finished, Interrupted, Observer, Observers, Started, ignore
from moosearch.campaign.order import Order
from moosearch.campaign.passwords import masked
from moosearch.campaign.record import FORMAT, Record, extended, generations_of
from moosearch.campaign.storage import UNWRITABLE, Storage
from moosearch.campaign.storage import check as check_storage
from moosearch.campaign.study import StudyView
from moosearch.errors import CampaignError, MooSearchError, StorageError
from moosearch.plan.plan import Plan
from moosearch.provenance import versions
from moosearch.run.conductor import Conductor
from moosearch.run.deaths import deaths_in
from moosearch.run.generational import generational
from moosearch.run.recovery import description_of, open_record, restore_weights
from moosearch.run.state import Running
from moosearch.run.steady import steady
from moosearch.run.stop import Stop
from moosearch.space.files import dump
from moosearch.text import counted
from moosearch.trackers.tracker import followed


def run(
    plan: Plan,
    folder: CampaignFolder,
    observer: Observer = ignore,
    stop: Stop | None = None,
    order: Order | None = None,
) -> None:
    """Run a campaign to its end, or go on with it.

    Args:
        plan: What to do.
        folder: Where; created, or holding the same campaign, perhaps with another number of generations.
        observer: Is called with every event.
        stop: The wish to stop.
        order: Of asks and tells, for a steady-state search to follow to its end; the folder keeps it.

    Raises:
        DataUnavailableError: The images are not there.
        CampaignError: Another process runs the campaign, Ray has not what is needed, too many candidates
            failed, or the folder holds a search that follows another order, or one that cannot have so many
            generations.
        EvaluatorLostError: Ray is gone.
        StorageError: The disk is full, or gone.
        Stopped: Somebody wished it.
    """
    stop = stop or Stop()
    images = prepare(plan)
    with storing(folder):
        folder.create()
        stop.folder = folder.root
        with folder.lock(), EventLog(folder.events) as log:
            if order is not None:
                _impose(order, folder)
            _extend(plan, folder, log, observer)
            record, view = _record(plan, folder, log, _describe(plan, folder, log), observer)
            deaths = deaths_in(folder.events)
            with following(plan, folder, log, observer) as observe:
                work = dataclasses.replace(plan.work, images=images)
                with plan.campaign.evaluator.open(work, plan.campaign.resources) as pool:
                    known = {e.candidate.id: e for e in record.evaluations()}
                    observe(Started(plan.header, len(known), pool.workers))
                    conductor = Conductor(
                        pool, plan.campaign.limits, observe, stop, folder.checkpoint, deaths
                    )
                    running = Running(
                        plan, folder, view, log, conductor, observe, known, [*record.asks.values()]
                    )
                    try:
                        _search(running)
                        restore_weights(running)
                    finally:
                        if known:
                            running.write_tables()
                view.finish(finished=True)
                shutil.rmtree(folder.checkpoints, ignore_errors=True)


def prepare(plan: Plan) -> int:
    """See to all that a campaign needs, before anything starts.

    Returns:
        Bytes of the images of its datasets, as far as they say.

    Raises:
        DataUnavailableError: The images are not there.
        CampaignError: Candidates cannot be evaluated there, a tracker's library is missing, or the database
            does not answer.
    """
    plan.campaign.evaluator.check(plan.campaign.resources)
    for tracker in plan.campaign.trackers:
        tracker.check()
    check_storage(plan.campaign.storage)
    return sum(dataset.prepare() or 0 for dataset in plan.datasets)


@contextlib.contextmanager
def storing(folder: CampaignFolder) -> Iterator[None]:
    """Turn what a disk or a database says of itself into an error of ours.

    Raises:
        StorageError: Something could not be written or read.
    """
    try:
        yield
    except UNWRITABLE as error:
        cause = getattr(error, "orig", None) or error
        raise StorageError(
            f"{folder.root}: the campaign's files cannot be written: {cause}. What was evaluated is stored; "
            f"go on with `moosearch resume {folder.root}`."
        ) from error


@contextlib.contextmanager
def following(plan: Plan, folder: CampaignFolder, log: EventLog, observer: Observer) -> Iterator[Observer]:
    """Have log, observer and trackers called with what happens, its end included."""
    with contextlib.ExitStack() as stack:
        trackers = [stack.enter_context(followed(tracker, folder)) for tracker in plan.campaign.trackers]
        observe = Observers([log, observer], trackers)
        try:
            yield observe
        except BaseException as error:
            with contextlib.suppress(OSError, MooSearchError):  # a full disk is why it ends
                observe(Interrupted(str(error) or type(error).__name__))
            raise
        observe(Finished())


def _search(running: Running) -> None:
    """Search as the algorithm does: generation by generation, or candidate by candidate."""
    plan = running.plan
    algorithm = plan.campaign.algorithm
    if algorithm.steady:
        steady(algorithm.start(plan.problem), running)
    else:
        generational(algorithm.start(plan.problem), running)


def _impose(order: Order, folder: CampaignFolder) -> None:
    """Have a search follow an order, from its first candidate.

    Raises:
        CampaignError: It is begun already, with another one or none.
    """
    text = order.to_json()
    if folder.order.read_text() != text if folder.order.exists() else folder.spec.exists():
        raise CampaignError(f"{folder.root}: holds a search of its own: name a new folder with --out.")
    write_atomically(folder.order, text)


def _describe(plan: Plan, folder: CampaignFolder, log: EventLog) -> dict[str, Any]:
    """Write what the campaign is, once, without what is secret; return it."""
    if folder.spec.exists():
        return description_of(folder)
    spec = masked(plan.to_tree())
    environment = {
        "id": uuid.uuid4().hex,
        "versions": versions(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }
    header = plan.header.to_tree()
    log.append("created", durable=True, format=FORMAT, header=header, spec=spec, environment=environment)
    write_atomically(folder.environment, json.dumps(environment, indent=2) + "\n")
    write_atomically(folder.spec, dump(spec))
    return {"spec": spec, "environment": environment}


def _extend(plan: Plan, folder: CampaignFolder, log: EventLog, observer: Observer) -> None:
    """Change the number of generations of a campaign that was begun, if the plan has another one.

    ``campaign.yaml`` decides: a campaign that dies before it is written has the old number, and one that dies
    after it the new one, which the log takes over whenever it is opened.

    Raises:
        CampaignError: It cannot have so many.
    """
    description = description_of(folder) if folder.spec.exists() else {}
    planned, wanted = generations_of(description), plan.campaign.budget.generations
    if planned in (None, wanted):
        return
    if isinstance(plan.campaign.algorithm, GridSearch):
        raise CampaignError(
            f"{folder.root}: campaign.budget.generations: a grid is planned as a whole and not extended. "
            f"Begin another campaign of {counted(wanted, 'generation')}, in a folder of its own."
        )
    if folder.order.exists():
        raise CampaignError(
            f"{folder.root}: campaign.budget.generations: this repeats another search, whose end is its own: "
            "extend that one, and replay it."
        )
    before = dataclasses.replace(plan.header, generations=planned)
    storage = Storage(plan.campaign.storage, folder)
    record, _ = open_record(storage, before, plan.space.genes(), description, log, observer)
    begun = _begun(record, plan)
    if wanted < begun:
        raise CampaignError(
            f"{folder.root}: campaign.budget.generations: got {wanted}, expected at least {begun}: so many "
            f"generations were begun, of {planned}."
        )
    write_atomically(folder.spec, dump(extended(description, wanted)["spec"]))


def _begun(record: Record, plan: Plan) -> int:
    """Return how many generations were begun: those of which something is evaluated, or was asked for."""
    asked = [1 + ask.number // plan.campaign.budget.population for ask in record.asks.values()]
    return max([0, *(entry.generation for entry in record.entries.values()), *asked])


def _record(
    plan: Plan,
    folder: CampaignFolder,
    log: EventLog,
    description: Mapping[str, Any],
    observer: Observer = ignore,
) -> tuple[Record, StudyView]:
    """Open what is known, have back what was lost, and bring the study up to date."""
    storage = Storage(plan.campaign.storage, folder)
    return open_record(storage, plan.header, plan.space.genes(), description, log, observer)
