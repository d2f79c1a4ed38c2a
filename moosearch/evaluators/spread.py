"""Many small jobs of any kind at once: in this process, or on Ray."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from moosearch.evaluators.evaluator import Resources
from moosearch.evaluators.ray_cluster import prepare_environment
from moosearch.evaluators.ray_pool import RayPool

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int = 1, address: str = ""
) -> Iterator[tuple[int, Result]]:
    """Call a function with each of some items, and yield results as they come, with the items' numbers.

    Args:
        function: It and what it takes and returns travel by pickle; it computes with one thread.
        items: What it is called with, in this order.
        workers: Calls at a time; with 1 and without an address it is called here.
        address: Of a running Ray cluster; empty to start one on this machine and end it.

    Raises:
        CampaignError: No cluster answers.
        Exception: What the function raised.
    """
    if workers <= 1 and not address:
        yield from enumerate(map(function, items))
        return
    prepare_environment()
    resources = Resources(cpus=1, gpus=0)
    pool = RayPool(workers, address)
    pool.check(resources)
    cluster = pool.cluster(resources)
    try:
        cluster.start()
        yield from _on_ray(function, items, workers)
    finally:
        cluster.stop()


def _on_ray(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    import ray

    task = ray.remote(num_cpus=1, max_retries=2)(_call)
    # Once, whatever it carries; as bytes, or its arrays could not be written to there.
    shared = ray.put(ray.cloudpickle.dumps(function))
    waiting, running = iter(enumerate(items)), dict[Any, int]()
    while True:
        while len(running) < workers and (following := next(waiting, None)) is not None:
            running[task.remote(shared, following[1])] = following[0]
        if not running:
            return
        (ready,), _ = ray.wait(list(running))
        number = running.pop(ready)
        try:
            result: Result = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        yield number, result


def _call(function: bytes, item: Any) -> Any:
    return pickle.loads(function)(item)
