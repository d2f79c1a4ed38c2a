"""Sees jobs through on a pool: tries again what may work, keeps where they are, and stops when asked to."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

from moosearch.campaign.folder import write_atomically
from moosearch.campaign.observer import Observer, Retried
from moosearch.errors import Stopped
from moosearch.evaluators import Pool
from moosearch.evaluators.faults import again
from moosearch.job import EpochDone, Job, Outcome, PoolEvent, failure
from moosearch.plan.spec import LimitsSpec
from moosearch.run.deaths import Deaths, key_of
from moosearch.run.stop import Stop


class Conductor:
    """A pool of which only final outcomes come back."""

    def __init__(
        self,
        pool: Pool,
        limits: LimitsSpec,
        observer: Observer,
        stop: Stop,
        checkpoint: Callable[[Job], Path],
        deaths: Deaths | None = None,
    ) -> None:
        """Conduct.

        Args:
            pool: Where jobs run.
            limits: How often a job is tried again.
            observer: Is called with everything but final outcomes.
            stop: The wish to stop.
            checkpoint: Where the checkpoint of a job lies.
            deaths: What became of earlier processes, as `deaths_in` says. Those that died while a job ran are
                attempts at it: after as many as are allowed the job is lost, and the last one is made while
                nothing else runs, so that nothing else pays for it.
        """
        self._pool, self._limits, self._observer, self._stop = pool, limits, observer, stop
        self._checkpoint, self._deaths = checkpoint, deaths or Deaths()
        self._lost: deque[Outcome] = deque()
        self._alone: deque[Job] = deque()
        self._others: deque[Job] = deque()
        self._at_work = 0
        self._by_itself = self._running = False

    @property
    def workers(self) -> int:
        """Jobs at a time, as things are: nodes come and go."""
        return self._pool.workers

    def submit(self, job: Job) -> None:
        """Queue a job; it goes on where an earlier attempt left a checkpoint."""
        deaths, allowed = self._deaths.counts.get(key_of(job), 0), self._limits.retries.lost
        if deaths and job.attempt == 1:
            died = failure(dataclasses.replace(job, attempt=deaths), "lost", self._died(deaths))
            if deaths > allowed:
                self._lost.append(died)
                return
            self._observer(Retried(died))
            job = dataclasses.replace(job, attempt=deaths + 1)
        with contextlib.suppress(FileNotFoundError):
            job = dataclasses.replace(job, checkpoint=self._checkpoint(job).read_bytes())
        (self._alone if deaths and deaths == allowed else self._others).append(job)
        if self._running:
            self._feed()

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield final outcomes, until nothing is left to do; more may be submitted meanwhile.

        What is done with an outcome is done wholly before anything ends the campaign.

        Raises:
            Stopped: Somebody wished it; everything that ran was yielded.
        """
        if self._stop.requested:
            self._withdraw()
        self._stop.busy = True
        try:
            with contextlib.closing(self._events()) as events:
                for event in events:
                    with self._stop.whole():
                        if isinstance(event, Outcome):
                            if not self._again(event):
                                yield event
                                self._checkpoint(event.job).unlink(missing_ok=True)
                        else:
                            if isinstance(event, EpochDone) and event.checkpoint:
                                write_atomically(self._checkpoint(event.job), event.checkpoint)
                            self._observer(event)
                    if self._stop.requested:  # before the pool begins another one
                        self._withdraw()
        finally:
            self._stop.busy = self._running = False
        if self._stop.requested:
            raise Stopped("stopped as asked")

    def _events(self) -> Generator[PoolEvent, None, None]:
        """Yield what the pool says; outcomes that are known without it come first."""
        self._running = True
        while self._lost:
            yield self._lost.popleft()
        self._feed()
        with contextlib.closing(self._pool.events()) as events:
            for event in events:
                if isinstance(event, Outcome):
                    self._at_work -= 1
                yield event
                while self._lost:
                    yield self._lost.popleft()
                self._feed()

    def _feed(self) -> None:
        """Give the pool what it may do now: everything, or one job that must be alone, and first."""
        if self._alone:
            if not self._at_work:
                self._submit(self._alone.popleft())
                self._by_itself = True
        elif not self._by_itself or not self._at_work:
            self._by_itself = False
            while self._others:
                self._submit(self._others.popleft())

    def _submit(self, job: Job) -> None:
        self._at_work += 1
        self._pool.submit(job)

    def _withdraw(self) -> None:
        """Begin nothing more."""
        for queue in (self._lost, self._alone, self._others):
            queue.clear()
        self._pool.withdraw()

    def _again(self, outcome: Outcome) -> bool:
        job = again(outcome, self._limits.retries)
        if job is None:
            return False
        self._observer(Retried(outcome))
        self.submit(job)
        return True

    def _died(self, times: int) -> str:
        often = "" if times == 1 else f", {times} times in a row"
        how = self._deaths.cause or "died"
        return f"the process that runs the campaign {how} while this candidate was evaluated{often}"
