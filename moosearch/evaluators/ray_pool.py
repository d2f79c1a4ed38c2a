"""One Ray task a job: on a local cluster that lives as long as the campaign, or on a running one."""

import contextlib
import dataclasses
import os
import platform
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic

from moosearch.errors import CampaignError, EvaluatorLostError
from moosearch.evaluation import Failure
from moosearch.evaluators.devices import KEEP_VISIBLE, assigned_gpu, check_cuda
from moosearch.evaluators.evaluator import EVALUATORS, Resources
from moosearch.evaluators.faults import kind_of
from moosearch.evaluators.gpu_share import Footprint, measure, sharing
from moosearch.evaluators.last_words import LastWords, keep_note, oom_kills, read_note, shortened
from moosearch.evaluators.ray_cluster import (
    Cluster,
    GivenCluster,
    JoinedCluster,
    LocalCluster,
    prepare_environment,
)
from moosearch.evaluators.ray_fit import Offer, fit
from moosearch.evaluators.ray_images import SharedSplits, Store, splits_of
from moosearch.evaluators.ray_settings import check_runtime_env, check_token, filled, parse, silence
from moosearch.evaluators.task import Work
from moosearch.evaluators.work import build_objectives, evaluate
from moosearch.job import Begun, Job, Node, NodesChanged, Outcome, PoolEvent, failure
from moosearch.text import counted

POLL_SECONDS = 1.0
"""How long nothing may happen before the cluster is looked after."""

NODES_SECONDS = 5.0
"""How often nodes are asked for."""

GET_SECONDS = 30.0
"""How long what a worker has sent may take to arrive."""

MEASURE_SECONDS = 180.0
"""How long it may take to measure the memory that candidates need."""

OVERRUN, GRACE_SECONDS = 1.1, 30.0
"""A job that does not see itself that its time is over is ended after so many times the limit and seconds."""

RESTARTS = 3
"""How often a local cluster that died is started again."""


@EVALUATORS.register("ray")
@dataclass(frozen=True)
class RayPool:
    """Evaluates on Ray.

    Attributes:
        workers: Candidates at a time; 0 for as many as the resources allow.
        address: Address of a running cluster, ``auto`` or ``host:port`` of its head; empty to start one on
            this machine, which nobody else can reach, and end it with the campaign.
        runtime_env: What workers need, as Ray has it: ``working_dir``, ``pip``, ``env_vars`` and more. A
            value of ``env_vars`` that is ``***`` is that of this process's variable of the same name.
    """

    workers: Annotated[int, pydantic.Field(ge=0)] = 0
    address: str = ""
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the address and the runtime environment."""
        check_runtime_env(self.runtime_env)
        if self.address:
            parse(self.address)

    def check(self, resources: Resources) -> None:
        """Check that an address, where there is one, answers, and that secrets are there.

        Where this machine alone will do the work, it must have what a candidate asks for.

        Raises:
            CampaignError: It does not, or they are not.
        """
        filled(self.runtime_env)
        check_token()
        ray = sys.modules.get("ray")
        if not self.address and not (ray is not None and ray.is_initialized()):
            _cores(resources)
            if resources.kind == "cuda":
                check_cuda()
        address = os.environ.get("RAY_ADDRESS", "auto") if self.address == "auto" else self.address
        place = parse(address) if address else None
        if place is not None and (why := silence(*place)):
            raise CampaignError(
                f"campaign.evaluator.address: nobody answers at {address}: {why}. Start Ray there "
                "(`ray start --head`), or leave the address out to run on this machine."
            )

    @contextmanager
    def open(self, work: Work, resources: Resources) -> Iterator["_Pool"]:
        """Connect to Ray or start it; end what was started.

        Raises:
            CampaignError: No cluster answers, or a candidate fits nowhere in it.
        """
        prepare_environment()
        cluster = self.cluster(resources, work)
        try:
            cluster.start()
            yield _Pool(work, cluster, resources, self.workers)
        finally:
            cluster.stop()

    def cluster(self, resources: Resources, work: Work | None = None) -> Cluster:
        """Return the cluster that it runs on, not yet started.

        Args:
            resources: What a candidate occupies.
            work: Says how much is sent.

        Raises:
            CampaignError: A candidate asks for more CPUs than there are.
        """
        import ray

        if ray.is_initialized():
            return GivenCluster()
        if self.address:
            return JoinedCluster(self.address, filled(self.runtime_env))
        cpus = max(resources.cpus * (self.workers or 1), _cores(resources))
        sent = {"images": work.images, "weights": work.weights} if work is not None else {}
        return LocalCluster(cpus, resources.cpus, filled(self.runtime_env), **sent)


def _cores(resources: Resources) -> int:
    """Return how many CPU cores this process has.

    Raises:
        CampaignError: A candidate asks for more.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if resources.cpus > cores:
        raise CampaignError(
            f"campaign.resources: a candidate asks for {counted(resources.cpus, 'CPU')}, and this "
            f"process has {cores}."
        )
    return cores


def _evaluate(work: Work, job: Job, shared: SharedSplits) -> Iterator[PoolEvent]:
    """Evaluate in a worker, with images from the object store, on the GPU that Ray assigned."""
    keep_note()
    yield from evaluate(work, job, lambda _dataset, device: splits_of(shared, device), assigned_gpu())


def _measure(work: Work) -> Footprint | None:
    """Measure in a worker how much memory of its GPU the largest candidates need."""
    return measure(work, assigned_gpu())


def task(function: Callable[..., Any], resources: Resources, gpus: float, **options: Any) -> Any:
    """Return a function of a worker as a task of Ray's that occupies what a candidate does.

    A worker process keeps its imports and its CUDA context for the next candidate (``max_calls=0``). Ray may
    assign another GPU to that one: so the process sees them all, and chooses by `assigned_gpu`.
    """
    import ray

    if gpus:
        options["runtime_env"] = {"env_vars": KEEP_VISIBLE}
    return ray.remote(
        max_calls=0,
        max_retries=0,
        num_cpus=resources.cpus,
        num_gpus=gpus,
        resources=dict(resources.custom),
        **options,
    )(function)


@dataclass
class _Running:
    """A job that runs.

    Attributes:
        job: The job.
        oom_kills: What `oom_kills` was when it was started.
        begun: When its start was received, by `time.monotonic`.
        host: Where it runs, and in which process.
        pid: The process.
    """

    job: Job
    oom_kills: int
    begun: float | None = None
    host: str = ""
    pid: int = 0


class _Pool:
    def __init__(self, work: Work, cluster: Cluster, resources: Resources, workers: int) -> None:
        self._cluster, self._resources = cluster, resources
        self._wanted = workers
        self._queue: deque[Job] = deque()
        self._running: dict[Any, _Running] = {}
        self._store = Store()
        self._restarts = 0
        self._nodes: tuple[Node, ...] = ()
        self._asked = 0.0
        _, offers = cluster.nodes()
        found = fit(offers, resources, workers)
        if resources.gpus == "auto" and found.gpus:
            found = fit(offers, resources, workers, self._sharing(work, offers))
        self.workers, self._gpus = found
        # The corners have told what they know; and what has no share of a GPU must not use one that it sees.
        self._work = dataclasses.replace(work, corners=(), device=work.device if self._gpus else "cpu")
        self._load()

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def withdraw(self) -> None:
        self._queue.clear()

    def events(self) -> Generator[PoolEvent, None, None]:
        import ray

        try:
            while self._queue or self._running:
                if trouble := self._cluster.trouble():
                    yield from self._begin_again(trouble)
                yield from self._look_after_nodes()
                yield from self._end_overdue()
                yield from self._start()
                ready, _ = ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
                for stream in ready:
                    yield self._receive(stream)
        finally:
            if self._running and not self._cluster.trouble():
                for stream in self._running:
                    ray.cancel(stream, force=True)
            self._running.clear()

    def _sharing(self, work: Work, offers: Sequence[Offer]) -> int:
        """Return how many candidates may share a GPU: as it has memory for, 1 where that is unknown."""
        import ray

        gpus = max((int(offer.resources.get("GPU", 0)) for offer in offers), default=0)
        measured = build_objectives((*work.objectives, *work.metrics))
        if not gpus or any(objective.kind == "timed" for objective in measured):
            return 1
        reference = task(_measure, self._resources, 1).remote(work)
        try:
            found = ray.get(reference, timeout=MEASURE_SECONDS)
        except ray.exceptions.RayError:  # such as a candidate that kills its process
            ray.cancel(reference, force=True)
            found = None
        return sharing(found, work.images, gpus)

    def _load(self) -> None:
        """Put what all jobs share into the object store."""
        import ray

        self._store.forget()
        self._shared_work = ray.put(self._work)
        # Python exceptions are outcomes already, and the campaign tries again where a worker was lost.
        # What the task yields arrives one by one: epochs while it trains, the outcome at the end.
        self._task = task(_evaluate, self._resources, self._gpus, num_returns="streaming")

    def _start(self) -> Iterator[PoolEvent]:
        """Start jobs as long as there is room; one whose images cannot be read has failed."""
        while self._queue and len(self._running) < self.workers:
            job = self._queue.popleft()
            try:
                shared = self._store.of(job)
            except (Exception, SystemExit) as error:  # a bad candidate is data, not the end of a campaign
                yield failure(job, kind_of(error), traceback.format_exc())
                continue
            self._running[self._task.remote(self._shared_work, job, shared)] = _Running(job, oom_kills())

    def _receive(self, stream: Any) -> PoolEvent:
        """Return what a stream has to say, and put it behind the others."""
        import ray

        running = self._running.pop(stream)
        try:
            event: PoolEvent = ray.get(next(stream), timeout=GET_SECONDS)
        except StopIteration:
            return failure(running.job, "lost", "its worker process ended without an outcome")
        except ray.exceptions.LocalRayletDiedError as error:
            if not self._cluster.ours:
                raise EvaluatorLostError("Ray's process on this machine (raylet) died.") from error
            return failure(running.job, "lost", _text(error))
        except ray.exceptions.WorkerCrashedError:
            return failure(running.job, "lost", _death(running))
        except ray.exceptions.RayError as error:
            return failure(running.job, _kind(error), _text(error))
        if isinstance(event, Outcome):
            return event
        if isinstance(event, Begun):
            running.begun, running.host, running.pid = time.monotonic(), event.host, event.pid
        self._running[stream] = running
        return event

    def _end_overdue(self) -> Iterator[Outcome]:
        """End jobs that overrun their time and do not notice."""
        import ray

        limit = self._work.limit
        if not limit:
            return
        latest = time.monotonic() - OVERRUN * limit - GRACE_SECONDS
        for stream, running in list(self._running.items()):
            if running.begun is not None and running.begun < latest:
                del self._running[stream]
                ray.cancel(stream, force=True)
                yield failure(
                    running.job,
                    "time",
                    f"TimeLimitError: more than {limit:g} seconds, and it had to be ended by force",
                    {"total": time.monotonic() - running.begun},
                )

    def _look_after_nodes(self) -> Iterator[NodesChanged]:
        if self._nodes and time.monotonic() - self._asked < NODES_SECONDS:
            return
        if not self._cluster.answers():  # `trouble` will say so if it lasts
            return
        self._asked = time.monotonic()
        nodes, offers = self._cluster.nodes()
        if nodes == self._nodes:
            return
        self._nodes = nodes
        if not self._wanted:
            share = dataclasses.replace(self._resources, gpus=self._gpus)
            try:
                self.workers = fit(offers, share, 0).workers
            except CampaignError:  # nothing fits now; Ray waits until a node comes
                self.workers = 1
        yield NodesChanged(nodes)

    def _begin_again(self, trouble: str) -> Iterator[Outcome]:
        """Start a cluster of ours again; what ran is lost.

        Raises:
            EvaluatorLostError: It is not ours, or dies again and again.
        """
        if not self._cluster.ours or self._restarts == RESTARTS:
            often = f", for the {RESTARTS + 1}th time" if self._cluster.ours else ""
            raise EvaluatorLostError(f"Ray is gone{often}: {trouble}. What was evaluated is stored.")
        self._restarts += 1
        lost = [running.job for running in self._running.values()]
        self._running.clear()
        self._nodes = ()
        try:
            self._cluster.stop()
            self._cluster.start()
        except CampaignError as error:
            raise EvaluatorLostError(f"Ray is gone: {trouble}, and does not start again: {error}") from error
        self._load()
        for job in lost:
            yield failure(job, "lost", f"the Ray cluster on this machine died: {trouble}")


def _kind(error: Exception) -> Failure:
    """Say what kind of failure an error of Ray's own is."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return "memory"
    # Raised where the work could not even begin there: it would fail the same way again.
    deterministic = (
        exceptions.RayTaskError,
        exceptions.RuntimeEnvSetupError,
        exceptions.TaskUnschedulableError,
    )
    return "error" if isinstance(error, deterministic) else "lost"


def _text(error: Exception) -> str:
    """Say what an error of Ray's says: a traceback of the task as it is, of anything else the first line."""
    from ray import exceptions

    text = str(error) if isinstance(error, exceptions.RayTaskError) else shortened(str(error))
    return f"{type(error).__name__}: {text}"


def _death(running: _Running) -> str:
    """Say how a worker process died, in two lines: Ray knows that it did."""
    if running.begun is None:
        return "its worker process died before it began"
    words = _words(running)
    context = f"candidate {running.job.candidate.id} was evaluated by process {running.pid} on {running.host}"
    if words is not None:
        return f"{context}, in {words.where or 'no line of Python'}\nits worker process {words.cause}"
    cause = "died without a word: it was killed from outside (SIGKILL), or exited by itself"
    if running.host == platform.node() and oom_kills() > running.oom_kills:
        cause = "was killed (SIGKILL), and the system killed a process for want of memory meanwhile"
    return f"{context}\nits worker process {cause}"


def _words(running: _Running) -> LastWords | None:
    """Return the note of a worker process; one of another machine is asked for there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if running.host == platform.node():
        return read_note(running.pid)
    for node in ray.nodes():
        if node["Alive"] and node["NodeManagerHostname"] == running.host:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            read = ray.remote(num_cpus=0, max_retries=0)(read_note)
            with contextlib.suppress(ray.exceptions.RayError):  # the node is gone too, or busy
                words: LastWords | None = ray.get(
                    read.options(scheduling_strategy=there).remote(running.pid), timeout=GET_SECONDS
                )
                return words
    return None
