"""Who is told what happens in a campaign."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from moosearch.campaign.header import Header
from moosearch.evaluation import Candidate, Evaluation
from moosearch.job import Begun, EpochDone, Node, Outcome


class Observer:
    """Is told what happens in a campaign; this one ignores it."""

    def warm_started(self, lines: Sequence[str]) -> None:
        """Hear, before the campaign starts, what it takes over from another one, a line a gene."""

    def started(self, header: Header, known: int, workers: int) -> None:
        """Hear that the campaign starts, with the number of candidates that the log knows already."""

    def restored(self, line: str) -> None:
        """Hear what was lost or damaged, and what becomes of it."""

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Hear that a generation starts, with the candidates that must be evaluated."""

    def begun(self, begun: Begun) -> None:
        """Hear that a job starts to run on a machine."""

    def epoch_done(self, epoch: EpochDone) -> None:
        """Hear that a candidate trained for another epoch."""

    def retried(self, outcome: Outcome) -> None:
        """Hear that a job failed and is tried again."""

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Hear which machines there are, at the start and when some come or go."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """Hear that a candidate was evaluated and stored."""

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Hear that a generation ended, with everything evaluated so far."""

    def confirmation_started(self, header: Header, trainings: int, known: int, workers: int) -> None:
        """Hear that a confirmation starts, of so many trainings, some of which are known already."""

    def confirmed(self, outcome: Outcome) -> None:
        """Hear that a training of a confirmation was judged, or failed, and was stored."""

    def stopped(self, reason: str) -> None:
        """Hear that the campaign, or its confirmation, ends before its time, and why."""

    def finished(self) -> None:
        """Hear that the campaign, or its confirmation, came to its end."""


class Observers(Observer):
    """Tells several observers, one after the other."""

    def __init__(self, observers: Iterable[Observer], trackers: Iterable[Observer] = ()) -> None:
        """Tell observers, then trackers.

        A campaign does not end because a tracker's system is gone: one that raises is not told anything more.
        """
        self._observers, self._trackers = list(observers), list(trackers)

    def _tell(self, hook: str, *arguments: Any) -> None:
        for observer in self._observers:
            getattr(observer, hook)(*arguments)
        for observer in list(self._trackers):
            try:
                getattr(observer, hook)(*arguments)
            except Exception as error:
                self._trackers.remove(observer)
                warnings.warn(f"{type(observer).__name__} is not told anything more: {error!r}", stacklevel=2)

    def warm_started(self, lines: Sequence[str]) -> None:
        """Hear, before the campaign starts, what it takes over from another one, a line a gene."""
        self._tell("warm_started", lines)

    def restored(self, line: str) -> None:
        """Hear what was lost or damaged, and what becomes of it."""
        self._tell("restored", line)

    def started(self, header: Header, known: int, workers: int) -> None:
        """Hear that the campaign starts, with the number of candidates that the log knows already."""
        self._tell("started", header, known, workers)

    def generation_started(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Hear that a generation starts, with the candidates that must be evaluated."""
        self._tell("generation_started", number, candidates)

    def begun(self, begun: Begun) -> None:
        """Hear that a job starts to run on a machine."""
        self._tell("begun", begun)

    def epoch_done(self, epoch: EpochDone) -> None:
        """Hear that a candidate trained for another epoch."""
        self._tell("epoch_done", epoch)

    def retried(self, outcome: Outcome) -> None:
        """Hear that a job failed and is tried again."""
        self._tell("retried", outcome)

    def nodes_changed(self, nodes: Sequence[Node]) -> None:
        """Hear which machines there are, at the start and when some come or go."""
        self._tell("nodes_changed", nodes)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Hear that a candidate was evaluated and stored."""
        self._tell("evaluated", evaluation)

    def generation_finished(self, number: int, evaluations: Sequence[Evaluation]) -> None:
        """Hear that a generation ended, with everything evaluated so far."""
        self._tell("generation_finished", number, evaluations)

    def confirmation_started(self, header: Header, trainings: int, known: int, workers: int) -> None:
        """Hear that a confirmation starts, of so many trainings, some of which are known already."""
        self._tell("confirmation_started", header, trainings, known, workers)

    def confirmed(self, outcome: Outcome) -> None:
        """Hear that a training of a confirmation was judged, or failed, and was stored."""
        self._tell("confirmed", outcome)

    def stopped(self, reason: str) -> None:
        """Hear that the campaign, or its confirmation, ends before its time, and why."""
        self._tell("stopped", reason)

    def finished(self) -> None:
        """Hear that the campaign, or its confirmation, came to its end."""
        self._tell("finished")
