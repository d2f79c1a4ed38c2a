"""Live progress on the terminal: a panel where there is one, a line a generation where there is not."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from moosearch.campaign.header import Header
from moosearch.campaign.observer import (
    ConfirmationStarted,
    Confirmed,
    Evaluated,
    Event,
    GenerationFinished,
    GenerationStarted,
    Restored,
    Retried,
    Started,
    WarmStarted,
)
from moosearch.evaluation import Evaluation
from moosearch.job import Begun, EpochDone, Job, Outcome
from moosearch.pareto import Front
from moosearch.run.stop import Stop
from moosearch.text import clock, counted, value_text


class TerminalProgress:
    """Shows generation, candidates done, running and failed, hypervolume, best values and time left."""

    def __init__(self, console: Console, stop: Stop | None = None) -> None:
        """Draw on a console, and say when it is to stop; use as a context manager."""
        self._console = console
        self._stop = stop or Stop()
        self._live: Live | None = None
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task: Any = None
        self._header: Header | None = None
        self._generation = self._total = self._retried = 0
        self._fresh: list[Evaluation] = []
        self._evaluations: dict[str, Evaluation] = {}
        self._running: dict[str, str] = {}
        self._start = time.monotonic()
        self._confirming: Any = None
        self._judged: list[Outcome] = []

    def __enter__(self) -> "TerminalProgress":
        """Start drawing."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._draw)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Draw what happened."""
        match event:
            case WarmStarted(lines):
                self._say("\n".join(lines))
            case Restored(line):
                self._say(line)
            case Started():
                self._start_search(event)
            case GenerationStarted(number):
                self._generation = number
            case Begun(job):
                self._running[_name(job)] = _attempt(job)
            case EpochDone(job, epochs, row):
                training = f" of training {event.replicate + 1}" if event.replicate else ""
                self._running[_name(job)] = f"{_attempt(job)} epoch {int(row['epoch'])}/{epochs}{training}"
            case Retried(outcome):
                name, attempt = _name(outcome.job), outcome.job.attempt
                self._running.pop(name, None)
                self._retried += 1
                reason = outcome.evaluation.reason
                self._say(f"candidate {name} is tried again, attempt {attempt} failed: {reason}")
            case Evaluated(evaluation):
                self._running.pop(evaluation.candidate.id, None)
                self._fresh.append(evaluation)
                self._evaluations[evaluation.candidate.id] = evaluation
                self._advance()
                if evaluation.status == "failed":
                    self._say(f"candidate {evaluation.candidate.id} failed: {evaluation.reason}")
            case GenerationFinished():
                self._finish_generation(event)
            case ConfirmationStarted():
                self._start_confirmation(event)
            case Confirmed(outcome):
                self._confirm(outcome)

    def _start_search(self, event: Started) -> None:
        header = self._header = event.header
        self._total = header.population * header.generations
        self._task = self._bar.add_task(header.name, total=self._total, left="")
        self._start = time.monotonic()
        self._say(
            f"{header.name}: {header.generations} x {counted(header.population, 'candidate')}"
            f"{_known(event)}; {event.workers} at a time",
        )

    def _finish_generation(self, event: GenerationFinished) -> None:
        assert self._header is not None
        number, generations = event.number, self._header.generations
        self._generation = min(number + 1, generations)  # a steady-state search starts none
        # It may know some more already, whose turn has not come.
        self._evaluations |= {e.candidate.id: e for e in event.evaluations}
        self._advance()
        if self._live is None:
            left = f", {self._left()}" if self._left() else ""
            self._say(
                f"generation {number}/{generations}: {counted(len(event.evaluations), 'candidate')}, "
                f"{event.failed} failed, front {len(event.front)}, "
                f"hypervolume {event.front.hypervolume():.4f}{left}"
            )

    def _start_confirmation(self, event: ConfirmationStarted) -> None:
        trainings, known = event.trainings, event.known
        self._confirming = self._bar.add_task("confirmation", total=trainings, completed=known, left="")
        self._start, self._total = time.monotonic(), trainings - known
        self._running.clear()
        self._say(
            f"{event.header.name}: confirmation by {counted(trainings, 'training')}{_known(event)}; "
            f"{event.workers} at a time"
        )

    def _confirm(self, outcome: Outcome) -> None:
        self._judged.append(outcome)
        evaluation, name = outcome.evaluation, _name(outcome.job)
        self._running.pop(name, None)
        left = self._pace(len(self._judged), self._total - len(self._judged))
        self._bar.update(self._confirming, advance=1, left=left)
        values = ", ".join(f"{key} {value_text(value)}" for key, value in evaluation.objectives.items())
        result = f"failed: {evaluation.reason}" if evaluation.status == "failed" else values
        if self._live is None or evaluation.status == "failed":
            self._say(f"{name}: {result}{', ' if left else ''}{left}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _advance(self) -> None:
        self._bar.update(self._task, completed=len(self._evaluations), left=self._left())

    def _left(self) -> str:
        return self._pace(len(self._fresh), self._total - len(self._evaluations))

    def _pace(self, done: int, missing: int) -> str:
        """Say how much time is left, by the pace of this run."""
        if not done or missing <= 0:
            return ""
        return f"{clock((time.monotonic() - self._start) / done * missing)} left"

    def _draw(self) -> Group | str:
        running = "   ".join(f"{name}{how}" for name, how in self._running.items())
        stopping = ["stopping: what runs is finished and stored first"] if self._stop.requested else []
        again = f"tried again {self._retried}" if self._retried else ""
        if self._confirming is not None:
            failed = sum(outcome.evaluation.status == "failed" for outcome in self._judged)
            return Group(self._bar, f"failed {failed}  {again}", *stopping, running)
        if self._header is None:
            return "starting ..."
        front = Front.of(list(self._evaluations.values()), self._header.objectives)
        failed = sum(e.status == "failed" for e in self._evaluations.values())
        table = Table.grid(padding=(0, 2))
        table.add_row(
            f"generation {self._generation}/{self._header.generations}",
            f"running {len(self._running)}",
            f"failed {failed}",
            again,
            f"front {len(front)}",
            f"hypervolume {front.hypervolume():.4f}",
        )
        best = "   ".join(
            f"best {o.key} {value_text(front.best(o.key).objectives[o.key])}"
            for o in self._header.objectives
            if len(front)
        )
        return Group(self._bar, table, best, *stopping, running)


def _name(job: Job) -> str:
    return f"{job.candidate.id} seed {job.number}" if job.number else job.candidate.id


def _attempt(job: Job) -> str:
    return f" attempt {job.attempt}" if job.attempt > 1 else ""


def _known(event: Started | ConfirmationStarted) -> str:
    return f", {event.known} of them known already" if event.known else ""


class TrainingProgress:
    """Shows a single training: a line an epoch, with the time left."""

    def __init__(self, console: Console) -> None:
        """Print on a console."""
        self._console = console
        self._start = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print an epoch."""
        if isinstance(event, GenerationStarted):
            self._start = time.monotonic()
        if not isinstance(event, EpochDone):
            return
        row = dict(event.row)
        number = int(row.pop("epoch"))
        done = event.number * event.epochs + number
        missing = event.replicates * event.epochs - done
        seconds = (time.monotonic() - self._start) / done * missing
        values = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items())
        left = f"  {clock(seconds)} left" if missing else ""
        training = f"training {event.number + 1}/{event.replicates}, " if event.replicates > 1 else ""
        self._console.print(f"{training}epoch {number}/{event.epochs}  {values}{left}", soft_wrap=True)
