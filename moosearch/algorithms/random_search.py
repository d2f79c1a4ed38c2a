"""Random search: the baseline that every claim is compared with."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from moosearch.algorithms.algorithm import ALGORITHMS, Proposals, Search, SearchProblem
from moosearch.evaluation import Candidate
from moosearch.pareto.dominance import Array
from moosearch.seeding import numpy_generator


@ALGORITHMS.register("random")
@dataclass(frozen=True)
class RandomSearch:
    """Uniform sampling of the space, without repetition (Bergstra & Bengio 2012), after the first recipes."""

    steady: ClassVar[Literal[False]] = False

    def start(self, problem: SearchProblem) -> Search:
        """Start a search from its seed."""
        return _RandomRun(problem)


class _RandomRun:
    def __init__(self, problem: SearchProblem) -> None:
        self._population = problem.population
        self._generator = numpy_generator(problem.seed)
        self._proposals = Proposals(problem.space, problem.initial)

    def ask(self) -> list[Candidate]:
        drawn = self._proposals.sample(self._population, self._generator)
        return [candidate for _, candidate in drawn]

    def tell(self, losses: Array, violations: Array) -> None:
        """Learn nothing."""
