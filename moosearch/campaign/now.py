"""What a campaign's log says of now: folded from its events, and read from its end alone."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic

from moosearch.job import Node
from moosearch.text import printable

BLOCK = 2**18
"""Bytes that are read first from the end of a log; four times as many where they do not suffice."""


def _shown(node: Node) -> Node:
    return replace(node, name=printable(node.name), address=printable(node.address))


Shown = Annotated[str, pydantic.AfterValidator(printable)]
Nodes = list[Annotated[Node, pydantic.AfterValidator(_shown)]]


@dataclass
class RunningJob:
    """A job that runs.

    Attributes:
        candidate: Its candidate's id.
        number: Its number; 0 in a search.
        attempt: Which try it is, from 1.
        host: Name of the machine.
        pid: Id of the process.
        since: When it began, ISO 8601.
        epoch: Epochs that are done of the training it is in.
        epochs: How many there will be; 0 until one is done.
        training: Which training it is in, from 0, where a candidate is trained several times.
    """

    candidate: Shown
    number: int
    attempt: int
    host: Shown
    pid: int
    since: Shown
    epoch: int = 0
    epochs: int = 0
    training: int = 0


@dataclass
class Now:
    """What the events of a log, one after the other, leave.

    Attributes:
        opened: When the last process opened the log, ISO 8601; empty in an empty log.
        host: On which machine it runs.
        pid: Its id.
        user: Who runs it; empty where nobody knows.
        since: When its work started; empty until then.
        last: When the last event happened.
        confirming: Whether it confirms, rather than searches.
        workers: Jobs at a time.
        done: Jobs that it brought to their end.
        jobs: What runs.
        nodes: Machines.
        retries: How often jobs were tried again, over all processes, by what went wrong.
        ended: Why it ended: ``finished``, or the reason of a stop; empty where it said nothing.
    """

    opened: Shown = ""
    host: Shown = ""
    pid: int = 0
    user: Shown = ""
    since: Shown = ""
    last: Shown = ""
    confirming: bool = False
    workers: int = 0
    done: int = 0
    jobs: list[RunningJob] = field(default_factory=list)
    nodes: Nodes = field(default_factory=list)
    retries: dict[Shown, int] = field(default_factory=dict)
    ended: Shown = ""

    def update(self, event: Mapping[str, Any]) -> None:
        """Fold in an event, as its line says it; one that is not as it should be changes nothing."""
        # OverflowError: the whole number of an infinity.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
            time = _TEXT.validate_python(event["time"])
            self._update(event["event"], time, event)
            self.last = time

    def _update(self, kind: str, time: str, event: Mapping[str, Any]) -> None:
        match kind:
            case "opened" | "started" | "confirmation_started":
                self._start(kind, time, event)
            case "nodes":
                self.nodes = _NODES.validate_python(event["nodes"])
            case "begun":
                begun = _JOB.validate_python({**event, "since": time})
                self._end(event)
                self.jobs.append(begun)
            case "epoch" if job := self._job(event):
                epoch, epochs, training = int(event["row"]["epoch"]), int(event["epochs"]), event["number"]
                job.epoch, job.epochs, job.training = epoch, epochs, int(training)
            case "retried":
                failure = _TEXT.validate_python(event["failure"])
                self._end(event)
                self.retries[failure] = self.retries.get(failure, 0) + 1
            case "evaluated" | "confirmed":
                self._end(event)
                self.done += 1
            case "restored":
                for name in event.get("files", ()):  # weights that were lost are trained again
                    self._end({"candidate": name.removeprefix("models/")})
            case "stopped" | "finished":
                self.ended = kind if kind == "finished" else _TEXT.validate_python(event["reason"]) or kind
                self.jobs = []

    def _start(self, kind: str, time: str, event: Mapping[str, Any]) -> None:
        """Forget what an earlier process did, but not how often jobs were tried again."""
        if kind == "opened":
            opened = _NOW.validate_python({key: event[key] for key in ("host", "pid", "user")})
            self.host, self.pid, self.user = opened.host, opened.pid, opened.user
            self.opened, self.since, self.nodes, self.workers = time, "", [], 0
        else:
            self.workers = int(event["workers"])
            self.since = time
        self.confirming = kind == "confirmation_started"
        self.jobs, self.done, self.ended = [], 0, ""

    def _job(self, event: Mapping[str, Any]) -> RunningJob | None:
        """Return the job that an event speaks of; the trainings of a search are all of job 0."""
        candidate = event["candidate"]
        # An evaluation is logged as it is stored, with its candidate's genes and spec.
        identity = _TEXT.validate_python(candidate["id"] if isinstance(candidate, Mapping) else candidate)
        number = int(event.get("number", 0)) if self.confirming else 0
        return next((j for j in self.jobs if (j.candidate, j.number) == (identity, number)), None)

    def _end(self, event: Mapping[str, Any]) -> None:
        ended = self._job(event)
        self.jobs = [job for job in self.jobs if job is not ended]

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Now":
        """Return what `to_tree` wrote.

        Raises:
            KeyError: Something is missing.
            ValueError: It is something else.
        """
        now: Now = _NOW.validate_python({f.name: tree[f.name] for f in fields(cls)})
        return now


_TEXT, _JOB, _NODES, _NOW = (pydantic.TypeAdapter[Any](kind) for kind in (Shown, RunningJob, Nodes, Now))


def read_now(path: Path) -> Now:
    """Read a log's end, as far back as is needed to know what it says of now.

    The log holds, every so often, what its events left so far: only what came after is read.
    """
    try:
        with path.open("rb") as stream:
            size, length = stream.seek(0, 2), BLOCK
            while True:
                start = max(0, size - length)
                stream.seek(start)
                *lines, _torn = stream.read(size - start).split(b"\n")
                now = _fold(lines if start == 0 else lines[1:], whole=start == 0)
                if now is not None:
                    return now
                length *= 4
    except FileNotFoundError:
        return Now()


def _fold(lines: list[bytes], *, whole: bool) -> Now | None:
    """Fold lines from the last one that holds everything so far; None where there is none and lines lack."""
    for index in range(len(lines) - 1, -1, -1):
        event = parse(lines[index]) if b'"event": "now"' in lines[index][:100] else None
        if event is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
                return _folded(Now.of(event), lines[index + 1 :])
    return _folded(Now(), lines) if whole else None


def _folded(now: Now, lines: list[bytes]) -> Now:
    for line in lines:
        event = parse(line)
        if event is not None:
            now.update(event)
    return now


def parse(line: bytes) -> dict[str, Any] | None:
    """Read a line of a log; None where it is no event. Numbers that JSON does not have are None."""
    try:
        event = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
