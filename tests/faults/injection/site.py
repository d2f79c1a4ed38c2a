"""Where one fault is injected: a campaign's folder, its runs, and what must hold in the end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from injection.driver import Driver, Moment
from injection.known import Runs, evaluated, trials
from injection.processes import left

RESUMES = 3
AGENTS = ("ray::DashboardA", "ray::RuntimeEnv")
"""Of Ray: they wait a minute or two for a server that died with its driver, before they end themselves."""


@dataclass
class Site:
    """One campaign and the fault that it goes through.

    Attributes:
        folder: The campaign's folder.
        desk: Where the search space file and what was printed go.
        space: What is searched.
        reference: The front of an undisturbed run.
        row: What the table says.
        drivers: All processes of the command line, in order.
        before: What was evaluated when the fault was over.
        out: A file descriptor that runs print to, instead of a file.
    """

    folder: Path
    desk: Path
    space: Mapping[str, Any]
    reference: str
    row: dict[str, Any] = field(default_factory=dict)
    drivers: list[Driver] = field(default_factory=list)
    before: Runs = field(default_factory=dict)
    out: int | None = None
    begin: float = field(default_factory=time.monotonic)

    def run(self, *arguments: Any, **environment: str) -> Driver:
        """Start a command."""
        driver = Driver(self.folder, self.desk, arguments, environment, self.out)
        self.drivers.append(driver)
        return driver

    def search(self, *options: Any, **environment: str) -> Driver:
        """Start the search."""
        return self.launch("search", *options, **environment)

    def launch(self, command: str, *options: Any, **environment: str) -> Driver:
        """Start a command that takes a search space file."""
        file = self.desk / "faults.yaml"
        file.write_text(yaml.safe_dump(dict(self.space)))
        self.row["evaluator"] = "ray" if "ray" in options else "serial"
        return self.run(command, file, "--out", self.folder, *options, **environment)

    def struck(self, driver: Driver, moment: Moment, *codes: int) -> None:
        """Wait until the driver that was struck has ended, check how, and take down what is known.

        Args:
            driver: Who was struck.
            moment: When.
            codes: The exit codes that are right.
        """
        code = self.settled(driver)
        self.row |= {"moment": str(moment), "exit": code}
        assert code in codes, (code, driver.said)
        if code == 1:
            assert driver.said.count("error:") == 1, driver.said
        self.before = evaluated(self.folder) | self.before

    def settled(self, driver: Driver, seconds: float = 30) -> int:
        """Wait for the end of a driver; check that it said no traceback and left no process behind."""
        code = driver.ended()
        assert "Traceback" not in driver.said, driver.said
        alive = left(driver.mark, seconds, spare=AGENTS if code < 0 else ())
        assert not alive, alive
        return code

    def resume(self, *options: Any, code: int = 0, **environment: str) -> None:
        """Resume, at most three times, until the campaign is done.

        Args:
            options: Of `moosearch resume`.
            code: The exit code that says that it is done.
            environment: Variables.
        """
        said = []
        for resumes in range(1, RESUMES + 1):
            self.row["resumes"] = resumes
            driver = self.run("resume", self.folder, *options, **environment)
            found = self.settled(driver)
            said.append(driver.said)
            if found == code:
                return
            assert found in {1, 130, 143}, said
        raise AssertionError(f"not done: {said}")

    def check(self, candidates: int = 9) -> None:
        """Check that nothing was lost, nothing done twice, and that the front is the undisturbed one."""
        counted = trials(self.folder)
        now = evaluated(self.folder)
        again = [identity for identity, run in self.before.items() if now[identity] != run]
        front = (self.folder / "front.csv").read_text()
        self.row |= {
            "evaluated_before": len(self.before),
            "evaluated_again": len(again),
            "front_equal": front == self.reference,
            "seconds": round(time.monotonic() - self.begin, 1),
        }
        self.row.setdefault("resumes", 0)
        twice = [identity for identity, runs in now.items() if len(runs) > 1]
        assert not again, again
        assert not twice, twice
        assert set(counted.values()) == {1}, counted
        assert len(counted) == len(now) == candidates, (len(counted), len(now))
        assert front == self.reference, front
