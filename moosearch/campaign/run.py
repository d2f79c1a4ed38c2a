"""A campaign from start to end.

Resume is replay: the algorithm starts from its seed, and the ledger answers for what was evaluated.
"""

import contextlib
import json
import platform
import shutil
import uuid
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from moosearch.algorithms import ALGORITHMS
from moosearch.campaign.conductor import Conductor
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.generational import generational
from moosearch.campaign.ledger import Header, Ledger
from moosearch.campaign.observer import Observer, Observers
from moosearch.campaign.plan import Plan
from moosearch.campaign.running import Running
from moosearch.campaign.stop import Stop
from moosearch.errors import MooSearchError, StorageError
from moosearch.evaluators.work import versions
from moosearch.space.files import dump


def run(
    plan: Plan, folder: CampaignFolder, observer: Observer | None = None, stop: Stop | None = None
) -> None:
    """Run a campaign to its end, or go on with it.

    Args:
        plan: What to do.
        folder: Where; created, or holding the same campaign.
        observer: Is told what happens.
        stop: The wish to stop.

    Raises:
        DataUnavailableError: The images are not there.
        CampaignError: Another process runs the campaign, Ray has not what is needed, or too many candidates
            failed.
        EvaluatorLostError: Ray is gone.
        StorageError: The disk is full, or gone.
        Stopped: Somebody wished it.
    """
    prepare(plan)
    with storing(folder):
        folder.create()
        with folder.lock(), EventLog(folder.events) as log:
            _describe(plan, folder, log)
            ledger = _ledger(plan, folder)
            with following(plan, folder, log, observer) as told:
                evaluator = plan.campaign.evaluator.open(plan.work, plan.campaign.resources)
                with evaluator as pool:
                    known = {e.candidate.id: e for e in ledger.evaluations()}
                    told.started(plan, len(known), pool.workers)
                    conductor = Conductor(pool, plan.campaign.limits, told, stop or Stop(), folder.checkpoint)
                    running = Running(plan, folder, ledger, log, conductor, told, known)
                    try:
                        generational(plan.campaign.algorithm.start(plan.problem), running)
                    finally:
                        if known:
                            running.write_tables()
                ledger.conclude()
                shutil.rmtree(folder.checkpoints, ignore_errors=True)


def prepare(plan: Plan) -> None:
    """See to all that a campaign needs, before anything starts.

    Raises:
        DataUnavailableError: The images are not there.
        CampaignError: Candidates cannot be evaluated there, or a tracker's library is missing.
    """
    plan.campaign.evaluator.check(plan.campaign.resources)
    for tracker in plan.campaign.trackers:
        tracker.check()
    for dataset in plan.datasets:
        dataset.prepare()


@contextlib.contextmanager
def storing(folder: CampaignFolder) -> Iterator[None]:
    """Turn what a disk or a database says of itself into an error of ours.

    Raises:
        StorageError: Something could not be written or read.
    """
    try:
        yield
    except (OSError, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error
        raise StorageError(
            f"{folder.root}: the campaign's files cannot be written: {cause}. What was evaluated is stored; "
            f"go on with `moosearch resume {folder.root}`."
        ) from error


@contextlib.contextmanager
def following(
    plan: Plan, folder: CampaignFolder, log: EventLog, observer: Observer | None
) -> Iterator[Observer]:
    """Tell the log, the trackers and an observer what happens, its end included."""
    with contextlib.ExitStack() as stack:
        trackers = [stack.enter_context(tracker.open(folder)) for tracker in plan.campaign.trackers]
        told = Observers([log, *([observer] if observer is not None else [])], trackers)
        try:
            yield told
        except BaseException as error:
            with contextlib.suppress(OSError, MooSearchError):  # a full disk is why it ends
                told.stopped(str(error) or type(error).__name__)
            raise
        told.finished()


def _describe(plan: Plan, folder: CampaignFolder, log: EventLog) -> None:
    """Write what the campaign is, once."""
    if folder.spec.exists():
        return
    environment = {
        "id": uuid.uuid4().hex,
        "versions": versions(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }
    log.append("created", durable=True, spec=plan.to_tree(), environment=environment)
    write_atomically(folder.environment, json.dumps(environment, indent=2) + "\n")
    write_atomically(folder.spec, dump(plan.to_tree()))


def _ledger(plan: Plan, folder: CampaignFolder) -> Ledger:
    """Open the ledger; where there is none, it appears as a whole: a reader of half would complete it."""
    if not folder.study.exists():
        folder.fresh_study.unlink(missing_ok=True)
        Ledger.create(f"sqlite:///{folder.fresh_study.as_posix()}", _header(plan), plan.space.genes())
        folder.fresh_study.rename(folder.study)
    return Ledger.create(folder.storage, _header(plan), plan.space.genes())


def _header(plan: Plan) -> Header:
    campaign = plan.campaign
    return Header(
        campaign.name,
        plan.objectives,
        tuple(str(constraint) for constraint in plan.constraints),
        ALGORITHMS.name_of(campaign.algorithm),
        campaign.budget.population,
        campaign.budget.generations,
        campaign.seed,
    )
