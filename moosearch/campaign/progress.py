"""Live progress on the terminal: a panel where there is one, a line a generation where there is not."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from moosearch.campaign.observer import Observer
from moosearch.campaign.plan import Plan
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import EpochDone, Outcome
from moosearch.pareto import Front
from moosearch.pareto.front import value_text


class TerminalProgress(Observer):
    """Shows generation, candidates done, running and failed, hypervolume, best values and time left."""

    def __init__(self, console: Console) -> None:
        """Draw on a console; use as a context manager."""
        self._console = console
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
        self._plan: Plan | None = None
        self._workers = self._generation = self._waiting = self._total = 0
        self._fresh: list[Evaluation] = []
        self._evaluations: list[Evaluation] = []
        self._epochs: dict[str, str] = {}
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

    def started(self, plan: Plan, known: int, workers: int) -> None:
        """Hear that the campaign starts."""
        self._plan, self._workers = plan, workers
        budget = plan.campaign.budget
        self._total = budget.population * budget.generations
        self._task = self._bar.add_task(plan.campaign.name, total=self._total, left="")
        self._start = time.monotonic()
        goes_on = f", {known} of them known already" if known else ""
        self._console.print(
            f"{plan.campaign.name}: {budget.generations} x {budget.population} candidates"
            f"{goes_on}; {workers} at a time",
            markup=False,
            highlight=False,
        )

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Hear that a generation starts."""
        self._generation, self._waiting = number, len(candidates)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Hear that a candidate trained for another epoch."""
        again = (
            f" of training {epoch.job.number + 1}" if epoch.job.number and self._confirming is None else ""
        )
        who = self._who(epoch.job.candidate, epoch.job.number)
        self._epochs[who] = f"{int(epoch.row['epoch'])}/{epoch.epochs}{again}"

    def evaluated(self, evaluation: Evaluation) -> None:
        """Hear that a candidate was stored."""
        self._waiting -= 1
        self._epochs.pop(evaluation.candidate.id, None)
        self._fresh.append(evaluation)
        self._evaluations.append(evaluation)
        self._advance()
        if evaluation.status == "failed":
            self._console.print(
                f"candidate {evaluation.candidate.id} failed: {evaluation.reason}",
                markup=False,
                highlight=False,
            )

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Hear that a generation ended."""
        self._evaluations = list(evaluations)
        self._advance()
        if self._live is None and self._plan is not None:
            front = Front.of(self._evaluations, self._plan.objectives)
            failed = sum(e.status == "failed" for e in self._evaluations)
            left = f", {self._left()}" if self._left() else ""
            self._console.print(
                f"generation {number}/{self._plan.campaign.budget.generations}: "
                f"{len(self._evaluations)} candidates, {failed} failed, front {len(front)}, "
                f"hypervolume {front.hypervolume():.4f}{left}",
                markup=False,
                highlight=False,
            )

    def confirmation_started(self, plan: Plan, trainings: int, known: int, workers: int) -> None:
        """Hear that a confirmation starts."""
        self._confirming = self._bar.add_task("confirmation", total=trainings, completed=known, left="")
        self._start, self._total = time.monotonic(), trainings - known
        goes_on = f", {known} of them known already" if known else ""
        self._console.print(
            f"{plan.campaign.name}: confirmation by {trainings} trainings{goes_on}; {workers} at a time",
            markup=False,
            highlight=False,
        )

    def confirmed(self, outcome: Outcome) -> None:
        """Hear that a training of a confirmation was stored."""
        self._judged.append(outcome)
        evaluation = outcome.evaluation
        who = self._who(evaluation.candidate, outcome.number)
        self._epochs.pop(who, None)
        left = self._pace(len(self._judged), self._total - len(self._judged))
        self._bar.update(self._confirming, advance=1, left=left)
        values = ", ".join(f"{key} {value_text(value)}" for key, value in evaluation.objectives.items())
        said = f"failed: {evaluation.reason}" if evaluation.status == "failed" else values
        if self._live is None or evaluation.status == "failed":
            self._console.print(
                f"{who}: {said}{', ' if left else ''}{left}", markup=False, highlight=False, soft_wrap=True
            )

    def _who(self, candidate: Candidate, number: int) -> str:
        return f"{candidate.id} seed {number}" if self._confirming is not None else candidate.id

    def _advance(self) -> None:
        self._bar.update(self._task, completed=len(self._evaluations), left=self._left())

    def _left(self) -> str:
        return self._pace(len(self._fresh), self._total - len(self._evaluations))

    def _pace(self, done: int, missing: int) -> str:
        """Say how much time is left, by the pace of this run."""
        if not done or missing <= 0:
            return ""
        return f"{_clock((time.monotonic() - self._start) / done * missing)} left"

    def _draw(self) -> Group | str:
        epochs = "   ".join(f"{who} epoch {epoch}" for who, epoch in self._epochs.items())
        if self._confirming is not None:
            failed = sum(outcome.evaluation.status == "failed" for outcome in self._judged)
            return Group(self._bar, f"failed {failed}", epochs)
        if self._plan is None:
            return "starting ..."
        front = Front.of(self._evaluations, self._plan.objectives)
        failed = sum(e.status == "failed" for e in self._evaluations)
        table = Table.grid(padding=(0, 2))
        budget = self._plan.campaign.budget
        table.add_row(
            f"generation {self._generation}/{budget.generations}",
            f"running {min(self._waiting, self._workers)}",
            f"failed {failed}",
            f"front {len(front)}",
            f"hypervolume {front.hypervolume():.4f}",
        )
        best = "   ".join(
            f"best {o.key} {value_text(front.best(o.key).objectives[o.key])}"
            for o in self._plan.objectives
            if len(front)
        )
        return Group(self._bar, table, best, epochs)


class TrainingProgress(Observer):
    """Shows a single training: a line an epoch, with the time left."""

    def __init__(self, console: Console) -> None:
        """Print on a console."""
        self._console = console
        self._start = time.monotonic()
        self._repeats = 1

    def started(self, plan: Plan, known: int, workers: int) -> None:
        """Hear how often the candidate is trained."""
        self._repeats = plan.campaign.repeats

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Hear that the training starts."""
        self._start = time.monotonic()

    def epoch_done(self, epoch: EpochDone) -> None:
        """Hear that an epoch ended."""
        row = dict(epoch.row)
        number = int(row.pop("epoch"))
        done = epoch.job.number * epoch.epochs + number
        missing = self._repeats * epoch.epochs - done
        seconds = (time.monotonic() - self._start) / done * missing
        values = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items())
        left = f"  {_clock(seconds)} left" if missing else ""
        training = f"training {epoch.job.number + 1}/{self._repeats}, " if self._repeats > 1 else ""
        self._console.print(f"{training}epoch {number}/{epoch.epochs}  {values}{left}", soft_wrap=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
