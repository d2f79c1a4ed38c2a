"""A campaign that runs through the command line, in a session of its own, and the moments in it."""

import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from injection.processes import MARK, kill, names
from injection.spaces import CANDIDATES, EPOCHS

PLUGINS = Path(__file__).parents[1] / "plugins"
PATIENCE = 240.0
"""Seconds after which something hangs."""


@dataclass(frozen=True)
class Moment:
    """A moment in a run: so many milliseconds after the count-th event of a kind that this run logs."""

    event: str
    count: int = 1
    milliseconds: int = 0

    def __str__(self) -> str:
        after = f" {self.count}" if self.count > 1 else ""
        return self.event + after + (f" + {self.milliseconds} ms" if self.milliseconds else "")

    @classmethod
    def drawn(cls, seed: str, events: tuple[str, ...] = ("begun", "epoch", "evaluated")) -> "Moment":
        """Draw a moment in the first eight ninths of a run; the same for the same seed."""
        rng = random.Random(seed)
        event = rng.choice(events)
        most = {"epoch": (CANDIDATES - 1) * EPOCHS, "generation_finished": 2, "generation_started": 3}
        return cls(event, rng.randint(1, most.get(event, CANDIDATES - 1)), rng.randrange(250))


class Driver:
    """One process of the command line."""

    def __init__(
        self,
        folder: Path,
        desk: Path,
        arguments: Sequence[Any],
        environment: dict[str, str],
        out: int | None = None,
    ) -> None:
        """Start ``moosearch ARGUMENTS``.

        Args:
            folder: The campaign's folder, whose log is followed from here on.
            desk: Where to write what it prints.
            arguments: Of the command line.
            environment: Variables besides those of this process.
            out: A file descriptor to print to instead.
        """
        self.mark = uuid.uuid4().hex
        self.log = folder / "events.jsonl"
        self._from = self.log.stat().st_size if self.log.exists() else 0
        self._said = desk / f"{self.mark}.txt"
        variables = {
            MARK: self.mark,
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]).rstrip(
                os.pathsep
            ),
            **environment,
        }
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moosearch", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=said if out is None else out,
                stderr=said if out is None else out,
                env={**os.environ, **variables},
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self._said.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Return the events that this run has logged so far."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as stream:
            stream.seek(self._from)
            lines = stream.read().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def reached(self, moment: Moment) -> bool:
        """Whether the event of a moment was logged."""
        return sum(each["event"] == moment.event for each in self.events()) >= moment.count

    def wait_for(self, moment: Moment) -> None:
        """Wait for a moment.

        Raises:
            AssertionError: The process ended before.
        """
        self.wait_until(lambda: self.reached(moment), str(moment))
        time.sleep(moment.milliseconds / 1000)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition.

        Raises:
            AssertionError: The process ended before.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.said}"
            assert time.monotonic() < deadline, f"{what} does not come: {self.said}"
            time.sleep(0.005)

    def training(self) -> int:
        """Wait until a process trains, with epochs to come, and return its id."""
        found: list[int] = []

        def trains() -> bool:
            found[:] = self._training()
            return bool(found)

        self.wait_until(trains, "a training")
        return found[-1]

    def _training(self) -> list[int]:
        jobs: dict[str, int] = {}
        for event in self.events():
            if event["event"] == "begun":
                jobs[event["candidate"]] = event["pid"]
            elif event["event"] == "epoch" and event["row"]["epoch"] >= EPOCHS - 2:
                jobs.pop(event["candidate"], None)
        return list(jobs.values())

    def named(self, *wanted: str) -> list[int]:
        """Return the ids of its processes of some names; of all of them if none is given."""
        return [process for process, name in names(self.mark).items() if not wanted or name in wanted]

    def ended(self) -> int:
        """Wait for the end of the process and return its exit code; below 0 where a signal killed it."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End everything."""
        kill(self.named())
        self.process.wait()
