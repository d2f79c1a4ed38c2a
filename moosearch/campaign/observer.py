"""What happens in a campaign, a frozen class an event, and the observers that are called with it."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from moosearch.campaign.header import Header
from moosearch.evaluation import Candidate, Evaluation
from moosearch.job import Begun, EpochDone, NodesChanged, Outcome
from moosearch.pareto import Front


@dataclass(frozen=True)
class WarmStarted:
    """Before the campaign starts: what it takes over from another one, a line a gene."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Restored:
    """Something was lost or damaged; a line says what, and what becomes of it."""

    line: str


@dataclass(frozen=True)
class Started:
    """The search starts; the log has ``known`` candidates already, and ``workers`` jobs run at a time."""

    header: Header
    known: int
    workers: int


@dataclass(frozen=True)
class GenerationStarted:
    """A generation starts, from 1, with the candidates that must be evaluated."""

    number: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Retried:
    """A job failed with this outcome, and is tried again."""

    outcome: Outcome


@dataclass(frozen=True)
class Evaluated:
    """A candidate was evaluated and stored."""

    evaluation: Evaluation


@dataclass(frozen=True)
class GenerationFinished:
    """A generation ended, from 1, with everything evaluated so far and its front."""

    number: int
    evaluations: tuple[Evaluation, ...]
    front: Front

    @property
    def failed(self) -> int:
        """How many of the evaluations failed."""
        return sum(e.status == "failed" for e in self.evaluations)


@dataclass(frozen=True)
class ConfirmationStarted:
    """A confirmation of so many trainings starts, some of which are ``known`` already."""

    header: Header
    trainings: int
    known: int
    workers: int


@dataclass(frozen=True)
class Confirmed:
    """A training of a confirmation was judged, or failed, and was stored."""

    outcome: Outcome


@dataclass(frozen=True)
class Interrupted:
    """The search or the confirmation ends before its time."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """The search or the confirmation came to its end."""


Event = (
    WarmStarted
    | Restored
    | Started
    | GenerationStarted
    | Begun
    | EpochDone
    | Retried
    | NodesChanged
    | Evaluated
    | GenerationFinished
    | ConfirmationStarted
    | Confirmed
    | Interrupted
    | Finished
)
"""What happens in a campaign."""

Observer = Callable[[Event], None]
"""Is called with every event, in order; it ignores those that it does not know."""


def ignore(event: Event) -> None:
    """Observe nothing."""


class Observers:
    """Several observers as one: an event goes to one after the other."""

    def __init__(self, observers: Iterable[Observer], trackers: Iterable[Observer] = ()) -> None:
        """Pass events to observers, then to trackers.

        A campaign does not end because a tracker's system is gone: one that raises gets no more events.
        """
        self._observers, self._trackers = list(observers), list(trackers)

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        for observer in self._observers:
            observer(event)
        for tracker in list(self._trackers):
            try:
                tracker(event)
            except Exception as error:
                self._trackers.remove(tracker)
                warnings.warn(f"{tracker!r} gets no more events: {error!r}", stacklevel=2)
