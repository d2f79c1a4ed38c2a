"""What goes to a worker and what comes back: plain data, so that it travels."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moosearch.evaluation import Candidate, Evaluation, Failure
from moosearch.judgment import Judgment


@dataclass(frozen=True)
class Job:
    """What an evaluator is given to do.

    Attributes:
        candidate: Whose recipe.
        number: Which training of it: a confirmation numbers its seeds from 1. A search has one job a
            candidate, 0, and trains its replicates from 0 in it.
        attempt: Which try it is, from 1.
        parts: In how many parts the work of a batch is done where memory is short; results are the same.
        checkpoint: Where an earlier attempt was, as an `EpochDone` of it brought it; empty to start anew.
    """

    candidate: Candidate
    number: int = 0
    attempt: int = 1
    parts: int = 1
    checkpoint: bytes = b""


@dataclass(frozen=True)
class Begun:
    """A job starts to run.

    Attributes:
        job: Which one.
        host: Name of the machine.
        pid: Id of the process.
    """

    job: Job
    host: str
    pid: int

    @property
    def number(self) -> int:
        """The job's number."""
        return self.job.number


@dataclass(frozen=True)
class EpochDone:
    """A candidate trained for another epoch.

    Attributes:
        job: The job, without its checkpoint.
        epochs: How many epochs there will be.
        row: The row of the training history, with ``epoch`` from 1.
        checkpoint: What is needed to go on after this epoch; empty if one was stored a short time ago.
        replicate: Which training of a search it is, from 0.
        replicates: How often a search trains the candidate.
    """

    job: Job
    epochs: int
    row: Mapping[str, float]
    checkpoint: bytes = b""
    replicate: int = 0
    replicates: int = 1

    @property
    def number(self) -> int:
        """Which training of the candidate it is: the job's number, or the replicate of a search."""
        return self.job.number or self.replicate


@dataclass(frozen=True)
class Outcome:
    """A job ended.

    Attributes:
        evaluation: What is known of the candidate now.
        checkpoints: States of the (first) trained network as safetensors: ``weights``, which was judged, and
            the other of ``best`` and ``last`` where it is another one; empty when it failed.
        history: A row an epoch, of the same training.
        job: The job, without its checkpoint.
        judgment: How a confirmation judged it on test images; None in a search, and when it failed.
    """

    evaluation: Evaluation
    job: Job
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    judgment: Judgment | None = None

    @property
    def number(self) -> int:
        """The job's number."""
        return self.job.number


@dataclass(frozen=True)
class Node:
    """A machine that candidates run on.

    Attributes:
        name: Its host name.
        address: Its address.
        alive: Whether it answers.
        cpus: CPU cores that it offers.
        gpus: GPUs that it offers.
    """

    name: str
    address: str
    alive: bool
    cpus: float
    gpus: float


@dataclass(frozen=True)
class NodesChanged:
    """Nodes came or went; happens once at the start too.

    Attributes:
        nodes: All of them, the dead ones too.
    """

    nodes: tuple[Node, ...]


PoolEvent = Begun | EpochDone | Outcome | NodesChanged
"""What happens in a pool."""


def failure(
    job: Job,
    kind: Failure,
    error: str,
    seconds: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Outcome:
    """Return the outcome of a job that failed with an error text."""
    evaluation = Evaluation(
        job.candidate,
        "failed",
        error=error,
        failure=kind,
        attempts=job.attempt,
        seconds=seconds or {},
        provenance=provenance or {},
    )
    return Outcome(evaluation, light(job))


def light(job: Job) -> Job:
    """Return a job without its checkpoint, to be sent back with every event."""
    return dataclasses.replace(job, checkpoint=b"")
