"""How far a campaign is, who runs it, and what runs where: read from its log and lock.

Reading needs neither torch nor Ray, and disturbs nobody.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.confirmation import Confirmation
from moosearch.campaign.folder import CampaignFolder, Holder
from moosearch.campaign.now import Now, RunningJob, read_now
from moosearch.campaign.record import Entry
from moosearch.pareto import Front
from moosearch.text import printable

State = Literal["running", "stopped", "finished"]


@dataclass(frozen=True)
class Driver:
    """The process that runs a campaign.

    Attributes:
        host: Name of its machine.
        pid: Its id.
        user: Who started it; empty where nobody knows.
        since: When it began, ISO 8601.
        seconds: How long ago.
    """

    host: str
    pid: int
    user: str
    since: str
    seconds: float


@dataclass(frozen=True)
class JobStatus:
    """A job that runs.

    Attributes:
        candidate: Its candidate's id.
        number: Which training of a confirmation, from 1; 0 in a search.
        training: Which training it is in, from 0, where a candidate is trained several times.
        host: Name of the machine.
        pid: Id of the process.
        attempt: Which try it is, from 1.
        epoch: Epochs done.
        epochs: How many there will be; 0 until one is done.
        seconds: How long it has run.
    """

    candidate: str
    number: int
    training: int
    host: str
    pid: int
    attempt: int
    epoch: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class NodeStatus:
    """The machines of one name: a cluster that is tried out has several on one.

    Attributes:
        name: Host name.
        address: Address; empty where Ray does not tell.
        nodes: How many nodes of the cluster; 0 for a machine that is none of it, or not any more.
        alive: How many of them answer.
        cpus: CPU cores that those offer.
        gpus: GPUs that those offer.
        running: Jobs that run there.
        done: Candidates that were evaluated there.
    """

    name: str
    address: str
    nodes: int
    alive: int
    cpus: float
    gpus: float
    running: int
    done: int


@dataclass(frozen=True)
class FailedCandidate:
    """A candidate that failed.

    Attributes:
        candidate: Its id.
        failure: What kind of failure it was.
        attempts: How often it was tried.
        reason: The last line of the error.
    """

    candidate: str
    failure: str
    attempts: int
    reason: str


@dataclass(frozen=True)
class ConfirmationStatus:
    """How far a confirmation is.

    Attributes:
        state: Whether it runs, stopped or finished.
        done: Trainings that ended.
        planned: Trainings asked for.
        failed: Trainings that failed.
        members: Members of the front that are confirmed.
        unreliable: Those of them that failed a check for masked gradients.
        overestimated: Those whose robustness is overestimated.
    """

    state: State
    done: int
    planned: int
    failed: int
    members: int
    unreliable: int
    overestimated: int


@dataclass(frozen=True)
class Status:
    """How far a campaign is.

    Attributes:
        name: Its name.
        folder: Its folder.
        algorithm: Who proposes.
        seed: Its seed.
        running: Whether a process runs it, or its confirmation.
        state: Of the search.
        ended: Why the last process ended; empty while one runs, or where it ended without a word.
        last: When the last event happened, ISO 8601; empty where none did.
        driver: Who runs it; None where nobody does.
        generation: The generation being worked on, from 1.
        generations: How many are planned.
        done: Candidates that were evaluated.
        total: Candidates that the budget allows.
        waiting: Candidates that were asked for and are not done.
        workers: Jobs at a time; 0 until the work starts.
        jobs: What runs, the oldest first.
        nodes: Where.
        retries: How often jobs were tried again, by what went wrong.
        failures: How many candidates failed, by what went wrong.
        failed: Which.
        pace: Seconds a candidate, or a training of a confirmation, at the pace of this process; None until
            something is done.
        left: Seconds that are left at that pace; None where that is not known.
        history: A row a generation: ``generation``, ``evaluations``, ``failed``, ``front``, ``hypervolume``.
        best: By objective: the best ``value`` of the front and the ``candidate`` that has it.
        confirmation: How far a confirmation is; None where there is none.
    """

    name: str
    folder: str
    algorithm: str
    seed: int
    running: bool
    state: State
    ended: str
    last: str
    driver: Driver | None
    generation: int
    generations: int
    done: int
    total: int
    waiting: int
    workers: int
    jobs: tuple[JobStatus, ...]
    nodes: tuple[NodeStatus, ...]
    retries: Mapping[str, int]
    failures: Mapping[str, int]
    failed: tuple[FailedCandidate, ...]
    pace: float | None
    left: float | None
    history: tuple[Mapping[str, Any], ...]
    best: Mapping[str, Mapping[str, Any]]
    confirmation: ConfirmationStatus | None

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)


def read_status(campaign: Campaign, at: datetime | None = None) -> Status:
    """Read how far a campaign is.

    Args:
        campaign: Which one.
        at: The time that it is, with its zone; now if not given.
    """
    at = at or datetime.now(UTC)
    # The lock first: a process that ends meanwhile has stored all that is read after it.
    running, now = campaign.folder.running, read_now(campaign.folder.events)
    header, record = campaign.header, campaign.record
    entries = record.in_order()
    finished, (generation, working) = record.finished, record.current
    confirmed, front = campaign.confirmation, campaign.front
    confirmation = None if confirmed is None else _confirmation(confirmed, running=running)
    confirming = confirmation is not None and confirmation.done < confirmation.planned
    total = header.population * header.generations
    waiting = sum(identity not in record.entries for identity in working)
    failed = [entry for entry in entries if entry.status == "failed"]
    jobs = tuple(_job(job, at) for job in now.jobs) if running else ()
    missing = (
        confirmation.planned - confirmation.done if confirmation and confirming else total - len(entries)
    )
    pace, left = _pace(now, jobs, missing, at) if running else (None, None)
    searching = running and not (finished and confirming)
    return Status(
        name=header.name,
        folder=str(campaign.folder.root),
        algorithm=header.algorithm,
        seed=header.seed,
        running=running,
        state="running" if searching else "finished" if finished else "stopped",
        ended="" if running else now.ended,
        last=now.last,
        driver=_driver(campaign.folder, now, at) if running else None,
        generation=generation,
        generations=header.generations,
        done=len(entries),
        total=total,
        waiting=waiting,
        workers=now.workers if running else 0,
        jobs=jobs,
        nodes=_nodes(now, jobs, entries, running=running),
        retries=now.retries,
        failures=dict(Counter(e.failure or "error" for e in failed)),
        failed=tuple(
            FailedCandidate(e.id, e.failure or "error", e.attempts, printable(e.reason)) for e in failed
        ),
        pace=pace,
        left=left,
        history=tuple(campaign.history),
        best={o.key: _best(front, o.key) for o in header.objectives if front.members},
        confirmation=confirmation,
    )


def _job(job: RunningJob, at: datetime) -> JobStatus:
    return JobStatus(
        job.candidate,
        job.number,
        job.training,
        job.host,
        job.pid,
        job.attempt,
        job.epoch,
        job.epochs,
        _since(job.since, at),
    )


def _pace(
    now: Now, jobs: Sequence[JobStatus], missing: int, at: datetime
) -> tuple[float | None, float | None]:
    """Return seconds a candidate and seconds left; of what runs, the epochs that are done count."""
    begun = sum(min(1.0, job.epoch / job.epochs) for job in jobs if job.epochs)
    if not now.since or now.done + begun <= 0:
        return None, None
    pace = _since(now.since, at) / (now.done + begun)
    return pace, max(0.0, pace * (missing - begun))


def _since(time: str, at: datetime) -> float:
    """Return the seconds since a time; 0 where it is none, or where the clocks of two machines differ."""
    try:
        then = datetime.fromisoformat(time)
    except ValueError:
        return 0.0
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (at - then).total_seconds())


def _driver(folder: CampaignFolder, now: Now, at: datetime) -> Driver:
    """Return who holds the lock, as it says itself, or else who opened the log last."""
    holder = folder.holder or Holder(now.user, now.host, now.pid, now.opened)
    return Driver(holder.host, holder.pid, holder.user, holder.since, _since(holder.since, at))


def _nodes(
    now: Now, jobs: Sequence[JobStatus], entries: Sequence[Entry], *, running: bool
) -> tuple[NodeStatus, ...]:
    """Return the machines by name: those of the cluster, and those that something ran on before."""
    cluster = now.nodes if running else []
    busy = Counter(job.host for job in jobs)
    done = Counter(printable(entry.host) for entry in entries if entry.host)
    rows = []
    for name in dict.fromkeys([*(node.name for node in cluster), *busy, *done]):
        same = [node for node in cluster if node.name == name]
        alive = [node for node in same if node.alive]
        rows.append(
            NodeStatus(
                name,
                ", ".join(dict.fromkeys(node.address for node in same)),
                len(same),
                len(alive),
                sum(node.cpus for node in alive),
                sum(node.gpus for node in alive),
                busy[name],
                done[name],
            )
        )
    return tuple(rows)


def _best(front: Front, key: str) -> dict[str, Any]:
    best = front.best(key)
    return {"value": best.objectives[key], "candidate": best.candidate.id}


def _confirmation(confirmation: Confirmation, *, running: bool) -> ConfirmationStatus:
    unfinished = confirmation.done < confirmation.planned
    return ConfirmationStatus(
        ("running" if running else "stopped") if unfinished else "finished",
        confirmation.done,
        confirmation.planned,
        confirmation.failed,
        len(confirmation.members),
        sum(bool(member.failed_checks) for member in confirmation.members),
        sum(member.overestimated for member in confirmation.members),
    )
