"""Small spaces without torch, and a way to run a search on made-up losses."""

import contextlib
import signal
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest

from moosearch.algorithms import ALGORITHMS, SearchProblem
from moosearch.registry import Number, Registry
from moosearch.space import SearchSpace

MODELS: Registry[object] = Registry("model")


@MODELS.register("small")
@dataclass(frozen=True)
class Small:
    width: int = 4


@MODELS.register("deep")
@dataclass(frozen=True)
class Deep:
    depth: int = 2
    dropout: Number = 0.0
    inner: Annotated[object, MODELS] = Small()


@dataclass(frozen=True)
class Spec:
    model: Annotated[object, MODELS] = Small()
    lr: Number = 0.1
    scale: Number = 1.0
    kind: str = "plain"
    flip: bool = False


@pytest.fixture(scope="session")
def space_of():
    """Return a function that reads a space from plain data."""
    return lambda node: SearchSpace.parse(node, Spec)


class Generations:
    """A steady-state search driven like a generational one: all are asked for before the first is told."""

    def __init__(self, search, population):
        self.search, self.population, self.asked = search, population, []

    def ask(self):
        asked = (self.search.ask() for _ in range(self.population))
        self.asked = [candidate for candidate in asked if candidate is not None]
        return self.asked

    def tell(self, losses, violations):
        for candidate, row, violation in zip(self.asked, losses, violations, strict=True):
            self.search.tell(candidate.id, row, violation)


@pytest.fixture(scope="session")
def start():
    """Return a function that starts a search of a registered algorithm, to be driven by generations."""

    def start(name, space, population=6, seed=0, violations=1, objectives=2, **settings):
        problem = SearchProblem(space, objectives, violations, population, seed)
        algorithm = ALGORITHMS.get(name)(**settings)
        search = algorithm.start(problem)
        return Generations(search, population) if algorithm.steady else search

    return start


@pytest.fixture(scope="session")
def random_answer():
    """Return an answer that is made of nothing but the candidates' ids."""

    def answer(candidates):
        seeds = [int(candidate.id, 16) for candidate in candidates]
        losses = np.array([np.random.default_rng(seed).random(2) for seed in seeds])
        return losses, np.zeros((len(candidates), 1))

    return answer


@pytest.fixture(scope="session")
def drive():
    """Return a function that asks and tells until the search ends; it returns the generations."""

    def drive(search, answer, generations):
        asked = []
        for _ in range(generations):
            candidates = search.ask()
            if not candidates:
                break
            asked.append(candidates)
            search.tell(*answer(candidates))
        return asked

    return drive


@pytest.fixture(scope="session")
def time_limit():
    """Return a context manager that fails a search which does not end."""

    @contextlib.contextmanager
    def limit(seconds):
        def stop(*_):
            raise TimeoutError(f"this took more than {seconds} s")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limit
