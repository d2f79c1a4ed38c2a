"""What a campaign's log says: a JSON object a line, for everything that happens.

It is the campaign's truth: what was evaluated stands in it whole and is on disk before anything else hears
of it. `moosearch.campaign.log` says how lines are sealed, `moosearch.campaign.record` what is read of them.
Every event has ``time`` (ISO 8601, UTC) and ``event``, what happened:

| event | what else it says |
| --- | --- |
| ``opened`` | a process works on the campaign: ``host``, ``pid``, ``user``, ``versions`` |
| ``created`` * | the campaign is new, or taken over: ``format``, ``header``, ``spec``, ``environment`` |
| ``extended`` * | there shall be another number of ``generations`` |
| ``started`` | the search starts: ``known`` candidates, ``workers`` |
| ``nodes`` | the machines, at the start and when some come or go: ``nodes`` |
| ``generation_started`` | ``generation``, ids of the ``candidates`` that it must have evaluated |
| ``asked`` | in a steady-state search: ``candidate``, its number ``ask``, told ``after`` so many |
| ``begun`` * | a job runs: ``candidate``, ``number``, ``attempt``, ``parts``, ``host``, ``pid`` |
| ``epoch`` | ``candidate``, ``number`` of its training, ``row`` of its history, ``epochs``, ``checkpoint`` |
| ``retried`` | a job failed and is done again: as ``begun``, kind of ``failure``, ``error``, ``seconds`` |
| ``evaluated`` * | an evaluation, whole |
| ``restored`` * | it is there again: ``files``, ``candidates``; ``reason``, ``aside``, bad ``lines`` |
| ``generation_finished`` | ``generation``, ``front`` (its size), ``failed``, ``hypervolume`` |
| ``confirmation_planned`` * | the members, seeds and attacks of a confirmation: ``plan`` |
| ``confirmation_started`` | ``trainings`` in all, ``known`` of them, ``workers`` |
| ``confirmed`` | ``candidate``, ``number``, ``host``, and of its evaluation all but the genes |
| ``stopped`` | why it ends before its time: ``reason`` |
| ``finished`` * | search or confirmation came to its end |
| ``now`` | what all of these leave, a `moosearch.campaign.now.Now`: only a log's end need be read |

A campaign is taken over from its study where an older version kept that, or the log was lost; ``created``
says then whether it is ``finished`` too. Those with * are on disk when the campaign goes on. A number that
JSON does not have is ``null``.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moosearch.campaign.header import Header
from moosearch.campaign.log import LogWriter
from moosearch.campaign.now import read_now
from moosearch.campaign.observer import Observer
from moosearch.evaluation import Candidate, Evaluation
from moosearch.job import Begun, EpochDone, Node, Outcome
from moosearch.pareto import Front
from moosearch.provenance import user, versions

INTERVAL = 1000
"""Lines after which a log says again what they leave."""


class EventLog(Observer):
    """Appends events to a file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file, and cut off a last line that was not written to its end.

        Raises:
            DamagedError: It holds a line that is not as it was written.
        """
        self._header: Header | None = None
        self.path = path
        self._writer = LogWriter(path)
        self._now = read_now(path)
        self._since = INTERVAL if path.stat().st_size else 0  # another hand may have written what is there

    def __enter__(self) -> "EventLog":
        """Say who writes it from now on."""
        self.append("opened", host=platform.node(), pid=os.getpid(), user=user(), versions=versions())
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._writer.close()

    def append(self, event: str, *, durable: bool = False, **data: Any) -> None:
        """Append an event as a whole, or not at all.

        Args:
            event: What happened.
            durable: Whether to wait until it is on disk.
            data: What there is to say, plain data.

        Raises:
            OSError: It cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = {"time": now, "event": event, **data}
        self._writer.append(said)
        if durable:
            self._writer.sync()
        self._now.hear(said)
        self._since += 1
        if self._since >= INTERVAL:
            self._since = 0
            self._writer.append({"time": now, "event": "now", **self._now.to_tree()})

    def keep(self, evaluation: Evaluation) -> None:
        """Append an evaluation as a whole; when this returns, it is on disk."""
        self.append("evaluated", durable=True, **evaluation.to_tree())

    def started(self, header: Header, known: int, workers: int) -> None:
        """Log that the search starts."""
        self._header = header
        self.append("started", known=known, workers=workers)

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Log whom a generation consists of."""
        self.append("generation_started", generation=number, candidates=[c.id for c in candidates])

    def begun(self, begun: Begun) -> None:
        """Log where a job runs."""
        job = begun.job
        where = {"host": begun.host, "pid": begun.pid}
        # On disk before a candidate has begun that may take this process along: `deaths` counts on it.
        self.append("begun", durable=True, **_job(begun), attempt=job.attempt, parts=job.parts, **where)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Log an epoch."""
        kept = {"checkpoint": True} if epoch.checkpoint else {}
        self.append("epoch", **_job(epoch), epochs=epoch.epochs, **kept, row=dict(epoch.row))

    def retried(self, outcome: Outcome) -> None:
        """Log what failed and is tried again."""
        evaluation, job = outcome.evaluation, outcome.job
        self.append(
            "retried",
            **_job(outcome),
            attempt=job.attempt,
            parts=job.parts,
            **_where(evaluation),
            failure=evaluation.failure,
            error=evaluation.error,
            seconds=dict(evaluation.seconds),
        )

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Log the machines."""
        self.append("nodes", nodes=[vars(node) for node in nodes])

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Log the hypervolume."""
        assert self._header is not None
        front = Front.of(list(evaluations), self._header.objectives)
        volume = front.hypervolume()
        failed = sum(e.status == "failed" for e in evaluations)
        self.append(
            "generation_finished", generation=number, front=len(front), failed=failed, hypervolume=volume
        )

    def confirmation_started(self, header: Header, trainings: int, known: int, workers: int) -> None:
        """Log that a confirmation starts."""
        self.append("confirmation_started", trainings=trainings, known=known, workers=workers)

    def confirmed(self, outcome: Outcome) -> None:
        """Log what was confirmed; the whole of it stands under ``confirmed/``."""
        evaluation = outcome.evaluation
        self.append(
            "confirmed",
            **_job(outcome),
            attempts=evaluation.attempts,
            **_where(evaluation),
            status=evaluation.status,
            objectives=dict(evaluation.objectives),
            seconds=dict(evaluation.seconds),
            failure=evaluation.failure,
            error=evaluation.error,
        )

    def stopped(self, reason: str) -> None:
        """Log why it ended."""
        self.append("stopped", reason=reason)

    def finished(self) -> None:
        """Log that it came to its end."""
        self.append("finished", durable=True)


def _job(heard: Begun | EpochDone | Outcome) -> Mapping[str, Any]:
    return {"candidate": heard.job.candidate.id, "number": heard.number}


def _where(evaluation: Evaluation) -> Mapping[str, Any]:
    """Return where a job ran, as far as that is known: a worker that was lost does not say."""
    host = evaluation.provenance.get("host")
    return {"host": host} if host else {}
