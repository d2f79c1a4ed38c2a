"""One job after the other, in this process: the way to debug. Needs no Ray."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from moosearch.evaluators.evaluator import EVALUATORS, Resources
from moosearch.evaluators.work import EpochDone, Job, Outcome, Work, evaluate


@EVALUATORS.register("serial")
@dataclass(frozen=True)
class Serial:
    """Evaluates in this process."""

    @contextmanager
    def open(self, work: Work, resources: Resources) -> Iterator["_SerialPool"]:
        """Start nothing."""
        yield _SerialPool(work)


@dataclass(frozen=True)
class _SerialPool:
    work: Work
    workers: int = 1

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[EpochDone | Outcome]:
        for job in jobs:
            yield from evaluate(self.work, job)
