"""What distribution gains and what the driver costs, on real campaigns.

::

    python tests/benchmarks/distribution/measure.py speedup
    python tests/benchmarks/distribution/measure.py overhead
    python tests/benchmarks/distribution/measure.py utilisation

``speedup``: equal candidates on one and on two Ray workers, in turns; seconds from the first job's start to
the end of the search. ``overhead``: the driver's milliseconds a candidate, part by part, by the clock and of
CPU time, for candidates that train in no time; and on Ray the time of one worker that no candidate used.
``utilisation``: generational and steady-state NSGA-II in turns, on candidates whose epochs, and so their
times, differ 1:8; the share of two workers' time, from the first job's start to the end of the search, in
which they evaluated. One Ray cluster serves all campaigns of a command, and a first one, which is not
counted, warms its workers. Each command writes ``results/benchmarks/distribution_<command>.csv``.
"""

import argparse
import functools
import logging
import os
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from safetensors.numpy import save

import moosearch
from moosearch.algorithms import breeding
from moosearch.campaign.events import EventLog
from moosearch.campaign.log import read_events
from moosearch.campaign.study import StudyView
from moosearch.evaluation import Evaluation
from moosearch.evaluators import EVALUATORS, Begun, Job, Outcome
from moosearch.run.state import Running

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "results/benchmarks"
PARTS = {
    "weights and history to disk": (Running, "store_weights"),
    "log, to disk": (EventLog, "keep"),
    "study, to disk": (StudyView, "append"),
    "announce what is worked on": (StudyView, "announce"),
    "breed": (breeding.Breeder, "breed"),
    "survive": (breeding.Breeder, "merge"),
    "prune models": (Running, "prune"),
    "tables": (Running, "write_tables"),
}


def space(epochs: Any, **campaign: Any) -> dict[str, Any]:
    """A space on digits whose candidates take equally long an epoch."""
    return {
        "campaign": {
            "objectives": [
                "clean_accuracy",
                {"name": "robust_accuracy", "attacks": [{"name": "pgd", "eps": 0.15, "steps": 5}]},
                "parameters",
            ],
            "keep": "front",
            **campaign,
        },
        "candidate": {
            "dataset": "digits",
            "architecture": {"name": "small_cnn", "width": 16, "depth": 3},
            "training": {
                "epochs": epochs,
                "batch_size": 64,
                "attack": {"name": "pgd", "eps": 0.15, "step": 0.04, "steps": 7},
                "optimizer": {"lr": {"log_real": [0.01, 0.3]}, "weight_decay": {"log_real": [1e-5, 1e-2]}},
            },
        },
    }


@dataclass(frozen=True)
class Instant:
    """A worker that does its work in no time; its networks have ``parameters`` weights."""

    parameters: int = 100_000

    def check(self, resources: Any) -> None:
        """Find nothing wrong."""

    @contextmanager
    def open(self, work: Any, resources: Any) -> Iterator["_InstantPool"]:
        """Start nothing."""
        yield _InstantPool(save({"weights": np.zeros(self.parameters, np.float32)}))


class _InstantPool:
    workers = 1

    def __init__(self, state: bytes) -> None:
        self._queue: deque[Job] = deque()
        self._state = state
        self._generator = np.random.default_rng(0)

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def withdraw(self) -> None:
        self._queue.clear()

    def events(self) -> Iterator[Any]:
        while self._queue:
            job = self._queue.popleft()
            yield Begun(job, "here", os.getpid())
            clean, robust = self._generator.random(2)
            values = {"clean_accuracy": clean, "robust_accuracy": clean * robust, "parameters": 1e4}
            history = tuple({"epoch": float(epoch), "loss": 1 / epoch} for epoch in range(1, 7))
            provenance = {"started": datetime.now().astimezone().isoformat()}
            evaluation = Evaluation(
                job.candidate, "complete", values, seconds={"total": 0.0}, provenance=provenance
            )
            yield Outcome(evaluation, job, {"weights": self._state}, history)


def speedup(arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure the same candidates on one worker and on two."""
    rows = []
    data = space(arguments.epochs, algorithm="random", budget=budget(arguments.candidates, 1))
    with cluster(2):
        warm_up()
        for number in range(1, arguments.rounds + 1):
            for workers in (1, 2):
                campaign = search(data, workers)
                wall, busy = clocks(campaign)
                rows.append({"round": number, "workers": workers, "seconds": wall, "busy": busy})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    one, two = (table[table["workers"] == workers].groupby("round")["seconds"].first() for workers in (1, 2))
    print(f"speed-up: {(one / two).median():.3f} (median), rounds {(one / two).round(3).tolist()}")
    return table


def overhead(arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure what the driver does for a candidate, besides training."""
    EVALUATORS.register("instant")(Instant)
    rows = []
    generations = arguments.candidates // 12
    for number in range(1, arguments.rounds + 1):
        for algorithm in ("nsga2", "steady_nsga2"):
            data = space(6, algorithm=algorithm, budget=budget(12, generations), evaluator="instant")
            with timed() as spent:
                campaign = search(data)
            wall, _ = clocks(campaign)
            measured = sum(seconds for seconds, _ in spent.values())
            parts = dict(spent) | {"everything else": [wall - measured, np.nan], "all": [wall, np.nan]}
            rows += [
                {
                    "round": number,
                    "evaluator": "instant",
                    "algorithm": algorithm,
                    "part": part,
                    "milliseconds": 1e3 * seconds / (12 * generations),
                    "cpu": 1e3 * cpu / (12 * generations),
                }
                for part, (seconds, cpu) in parts.items()
            ]
    with cluster(1):
        warm_up()
        for number in range(1, arguments.rounds + 1):
            for algorithm in ("nsga2", "steady_nsga2"):
                data = space(1, algorithm=algorithm, budget=budget(12, 2))
                wall, busy = clocks(search(data, 1))
                row = {"round": number, "evaluator": "ray", "algorithm": algorithm, "part": "all"}
                rows.append(row | {"milliseconds": 1e3 * (wall - busy) / 24})
    table = pd.DataFrame(rows)
    keys = ["evaluator", "algorithm", "part"]
    table = table.groupby(keys, sort=False)[["milliseconds", "cpu"]].median().reset_index()
    print(table.round(2).to_string())
    return table


def utilisation(arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure how much of their time two workers work, where candidates' times differ 1:8."""
    epochs = {"choice": [arguments.epochs * each for each in (1, 2, 3, 4, 6, 8)]}
    rows = []
    with cluster(2):
        warm_up()
        for number in range(1, arguments.rounds + 1):
            for algorithm in ("nsga2", "steady_nsga2"):
                shape = budget(arguments.population, arguments.generations)
                campaign = search(space(epochs, algorithm=algorithm, budget=shape, seed=number), 2)
                wall, busy = clocks(campaign)
                total = [e.seconds["total"] for e in campaign.evaluations]
                rows.append(
                    {
                        "round": number,
                        "algorithm": algorithm,
                        "candidates": len(total),
                        "shortest": min(total),
                        "longest": max(total),
                        "seconds": wall,
                        "utilisation": busy / (2 * wall),
                        "candidates a minute": 60 * len(total) / wall,
                        "hypervolume": campaign.front.hypervolume(),
                    }
                )
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.groupby("algorithm").median(numeric_only=True).drop(columns="round").round(3).to_string())
    return table


def budget(population: int, generations: int) -> dict[str, int]:
    """How much is evaluated."""
    return {"population": population, "generations": generations}


def search(data: dict[str, Any], workers: int | None = None) -> moosearch.Campaign:
    """Run a campaign in a folder that is thrown away."""
    data["campaign"] = {"name": "measured"} | data["campaign"]
    if workers is not None:
        data["campaign"] |= {"evaluator": {"name": "ray", "workers": workers}, "resources": {"gpus": 0}}
    folder = tempfile.mkdtemp(dir=FOLDER)
    return moosearch.search(data, out=Path(folder) / "c")


def clocks(campaign: moosearch.Campaign) -> tuple[float, float]:
    """Return seconds from the first job's start to the end of the search, and those that workers worked."""
    events = list(read_events(campaign.folder.events))
    at = {kind: [e["time"] for e in events if e["event"] == kind] for kind in ("begun", "finished")}
    start, end = (datetime.fromisoformat(at[kind][0]) for kind in ("begun", "finished"))
    return (end - start).total_seconds(), sum(e.seconds["total"] for e in campaign.evaluations)


@contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Keep a local Ray cluster for all campaigns."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 2**20,
    )
    try:
        yield
    finally:
        ray.shutdown()


def warm_up() -> None:
    """Have every worker import what it needs."""
    import ray

    workers = int(ray.cluster_resources()["CPU"])
    search(space(1, algorithm="random", budget=budget(4 * workers, 1)), workers)


@contextmanager
def timed() -> Iterator[dict[str, list[float]]]:
    """Add up the seconds of each part, by the clock and of CPU time."""
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def wrap(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timing(*arguments: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments)
            finally:
                spent[part][0] += time.perf_counter() - start
                spent[part][1] += time.process_time() - cpu

        return timing

    with ExitStack() as stack:
        for part, (owner, name) in PARTS.items():
            stack.enter_context(mock.patch.object(owner, name, wrap(part, getattr(owner, name))))
        yield spent


def main() -> None:
    """Measure one thing and write its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for command, defaults in (
        (speedup, {"rounds": 3, "epochs": 12, "candidates": 8}),
        (overhead, {"rounds": 3, "candidates": 192}),
        (utilisation, {"rounds": 2, "epochs": 2, "population": 6, "generations": 4}),
    ):
        sub = commands.add_parser(command.__name__)
        sub.set_defaults(command=command)
        for name, default in defaults.items():
            sub.add_argument(f"--{name}", type=int, default=default)
        out = RESULTS / f"distribution_{command.__name__}.csv"
        sub.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    arguments.command(arguments).round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as FOLDER:
        main()
