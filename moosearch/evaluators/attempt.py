"""One attempt at a job: how long it takes, where the one before it was, and when it is kept itself."""

import json
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from moosearch.errors import TimeLimitError

if TYPE_CHECKING:
    from moosearch.evaluators.task import Work
    from moosearch.job import Job


class Attempt:
    """The clock of an attempt, and what is handed over from one to the next.

    Attributes:
        work: What is the same for all jobs.
        job: What to do.
        training: Seconds of training, with those of earlier attempts.
        found: What an earlier attempt handed over; nothing where there was none.
    """

    def __init__(self, work: "Work", job: "Job") -> None:
        """Start the clock."""
        self.work, self.job, self.training = work, job, 0.0
        self.found: dict[str, Any] = {}
        self._mark, self._before = "", 0.0
        self._start = self._kept = perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent on the job, with those of earlier attempts up to what they handed over."""
        return self._before + perf_counter() - self._start

    def resume(self, versions: Mapping[str, str], device: str) -> None:
        """Read what an earlier attempt handed over, if it is whole and belongs to this job.

        Args:
            versions: Of libraries.
            device: Type of the device: random generators differ between them.
        """
        from moosearch.training.state import unpack

        work, job = self.work, self.job
        whose = {
            "versions": [versions.get("moosearch"), versions.get("torch")],
            "device": device,
            "seed": work.seed_of(job),
            "candidate": job.candidate.spec,
            "measured": [*work.objectives, *work.metrics],
        }
        self._mark = json.dumps(whose, sort_keys=True, default=str)
        self.found = (unpack(job.checkpoint, self._mark) if job.checkpoint else None) or {}
        self._before = self.found.get("seconds", 0.0)
        self.training = self.found.get("training_seconds", 0.0)

    def due(self) -> bool:
        """Whether it is time to keep what was reached."""
        return perf_counter() - self._kept >= self.work.checkpoint

    def keep(self, reached: Mapping[str, Any]) -> bytes:
        """Return what was reached as bytes for the next attempt."""
        from moosearch.training.state import pack

        clocks = {"seconds": self.seconds, "training_seconds": self.training}
        data = pack({**reached, **clocks}, self._mark)
        self._kept = perf_counter()
        return data

    def check(self, where: str) -> None:
        """Check that there is time left.

        Args:
            where: How far the job is, for the message.

        Raises:
            TimeLimitError: There is none.
        """
        limit, seconds = self.work.limit, self.seconds
        if limit and seconds > limit:
            raise TimeLimitError(f"took {seconds:.1f} s, more than the limit of {limit:g} s: stopped {where}")
