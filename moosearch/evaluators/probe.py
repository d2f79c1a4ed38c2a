"""Whether Ray works: it is started, or joined, and runs a task, in a process of its own that has its time."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from moosearch.errors import EvaluatorLostError
from moosearch.evaluators.evaluator import Resources
from moosearch.evaluators.ray_cluster import JoinedCluster, LocalCluster, prepare_environment
from moosearch.evaluators.ray_pool import RayPool

PATIENCE = 90.0
"""Seconds that starting Ray and running a task may take."""


@dataclass(frozen=True)
class Probed:
    """What was found.

    Attributes:
        version: Ray's version.
        nodes: Nodes that answer.
        cpus: CPU cores of all of them.
        gpus: GPUs of all of them.
        start: Seconds until Ray was there.
        task: Seconds until a first task was done.
    """

    version: str
    nodes: int
    cpus: float
    gpus: float
    start: float
    task: float


def probe(address: str = "", patience: float = PATIENCE) -> Probed:
    """Run a task on Ray.

    Args:
        address: A running cluster; empty to start one on this machine and end it.
        patience: Seconds after which it is given up.

    Raises:
        CampaignError: Nobody answers at the address.
        SpecError: It is none.
        EvaluatorLostError: Ray cannot be imported, started or joined, or the task did not end.
    """
    RayPool(address=address).check(Resources())
    with subprocess.Popen(
        [sys.executable, "-m", "moosearch.evaluators.probe", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise EvaluatorLostError(f"nothing was heard of Ray within {patience:g} s") from None
        finally:
            if process.poll() is None:  # its daemons end with it
                os.killpg(process.pid, signal.SIGKILL)
    lines = [line for line in said.splitlines() if line.strip()]
    if process.returncode or not lines:
        raise EvaluatorLostError(lines[-1] if lines else f"Ray ended the process ({process.returncode})")
    return Probed(**json.loads(lines[-1]))


def _task() -> int:
    return os.getpid()


def _run(address: str) -> Probed:
    prepare_environment()
    before = time.perf_counter()
    import ray

    cluster = JoinedCluster(address, {}) if address else LocalCluster(1, 1, {})
    try:
        cluster.start()
        there = time.perf_counter()
        ray.get(ray.remote(num_cpus=1, max_retries=0)(_task).remote())
        done = time.perf_counter()
        alive = [node for node in cluster.nodes()[0] if node.alive]
    finally:
        cluster.stop()
    cpus, gpus = sum(node.cpus for node in alive), sum(node.gpus for node in alive)
    return Probed(ray.__version__, len(alive), cpus, gpus, there - before, done - there)


if __name__ == "__main__":
    print(json.dumps(asdict(_run(sys.argv[1]))))  # noqa: T201 (this is what the other process reads)
