"""TensorBoard: curves of every candidate, its objectives by genes, and the campaign's hypervolume."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moosearch.campaign.folder import CampaignFolder
from moosearch.evaluation import Evaluation, Scalar
from moosearch.extras import require
from moosearch.trackers.tracker import TRACKERS, Run

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
    def open(self, folder: CampaignFolder) -> "Iterator[TensorBoardRuns]":
        """Write until exit."""
        with contextlib.closing(TensorBoardRuns(folder.root / "tensorboard")) as runs:
            yield runs


class TensorBoardRuns:
    """A run a candidate, one a training of a confirmation, and one of the campaign."""

    def __init__(self, root: Path) -> None:
        """Write under a folder."""
        self._root = root
        self._writers: dict[str, Any] = {}

    def close(self) -> None:
        """Write what is left."""
        for name in list(self._writers):
            self._writers.pop(name).close()

    def start(self, settings: Mapping[str, Scalar]) -> None:
        """Write nothing: the campaign's name and settings are in its folder."""

    def begin(self, run: Run, attempt: int, host: str) -> None:
        """Open the curves anew: a further attempt writes from the epoch on that it begins with."""
        self._close(run)

    def log(self, run: Run | None, values: Mapping[str, float], step: int) -> None:
        """Write values of a run, or of the campaign."""
        prefix = "training" if run else "campaign"
        # What is repeated when a campaign goes on replaces what was written then.
        writer = self._writer(_name(run) if run else "campaign", step)
        for key, value in values.items():
            writer.add_scalar(f"{prefix}/{key}", value, step)
        if run is None:
            writer.flush()

    def end(self, run: Run, evaluation: Evaluation, *, past: bool = False) -> None:
        """Write what a run measured: objectives of a search by genes, those of a confirmation by seed."""
        if past and list((self._root / _name(run)).glob(f"*{OBJECTIVES}")):
            return
        if run.seed:
            writer = self._writer(_name(run), 0)
            for key, value in evaluation.objectives.items():
                writer.add_scalar(f"confirmed/{key}", value, run.seed)
        else:
            self._write(evaluation)
        self._close(run)

    def finish(self, reason: str) -> None:
        """Write nothing."""

    def _writer(self, name: str, step: int) -> Any:
        """Return the writer of a run; opened at a step, it hides what was written from that step on."""
        from torch.utils.tensorboard import SummaryWriter

        if name not in self._writers:
            self._writers[name] = SummaryWriter(self._root / name, purge_step=step, flush_secs=10)
        return self._writers[name]

    def _close(self, run: Run) -> None:
        """Close a run, with all trainings of its candidate in a search."""
        name = _name(run)
        for each in [each for each in self._writers if each == name or each.startswith(f"{name}-training-")]:
            self._writers.pop(each).close()

    def _write(self, evaluation: Evaluation) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        values = {f"objective/{key}": value for key, value in evaluation.objectives.items()}
        folder = self._root / evaluation.candidate.id
        with SummaryWriter(folder, filename_suffix=OBJECTIVES) as writer:
            genes = {**evaluation.candidate.genome, "status": evaluation.status}
            for summary in hparams(genes, values):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
            for key, value in values.items():
                writer.add_scalar(key, value, 0)  # before all epochs: no further attempt hides it


def _name(run: Run) -> str:
    if run.seed:
        return f"{run.candidate.id}-seed-{run.seed}"
    return f"{run.candidate.id}-training-{run.training + 1}" if run.training else run.candidate.id
