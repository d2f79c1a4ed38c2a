"""TensorBoard: curves of every candidate, its objectives by genes, and the campaign's hypervolume."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign.header import Header
from moosearch.campaign.observer import Observer
from moosearch.evaluation import Evaluation
from moosearch.extras import require
from moosearch.job import Begun, EpochDone, Outcome
from moosearch.pareto import Front
from moosearch.trackers.tracker import TRACKERS, past

if TYPE_CHECKING:
    from moosearch.campaign.folder import CampaignFolder

OBJECTIVES = ".objectives"
"""Ends the name of the file that holds a candidate's objectives."""


@TRACKERS.register("tensorboard")
@dataclass(frozen=True)
class TensorBoard:
    """Writes ``tensorboard/`` in the campaign's folder: `tensorboard --logdir DIR/tensorboard`."""

    def check(self) -> None:
        """Check that TensorBoard is installed.

        Raises:
            CampaignError: It is not.
        """
        require("campaign.trackers: tensorboard", "tensorboard")

    @contextlib.contextmanager
    def open(self, folder: "CampaignFolder") -> "Iterator[Observer]":
        """Write until exit."""
        runs = TensorBoardRuns(folder.root / "tensorboard")
        try:
            for evaluation in past(folder):
                runs.catch_up(evaluation)
            yield runs
        finally:
            runs.close()


class TensorBoardRuns(Observer):
    """A run a candidate, one a training of a confirmation, and one of the campaign."""

    def __init__(self, root: Path) -> None:
        """Write under a folder."""
        self._root = root
        self._header: Header | None = None
        self._confirming = False
        self._writers: dict[str, Any] = {}

    def close(self) -> None:
        """Write what is left."""
        for name in list(self._writers):
            self._writers.pop(name).close()

    def started(self, header: Header, known: int, workers: int) -> None:
        """Hear what the objectives are."""
        self._header, self._confirming = header, False

    def confirmation_started(self, header: Header, trainings: int, known: int, workers: int) -> None:
        """Hear that what comes now are confirmations."""
        self._confirming = True

    def begun(self, begun: Begun) -> None:
        """Open the curves anew: a further try writes from the epoch on that it begins with."""
        self._finish(begun.job.candidate.id)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Write an epoch's curves."""
        job, row = epoch.job, dict(epoch.row)
        name = job.candidate.id
        if self._confirming:
            name = f"{name}-seed-{job.number}"
        elif epoch.number:
            name = f"{name}-training-{epoch.number + 1}"
        step = int(row.pop("epoch"))
        writer = self._writer(name, step)
        for key, value in row.items():
            writer.add_scalar(f"training/{key}", value, step)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Write a candidate's objectives."""
        self._finish(evaluation.candidate.id)
        self._write(evaluation)

    def catch_up(self, evaluation: Evaluation) -> None:
        """Write a candidate's objectives, if they are not there."""
        if not list((self._root / evaluation.candidate.id).glob(f"*{OBJECTIVES}")):
            self._write(evaluation)

    def confirmed(self, outcome: Outcome) -> None:
        """Write what a training of a confirmation measured."""
        name = f"{outcome.job.candidate.id}-seed-{outcome.number}"
        writer = self._writer(name, 0)
        for key, value in outcome.evaluation.objectives.items():
            writer.add_scalar(f"confirmed/{key}", value, outcome.number)
        self._finish(name)

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Write how good the front is."""
        assert self._header is not None
        front = Front.of(list(evaluations), self._header.objectives)
        # What is repeated when a campaign goes on replaces what was written then.
        writer = self._writer("campaign", number)
        writer.add_scalar("campaign/hypervolume", front.hypervolume(), number)
        writer.add_scalar("campaign/front", len(front), number)
        writer.add_scalar("campaign/failed", sum(e.status == "failed" for e in evaluations), number)
        writer.flush()

    def _writer(self, name: str, step: int) -> Any:
        """Return the writer of a run; opened at a step, it hides what stands there from that step on."""
        from torch.utils.tensorboard import SummaryWriter

        if name not in self._writers:
            self._writers[name] = SummaryWriter(self._root / name, purge_step=step, flush_secs=10)
        return self._writers[name]

    def _finish(self, identity: str) -> None:
        """Close the runs of a candidate."""
        for name in [name for name in self._writers if name.split("-")[0] == identity or name == identity]:
            self._writers.pop(name).close()

    def _write(self, evaluation: Evaluation) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        told = {f"objective/{key}": value for key, value in evaluation.objectives.items()}
        folder = self._root / evaluation.candidate.id
        with SummaryWriter(folder, filename_suffix=OBJECTIVES) as writer:
            genes = {**evaluation.candidate.genome, "status": evaluation.status}
            for summary in hparams(genes, told):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
            for key, value in told.items():
                writer.add_scalar(key, value, 0)  # before all epochs: no further try hides it
