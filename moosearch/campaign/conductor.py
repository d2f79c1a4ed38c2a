"""Sees jobs through on a pool: tries again what may work, keeps where they are, and stops when asked to."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator
from pathlib import Path

from moosearch.campaign.folder import write_atomically
from moosearch.campaign.observer import Observer
from moosearch.campaign.spec import LimitsSpec
from moosearch.campaign.stop import Stop
from moosearch.errors import Stopped
from moosearch.evaluators import Begun, EpochDone, Event, Job, NodesChanged, Outcome, Pool
from moosearch.evaluators.faults import again


class Conductor:
    """A pool of which only final outcomes come back."""

    def __init__(
        self,
        pool: Pool,
        limits: LimitsSpec,
        observer: Observer,
        stop: Stop,
        checkpoint: Callable[[Job], Path],
    ) -> None:
        """Conduct.

        Args:
            pool: Where jobs run.
            limits: How often a job is tried again.
            observer: Is told of everything but outcomes.
            stop: The wish to stop.
            checkpoint: Where the checkpoint of a job lies.
        """
        self._pool, self._limits, self._observer, self._stop = pool, limits, observer, stop
        self._checkpoint = checkpoint

    @property
    def workers(self) -> int:
        """Jobs at a time, as things are: nodes come and go."""
        return self._pool.workers

    def submit(self, job: Job) -> None:
        """Queue a job; it goes on where an earlier attempt left a checkpoint."""
        with contextlib.suppress(FileNotFoundError):
            job = dataclasses.replace(job, checkpoint=self._checkpoint(job).read_bytes())
        self._pool.submit(job)

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield final outcomes, until nothing is left to do; more may be submitted meanwhile.

        What is done with an outcome is done wholly before anything ends the campaign.

        Raises:
            Stopped: Somebody wished it; everything that ran was yielded.
        """
        if self._stop.requested:
            self._pool.withdraw()
        self._stop.busy = True
        try:
            with contextlib.closing(self._pool.events()) as events:
                for event in events:
                    with self._stop.whole():
                        if not isinstance(event, Outcome):
                            self._hear(event)
                        elif not self._again(event):
                            yield event
                            self._checkpoint(event.job).unlink(missing_ok=True)
                    if self._stop.requested:  # before the pool begins another one
                        self._pool.withdraw()
        finally:
            self._stop.busy = False
        if self._stop.requested:
            raise Stopped("stopped as asked")

    def _again(self, outcome: Outcome) -> bool:
        job = again(outcome, self._limits.retries)
        if job is None:
            return False
        self._observer.retried(outcome)
        self.submit(job)
        return True

    def _hear(self, event: Event) -> None:
        if isinstance(event, Begun):
            self._observer.begun(event)
        elif isinstance(event, NodesChanged):
            self._observer.nodes_changed(event.nodes)
        elif isinstance(event, EpochDone):
            if event.checkpoint:
                write_atomically(self._checkpoint(event.job), event.checkpoint)
            self._observer.epoch_done(event)
