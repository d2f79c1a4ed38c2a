"""What a tracker is: runs of a campaign, written to somebody else's system."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.log import read_events
from moosearch.campaign.observer import (
    ConfirmationStarted,
    Confirmed,
    Evaluated,
    Event,
    Finished,
    GenerationFinished,
    Interrupted,
    Observer,
    Started,
)
from moosearch.evaluation import Candidate, Evaluation, Scalar
from moosearch.job import Begun, EpochDone
from moosearch.registry import Registry


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        candidate: What is trained.
        seed: Number of the seed, from 1, in a confirmation; 0 in a search.
        training: Where a search trains the candidate several times: which training, from 0.
    """

    candidate: Candidate
    seed: int = 0
    training: int = 0


class Runs(Protocol):
    """The runs of a campaign in a tracker's system. If a method raises, no other is called any more."""

    def start(self, settings: Mapping[str, Scalar]) -> None:
        """Begin a search or a confirmation, or go on with it; of the campaign it gets `SETTINGS`."""
        ...

    def begin(self, run: Run, attempt: int, host: str) -> None:
        """Begin a run on a machine; attempts after the first go on where an earlier one left a checkpoint."""
        ...

    def log(self, run: Run | None, values: Mapping[str, float], step: int) -> None:
        """Write values after an epoch of a run, or after a generation of the campaign (None), from 1."""
        ...

    def end(self, run: Run, evaluation: Evaluation, *, past: bool = False) -> None:
        """End a run with what it measured, or how it failed.

        Args:
            run: Which one; of several trainings of a candidate in a search, all.
            evaluation: What is known of it.
            past: Whether it ended before this process started: what was written of its end then, stays.
        """
        ...

    def finish(self, reason: str) -> None:
        """End the search or the confirmation; a reason says why it ends before its time, else it is empty."""
        ...


class Tracker(Protocol):
    """A plug-in that follows a campaign."""

    def check(self) -> None:
        """Check, before anything starts, that its library is installed.

        Raises:
            MissingExtraError: It is not; the message names the extra to install.
        """
        ...

    def open(self, folder: CampaignFolder) -> AbstractContextManager[Runs]:
        """Start to follow the campaign in a folder, and end it on exit."""
        ...


TRACKERS: Registry[Tracker] = Registry("tracker")

SETTINGS = ("name", "algorithm", "population", "generations", "seed")
"""What `Runs.start` gets of a campaign's header."""


@contextlib.contextmanager
def followed(tracker: Tracker, folder: CampaignFolder) -> Iterator[Observer]:
    """Open a tracker as an observer of the campaign in a folder."""
    with tracker.open(folder) as runs:
        yield Follower(runs, folder)


class Follower:
    """An observer that writes to a tracker's runs; the folder's log says what was evaluated before."""

    def __init__(self, runs: Runs, folder: CampaignFolder) -> None:
        self._runs, self._folder = runs, folder

    def __repr__(self) -> str:
        return type(self._runs).__name__

    def __call__(self, event: Event) -> None:
        """Write what happened."""
        runs = self._runs
        match event:
            case Started(header) | ConfirmationStarted(header):
                runs.start({key: getattr(header, key) for key in SETTINGS})
                for evaluation in _past(self._folder):
                    runs.end(Run(evaluation.candidate), evaluation, past=True)
            case Begun(job, host):
                runs.begin(Run(job.candidate, job.number), job.attempt, host)
            case EpochDone(job, row=row):
                values = {key: value for key, value in row.items() if key != "epoch"}
                runs.log(Run(job.candidate, job.number, event.replicate), values, int(row["epoch"]))
            case Evaluated(evaluation):
                runs.end(Run(evaluation.candidate), evaluation)
            case Confirmed(outcome):
                runs.end(Run(outcome.job.candidate, outcome.number), outcome.evaluation)
            case GenerationFinished(number, _, front):
                state = {"hypervolume": front.hypervolume(), "front": len(front), "failed": event.failed}
                runs.log(None, state, number)
            case Interrupted(reason):
                runs.finish(reason)
            case Finished():
                runs.finish("")


def _past(folder: CampaignFolder) -> Iterator[Evaluation]:
    """Yield what was evaluated before: a tracker that joins late, or missed the end of one, catches up."""
    for event in read_events(folder.events):
        if event["event"] == "evaluated":
            try:
                yield Evaluation.of(event)
            except (KeyError, TypeError):  # another hand wrote it
                continue
