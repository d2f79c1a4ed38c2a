"""One job after the other, in this process: the way to debug. Needs no Ray."""

import faulthandler
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moosearch.evaluators.devices import check_cuda
from moosearch.evaluators.evaluator import EVALUATORS, Resources
from moosearch.evaluators.last_words import keep_note
from moosearch.evaluators.task import Work
from moosearch.evaluators.work import evaluate
from moosearch.job import Job, PoolEvent


@EVALUATORS.register("serial")
@dataclass(frozen=True)
class Serial:
    """Evaluates in this process."""

    def check(self, resources: Resources) -> None:
        """Check that there is a GPU where one is asked for.

        Raises:
            CampaignError: There is none.
        """
        if resources.kind == "cuda":
            check_cuda()

    @contextmanager
    def open(self, work: Work, resources: Resources) -> Iterator["_SerialPool"]:
        """Start nothing.

        A signal that ends this process leaves a note, unless Python was told to say itself what it is.
        """
        if not faulthandler.is_enabled():
            keep_note()
        yield _SerialPool(work)


class _SerialPool:
    def __init__(self, work: Work) -> None:
        self.workers = 1
        self._work = work
        self._queue: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def withdraw(self) -> None:
        self._queue.clear()

    def events(self) -> Generator[PoolEvent, None, None]:
        while self._queue:
            yield from evaluate(self._work, self._queue.popleft())
