"""Which jobs ran when a process that ran a campaign died without being told to stop: the log knows.

A candidate that takes the process along (under the serial evaluator), or the machine, would do so again at
every resume. Nobody can tell it from one that merely ran when the power failed, or when somebody killed the
process by force. So deaths count only in a row: nothing was evaluated in between, and no job got further than
ever before. What a process was told to stop by Ctrl-C, SIGTERM or SIGHUP, or by an error, does not count.
"""

import contextlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moosearch.campaign.log import read_events
from moosearch.evaluators.last_words import read_note
from moosearch.job import Job

Key = tuple[str, int]
"""A job: id of its candidate, and its number."""


def key_of(job: Job) -> Key:
    """Return what tells a job from others."""
    return job.candidate.id, job.number


@dataclass(frozen=True)
class Deaths:
    """What became of earlier processes.

    Attributes:
        counts: How often in a row one died while a job ran, by job.
        cause: What ended the last one, as the end of a sentence; empty where it left no note.
    """

    counts: Mapping[Key, int] = field(default_factory=dict)
    cause: str = ""


def deaths_in(log: Path) -> Deaths:
    """Return what became of earlier processes; the note that the last one left goes with it.

    Args:
        log: The campaign's log, to which the process that asks has said that it opened it.
    """
    counter = _Counter(read_events(log))
    return Deaths(counter.deaths, counter.cause())


def count_deaths(events: Iterable[Mapping[str, Any]]) -> dict[Key, int]:
    """Count in a log's events, from the oldest; one that is not as it should be is passed over."""
    return _Counter(events).deaths


class _Counter:
    """Hears a log.

    Attributes:
        deaths: By job; those that were told to stop are none.
    """

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Count in events, from the oldest; one that is not as it should be is passed over."""
        self.deaths: dict[Key, int] = {}
        self._running: set[Key] = set()
        self._furthest: dict[tuple[str, int], int] = {}
        self._processes: list[tuple[str, int]] = []  # host, and number there
        for event in events:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
                self._update(event["event"], event)

    def cause(self) -> str:
        """Return what ended the process before the one that asks, where it left a note on this machine."""
        if not self.deaths or len(self._processes) < 2:
            return ""
        host, pid = self._processes[-2]
        words = read_note(pid) if host == platform.node() else None
        return "" if words is None else words.cause

    def _update(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "opened":
            for key in self._running:
                self.deaths[key] = self.deaths.get(key, 0) + 1
            self._running.clear()
            self._processes.append((str(event["host"]), int(event["pid"])))
        elif kind in ("stopped", "finished"):
            self._running.clear()
        elif kind == "begun":
            self._running.add(_key(event))
        elif kind == "retried":
            self._running.discard(_key(event))
        elif kind == "epoch":
            self._epoch(event)
        elif kind in ("evaluated", "confirmed"):
            self._ended(_key(event))
        elif kind in ("restored", "not_restored"):
            for name in event.get("files", ()):  # weights that were lost are trained again
                self._ended((name.removeprefix("models/"), 0))

    def _epoch(self, event: Mapping[str, Any]) -> None:
        """Hear of an epoch: where it was kept, an attempt that gets further is no death in vain."""
        training, reached = _key(event), int(event["row"]["epoch"])
        if event.get("checkpoint") and reached > self._furthest.get(training, 0):
            self._furthest[training] = reached
            self.deaths.clear()

    def _ended(self, key: Key) -> None:
        self._running.discard(key)
        for training in [each for each in self._furthest if each[0] == key[0]]:
            del self._furthest[training]
        self.deaths.clear()


def _key(event: Mapping[str, Any]) -> Key:
    """Return the job that an event speaks of; an evaluation is logged with its whole candidate."""
    candidate = event["candidate"]
    identity = candidate["id"] if isinstance(candidate, Mapping) else candidate
    return str(identity), int(event.get("number", 0))
