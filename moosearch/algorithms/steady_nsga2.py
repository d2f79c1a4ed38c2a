"""NSGA-II in steady state: one child at a time, so that no worker waits for the slowest of a generation."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from moosearch.algorithms.algorithm import ALGORITHMS, SearchProblem, SteadySearch
from moosearch.algorithms.variation import Variation
from moosearch.evaluation import Candidate
from moosearch.pareto.dominance import Array

if TYPE_CHECKING:
    from moosearch.algorithms.breeding import Breeder, Code


@ALGORITHMS.register("steady_nsga2")
@dataclass(frozen=True)
class SteadyNsga2(Variation):
    """Steady-state NSGA-II (Durillo, Nebro, Luna & Alba 2009): a child whenever a worker is free.

    The first ``population`` candidates are those of NSGA-II's first generation; each later one is bred from
    those that survive of what was told so far. Each evaluation is merged into the survivors as it comes, and
    ``population`` of them are kept, by rank and crowding; see `Variation` for the parameters.
    """

    steady: ClassVar[Literal[True]] = True

    def start(self, problem: SearchProblem) -> SteadySearch:
        """Start a search from its seed."""
        return _SteadyNsga2Run(self, problem)


class _SteadyNsga2Run:
    def __init__(self, settings: SteadyNsga2, problem: SearchProblem) -> None:
        self._settings, self._problem = settings, problem
        self._random = problem.population
        self._exhausted = False
        self._asked: dict[str, Code] = {}

    @functools.cached_property
    def breeder(self) -> "Breeder":
        """Who breeds, from the first ask on: a space is checked without pymoo, which is slow to import."""
        from moosearch.algorithms.breeding import Breeder

        return Breeder(self._settings, self._problem, children=1)

    def ask(self) -> Candidate | None:
        if self._exhausted:
            return None
        given = [] if self._random > 0 else self.breeder.breed()
        given = given or self.breeder.draw(1)
        if not given:
            self._exhausted = True
            return None
        self._random -= 1
        ((code, candidate),) = given
        self._asked[candidate.id] = code
        return candidate

    def tell(self, candidate_id: str, losses: Array, violations: Array) -> None:
        self.breeder.merge([self._asked[candidate_id]], losses[None], violations[None])
        del self._asked[candidate_id]
