"""One Ray task a job: on a local cluster that lives as long as the campaign, or on a running one."""

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic

from moosearch.errors import CampaignError
from moosearch.evaluators.evaluator import EVALUATORS, Event, Resources
from moosearch.evaluators.work import Job, Outcome, Work, evaluate, failure

OBJECT_STORE_BYTES = 256 * 2**20
"""Of a local cluster: outcomes are small, and Ray's default takes a third of the memory."""


@EVALUATORS.register("ray")
@dataclass(frozen=True)
class RayPool:
    """Evaluates on Ray.

    Attributes:
        workers: Candidates at a time; 0 for as many as the resources allow.
        address: Address of a running cluster (``auto``, ``host:port`` or ``ray://host:port``); empty to
            start one on this machine and end it with the campaign.
    """

    workers: Annotated[int, pydantic.Field(ge=0)] = 0
    address: str = ""

    def check(self, resources: Resources) -> None:
        """Check that an address, where there is one, answers.

        Raises:
            CampaignError: It does not.
        """

    @contextmanager
    def open(self, work: Work, resources: Resources) -> Iterator["_Pool"]:
        """Connect to Ray or start it; end what was started.

        Raises:
            CampaignError: No cluster answers, or a candidate fits nowhere in it.
        """
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        ours = not ray.is_initialized()
        if ours:
            arguments = self._arguments(resources)
            try:
                ray.init(**arguments)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise CampaignError(f"campaign.evaluator: Ray did not start: {error}") from error
        try:
            yield _Pool(work, *self._capacity(ray.cluster_resources(), resources))
        finally:
            if ours:
                ray.shutdown()

    def _arguments(self, resources: Resources) -> dict[str, Any]:
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address:
            return common | {"address": self.address}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if resources.cpus > cores:
            raise CampaignError(
                f"campaign.resources: a candidate asks for {resources.cpus} CPUs, and there are {cores}."
            )
        return common | {
            "address": "local",
            "num_cpus": max(resources.cpus * (self.workers or 1), cores),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }

    def _capacity(self, cluster: dict[str, float], resources: Resources) -> tuple[int, dict[str, float]]:
        """Return the number of workers and what each asks Ray for."""
        cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
        workers = self.workers or max(1, int(cpus // resources.cpus))
        share = resources.gpus
        if share == "auto":
            # Ray wants fractions below 1 or whole numbers; four digits is what it tells apart.
            share = min(1.0, int(1e4 * gpus / workers) / 1e4)
        assert not isinstance(share, str)
        for kind, have, need in (("CPUs", cpus, resources.cpus), ("GPUs", gpus, share)):
            if need > have:
                raise CampaignError(
                    f"campaign.resources: a candidate asks for {need:g} {kind}, and the cluster has {have:g}."
                )
        return workers, {"num_cpus": resources.cpus, "num_gpus": share}


class _Pool:
    def __init__(self, work: Work, workers: int, options: dict[str, float]) -> None:
        import ray

        self.workers = workers
        self._work = ray.put(work)
        self._queue: deque[Job] = deque()
        # max_calls=0: a worker process keeps its imports and CUDA context for the next candidate.
        # Python exceptions are outcomes already, and the campaign tries again where a worker was lost.
        # What the task yields arrives one by one: epochs while it trains, the outcome at the end.
        self._task = ray.remote(max_calls=0, max_retries=0, num_returns="streaming", **options)(evaluate)

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def withdraw(self) -> None:
        self._queue.clear()

    def events(self) -> Generator[Event, None, None]:
        import ray

        running: dict[Any, Job] = {}
        try:
            while self._queue or running:
                while self._queue and len(running) < self.workers:
                    job = self._queue.popleft()
                    running[self._task.remote(self._work, job)] = job
                (stream, *_), _ = ray.wait(list(running), num_returns=1)
                try:
                    heard: Event = ray.get(next(stream))
                except ray.exceptions.RayError as error:
                    heard = failure(running[stream], "lost", f"{type(error).__name__}: {error}")
                if isinstance(heard, Outcome):
                    del running[stream]
                yield heard
        finally:
            for stream in running:
                ray.cancel(stream, force=True)
