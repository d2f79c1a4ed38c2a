"""The log of a campaign: a JSON object a line, for everything that happens.

What was evaluated stands in it whole and is on disk before the ledger hears of it: either is rebuilt from
the other.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign.observer import Observer
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import Begun, EpochDone, Node, Outcome
from moosearch.pareto import Front

if TYPE_CHECKING:
    from moosearch.campaign.plan import Plan


class EventLog(Observer):
    """Appends events to a file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file, and cut off a last line that was not written to its end."""
        self._plan: Plan | None = None
        whole = _whole(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, whole)

    def __enter__(self) -> "EventLog":
        """Return the log."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, event: str, *, durable: bool = False, **data: Any) -> None:
        """Append an event.

        Args:
            event: What happened.
            durable: Whether to wait until it is on disk.
            data: What there is to say, plain data.

        Raises:
            OSError: It cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **data}) + "\n"
        data_left = memoryview(line.encode())
        while data_left:
            data_left = data_left[os.write(self._file, data_left) :]
        if durable:
            os.fsync(self._file)

    def keep(self, evaluation: Evaluation) -> None:
        """Append an evaluation as a whole; when this returns, it is on disk."""
        self.append("evaluated", durable=True, **evaluation.to_tree())

    def started(self, plan: "Plan", known: int, workers: int) -> None:
        """Log who runs the campaign."""
        self._plan = plan
        self.append("started", known=known, workers=workers, host=platform.node(), pid=os.getpid())

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Log whom a generation consists of."""
        self.append("generation_started", generation=number, candidates=[c.id for c in candidates])

    def begun(self, begun: Begun) -> None:
        """Log where a job runs."""
        self.append("begun", **_job(begun), attempt=begun.job.attempt, host=begun.host, pid=begun.pid)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Log an epoch."""
        kept = {"checkpoint": True} if epoch.checkpoint else {}
        self.append("epoch", **_job(epoch), epochs=epoch.epochs, **kept, row=dict(epoch.row))

    def retried(self, outcome: Outcome) -> None:
        """Log what failed and is tried again."""
        evaluation = outcome.evaluation
        self.append(
            "retried",
            **_job(outcome),
            attempt=outcome.job.attempt,
            failure=evaluation.failure,
            error=evaluation.error,
        )

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Log the machines."""
        self.append("nodes", nodes=[vars(node) for node in nodes])

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Log the hypervolume."""
        assert self._plan is not None
        front = Front.of(list(evaluations), self._plan.objectives)
        volume = front.hypervolume()
        self.append("generation_finished", generation=number, front=len(front), hypervolume=volume)

    def confirmation_started(self, plan: "Plan", trainings: int, known: int, workers: int) -> None:
        """Log that a confirmation starts."""
        self.append("confirmation_started", trainings=trainings, known=known, workers=workers)

    def confirmed(self, outcome: Outcome) -> None:
        """Log what was confirmed; the whole of it stands under ``confirmed/``."""
        evaluation = outcome.evaluation
        self.append(
            "confirmed",
            **_job(outcome),
            status=evaluation.status,
            objectives=dict(evaluation.objectives),
            seconds=dict(evaluation.seconds),
            error=evaluation.error,
        )

    def stopped(self, reason: str) -> None:
        """Log why it ended."""
        self.append("stopped", reason=reason)

    def finished(self) -> None:
        """Log that it came to its end."""
        self.append("finished", durable=True)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log, from the oldest; what is no event is passed over."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event


def _job(heard: Begun | EpochDone | Outcome) -> Mapping[str, Any]:
    return {"candidate": heard.job.candidate.id, "number": heard.job.number}


def _whole(path: Path) -> int:
    """Return the length of a file up to the end of its last whole line."""
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        while position:
            start = max(0, position - 65536)
            stream.seek(start)
            found = stream.read(position - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            position = start
    return 0
