"""Steady-state against generational NSGA-II on many workers, by a virtual clock.

The algorithms are the real ones; only training is made up: losses are those of a test problem, and times are
log-uniform in [1, 8], either drawn for each candidate, or long where the first loss is small: wide networks
are accurate and slow. ::

    python tests/benchmarks/distribution/simulation.py

writes ``results/benchmarks/distribution_simulation.csv``, a row a run: utilisation and evaluations until the
horizon, and the hypervolume, as a share of that of the true front, at quarters of the horizon and after
``--evaluations`` evaluations. The horizon is the time of ``--generations`` generations, each as long as its
longest candidate. Asking and telling take no time.
"""

import argparse
import heapq
import math
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, make_dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from moosearch.algorithms import ALGORITHMS, SearchProblem
from moosearch.evaluation import Candidate
from moosearch.pareto import hypervolume
from moosearch.registry import Number, Registry
from moosearch.space import SearchSpace

ROOT = Path(__file__).resolve().parents[3]
LONGEST = 8.0
FIELDS = ["problem", "times", "workers", "population", "algorithm", "seed"]

BODIES: Registry[object] = Registry("body", "bodies")


@BODIES.register("plain")
@dataclass(frozen=True)
class Plain:
    """A body with one number."""

    width: int = 1


@BODIES.register("deep")
@dataclass(frozen=True)
class Deep:
    """Another one, with two."""

    depth: int = 1
    dropout: Number = 0.0


@dataclass(frozen=True)
class Mixed:
    """Genes of every kind."""

    trade: Number = 0.0
    scale: Number = 0.0
    kind: str = "a"
    body: Annotated[object, BODIES] = field(default_factory=Plain)


MIXED = {
    "trade": {"real": [0, 1]},
    "scale": {"real": [0, 1]},
    "kind": {"choice": list("abcd")},
    "body": {
        "choice": [
            {"name": "plain", "width": {"integer": [1, 16]}},
            {"name": "deep", "depth": {"log_integer": [1, 64]}, "dropout": {"real": [0, 0.5]}},
        ]
    },
}
ZDT1 = {f"x{i}": {"real": [0, 1]} for i in range(10)}


def mixed(candidate: Candidate) -> list[float]:
    """Losses with the front 1 - sqrt(trade), at scale 0.3, kind c, width 7."""
    spec = candidate.spec
    body = spec["body"]
    distance = abs(spec["scale"] - 0.3) + 0.3 * (spec["kind"] != "c")
    distance += abs(body["width"] - 7) / 10 if body["name"] == "plain" else 0.1 + body["dropout"]
    return [spec["trade"] + 0.2 * distance, 1 - math.sqrt(spec["trade"]) + distance]


def zdt1(candidate: Candidate) -> list[float]:
    """ZDT1 of ten variables (Zitzler, Deb & Thiele 2000); the second loss is divided by 6."""
    first, *rest = (candidate.spec[f"x{i}"] for i in range(10))
    g = 1 + 9 * sum(rest) / len(rest)
    return [first, g * (1 - math.sqrt(first / g)) / 6]


@dataclass(frozen=True)
class Problem:
    """A space, its losses, and the hypervolume of its front."""

    node: dict[str, Any]
    spec: type
    losses: Callable[[Candidate], list[float]]
    best: float


PROBLEMS = {
    "mixed": Problem(MIXED, Mixed, mixed, 2 / 3),
    "zdt1": Problem(
        ZDT1, make_dataclass("Vector", [(n, Number, 0.0) for n in ZDT1], frozen=True), zdt1, 17 / 18
    ),
}


def seconds(times: str, candidate: Candidate, losses: list[float], seed: int) -> float:
    """Return how long a candidate trains, in [1, 8]."""
    if times == "independent":
        position = np.random.default_rng([seed, int(candidate.id, 16)]).random()
    else:
        position = 1 - min(1.0, max(0.0, losses[0]))
    return LONGEST ** float(position)


@dataclass
class Clock:
    """Workers that do one candidate after the other; the first in the queue comes first."""

    workers: int
    now: float = 0.0
    running: list[tuple[float, int, Candidate]] = field(default_factory=list)
    queue: list[tuple[float, Candidate]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    count: int = 0

    def submit(self, candidate: Candidate, duration: float) -> None:
        """Put a candidate at the end of the queue."""
        self.queue.append((duration, candidate))

    def outcomes(self) -> Iterator[Candidate]:
        """Yield who is done, in the order of time, until nothing is left."""
        while self.queue or self.running:
            while self.queue and len(self.running) < self.workers:
                duration, candidate = self.queue.pop(0)
                self.count += 1
                heapq.heappush(self.running, (self.now + duration, self.count, candidate))
                self.busy.append((self.now, self.now + duration))
            self.now, _, candidate = heapq.heappop(self.running)
            yield candidate

    def utilisation(self, until: float) -> float:
        """Return the share of the workers' time that they worked."""
        return sum(max(0.0, min(end, until) - start) for start, end in self.busy) / (self.workers * until)


def simulate(
    problem: str, times: str, workers: int, population: int, algorithm: str, seed: int, horizon: float
) -> tuple[Clock, list[float], np.ndarray]:
    """Search until the horizon; return the clock, when each evaluation was told, and its losses."""
    what = PROBLEMS[problem]
    space = SearchSpace.parse(what.node, what.spec)
    plugin = ALGORITHMS.get(algorithm)()
    search: Any = plugin.start(SearchProblem(space, 2, 1, population, seed))
    clock, told, rows = Clock(workers), [], []

    def submit(candidate: Candidate) -> None:
        clock.submit(candidate, seconds(times, candidate, what.losses(candidate), seed))

    def tell(candidate: Candidate) -> list[float]:
        told.append(clock.now)
        rows.append(what.losses(candidate))
        return rows[-1]

    if plugin.steady:
        for _ in range(workers):
            submit(search.ask())
        for candidate in clock.outcomes():
            search.tell(candidate.id, np.array(tell(candidate)), np.zeros(1))
            if clock.now > horizon:
                break
            submit(search.ask())
    else:
        while clock.now <= horizon:
            generation = search.ask()
            for candidate in generation:
                submit(candidate)
            for candidate in clock.outcomes():
                tell(candidate)
            losses = np.array([what.losses(candidate) for candidate in generation])
            search.tell(losses, np.zeros((len(losses), 1)))
    return clock, told, np.array(rows)


def run(case: tuple[Any, ...]) -> dict[str, Any]:
    """Simulate one run; return its row of the table."""
    *names, generations, evaluations = case
    problem, times, workers, population, algorithm, seed = names
    horizon = generations * LONGEST * max(1.0, population / workers)
    clock, told, losses = simulate(problem, times, workers, population, algorithm, seed, horizon)
    at = np.array(told)
    row = dict(zip(FIELDS, names, strict=True))
    row |= {"utilisation": clock.utilisation(horizon), "evaluations": int((at <= horizon).sum())}
    best = PROBLEMS[problem].best
    for quarter in (1, 2, 3, 4):
        row[f"hypervolume at {quarter}/4"] = hypervolume(losses[at <= horizon * quarter / 4]) / best
    row[f"hypervolume after {evaluations} evaluations"] = hypervolume(losses[:evaluations]) / best
    return row


def main() -> None:
    """Simulate, write the table, print means over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[64])
    parser.add_argument("--populations", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=512)
    parser.add_argument("--processes", type=int, default=1)
    default = ROOT / "results/benchmarks/distribution_simulation.csv"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    names = (PROBLEMS, ("independent", "correlated"), arguments.workers, arguments.populations)
    cases = [
        (*case, arguments.generations, arguments.evaluations)
        for case in product(*names, ("nsga2", "steady_nsga2"), range(arguments.seeds))
    ]
    with multiprocessing.Pool(arguments.processes) as pool:
        table = pd.DataFrame(pool.map(run, cases, chunksize=1))
    table.round(4).to_csv(arguments.out, index=False)
    print(table.groupby(FIELDS[:-1]).mean(numeric_only=True).drop(columns="seed").round(3).to_string())


if __name__ == "__main__":
    main()
