"""NSGA-II, generation by generation."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from moosearch.algorithms.algorithm import ALGORITHMS, Search, SearchProblem
from moosearch.algorithms.variation import Variation
from moosearch.evaluation import Candidate
from moosearch.pareto.dominance import Array

if TYPE_CHECKING:
    from moosearch.algorithms.breeding import Breeder, Code


@ALGORITHMS.register("nsga2")
@dataclass(frozen=True)
class Nsga2(Variation):
    """NSGA-II (Deb, Pratap, Agarwal & Meyarivan 2002): binary tournament by rank and crowding.

    The first generation is drawn at random, after the recipes that the campaign begins with; see `Variation`
    for the parameters.
    """

    steady: ClassVar[Literal[False]] = False

    def start(self, problem: SearchProblem) -> Search:
        """Start a search from its seed."""
        return _Nsga2Run(self, problem)


class _Nsga2Run:
    def __init__(self, settings: Nsga2, problem: SearchProblem) -> None:
        self._population = problem.population
        self._settings, self._problem = settings, problem
        self._exhausted = False
        self._asked: list[Code] = []

    @functools.cached_property
    def breeder(self) -> "Breeder":
        """Who breeds, from the first ask on: a space is checked without pymoo, which is slow to import."""
        from moosearch.algorithms.breeding import Breeder

        return Breeder(self._settings, self._problem, children=self._problem.population)

    def ask(self) -> list[Candidate]:
        if self._exhausted:
            return []
        given = self.breeder.breed()
        given += self.breeder.draw(self._population - len(given))
        self._exhausted = len(given) < self._population
        self._asked = [code for code, _ in given]
        return [candidate for _, candidate in given]

    def tell(self, losses: Array, violations: Array) -> None:
        if not self._exhausted:  # else nothing is bred any more
            self.breeder.merge(self._asked, losses, violations)
