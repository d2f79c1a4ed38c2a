"""One candidate after the other, in this process: the way to debug. Needs no Ray."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from moosearch.evaluation import Candidate
from moosearch.evaluators.evaluator import EVALUATORS, Resources
from moosearch.evaluators.work import EpochDone, Outcome, Work, evaluate


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

    def evaluate(self, candidates: Sequence[Candidate]) -> Iterator[EpochDone | Outcome]:
        for candidate in candidates:
            yield from evaluate(self.work, candidate)
