"""What a campaign's log says: a JSON object a line, for everything that happens.

It is the campaign's truth: what was evaluated stands in it whole and is on disk before any observer is called
with it. `moosearch.campaign.log` says how lines are sealed, `moosearch.campaign.record` what is read of them.
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
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moosearch.campaign.log import LogWriter
from moosearch.campaign.now import read_now
from moosearch.campaign.observer import (
    ConfirmationStarted,
    Confirmed,
    Event,
    Finished,
    GenerationFinished,
    GenerationStarted,
    Interrupted,
    Retried,
    Started,
)
from moosearch.evaluation import Evaluation
from moosearch.job import Begun, EpochDone, Job, NodesChanged, Outcome
from moosearch.provenance import user, versions

INTERVAL = 1000
"""Lines after which a log says again what they leave."""


class EventLog:
    """An observer that appends events to a file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file, and cut off a last line that was not written to its end.

        Raises:
            DamagedError: It holds a line that is not as it was written.
        """
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
        line = {"time": now, "event": event, **data}
        self._writer.append(line)
        if durable:
            self._writer.sync()
        self._now.update(line)
        self._since += 1
        if self._since >= INTERVAL:
            self._since = 0
            self._writer.append({"time": now, "event": "now", **self._now.to_tree()})

    def keep(self, evaluation: Evaluation) -> None:
        """Append an evaluation as a whole; when this returns, it is on disk."""
        self.append("evaluated", durable=True, **evaluation.to_tree())

    def __call__(self, event: Event) -> None:
        """Append what happened; evaluations are there already, by `keep`."""
        match event:
            case Started(_, known, workers):
                self.append("started", known=known, workers=workers)
            case GenerationStarted(number, candidates):
                self.append("generation_started", generation=number, candidates=[c.id for c in candidates])
            case Begun(job, host, pid):
                # On disk first: a candidate may take this process along, and `deaths` counts on the line.
                self.append("begun", durable=True, **_try(job), host=host, pid=pid)
            case EpochDone(job, epochs, row, checkpoint):
                line: dict[str, Any] = {
                    "candidate": job.candidate.id,
                    "number": event.number,
                    "epochs": epochs,
                }
                line |= {"checkpoint": True} if checkpoint else {}
                self.append("epoch", **line, row=dict(row))
            case Retried(outcome):
                self.append("retried", **_try(outcome.job), **_ended(outcome))
            case NodesChanged(nodes):
                self.append("nodes", nodes=[vars(node) for node in nodes])
            case GenerationFinished(number, _, front):
                size, failed, volume = len(front), event.failed, front.hypervolume()
                self.append(
                    "generation_finished", generation=number, front=size, failed=failed, hypervolume=volume
                )
            case ConfirmationStarted(_, trainings, known, workers):
                self.append("confirmation_started", trainings=trainings, known=known, workers=workers)
            case Confirmed(outcome):
                evaluation, job = outcome.evaluation, outcome.job
                self.append(
                    "confirmed",
                    candidate=job.candidate.id,
                    number=job.number,
                    attempts=evaluation.attempts,
                    status=evaluation.status,
                    objectives=dict(evaluation.objectives),
                    **_ended(outcome),
                )
            case Interrupted(reason):
                self.append("stopped", reason=reason)
            case Finished():
                self.append("finished", durable=True)


def _try(job: Job) -> Mapping[str, Any]:
    which = {"candidate": job.candidate.id, "number": job.number}
    return {**which, "attempt": job.attempt, "parts": job.parts}


def _ended(outcome: Outcome) -> Mapping[str, Any]:
    """Return how a job ended; where it ran as far as that is known: a worker that was lost does not say."""
    evaluation = outcome.evaluation
    host = evaluation.provenance.get("host")
    return {
        **({"host": host} if host else {}),
        "failure": evaluation.failure,
        "error": evaluation.error,
        "seconds": dict(evaluation.seconds),
    }
