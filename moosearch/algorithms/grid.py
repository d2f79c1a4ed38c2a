"""All combinations of a finite space: ablations and the tables of papers."""

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

from moosearch.algorithms.algorithm import ALGORITHMS, Proposals, Search, SearchProblem
from moosearch.errors import SpecError
from moosearch.evaluation import Candidate
from moosearch.pareto.dominance import Array


@ALGORITHMS.register("grid")
@dataclass(frozen=True)
class GridSearch:
    """Every candidate of a space without real genes, in the order of the file."""

    steady: ClassVar[Literal[False]] = False

    def start(self, problem: SearchProblem) -> Search:
        """Start at the first combination.

        Raises:
            SpecError: The space is infinite, or some recipes are to be first.
        """
        if problem.space.size == float("inf"):
            raise SpecError(
                "campaign.algorithm: grid cannot list real genes. Use choice or integer genes, "
                "or another algorithm."
            )
        if problem.initial:
            raise SpecError(
                "campaign.initial: grid lists the whole space in its own order. Leave the recipes out, or "
                "choose another algorithm."
            )
        return _GridRun(problem)


class _GridRun:
    def __init__(self, problem: SearchProblem) -> None:
        self._population = problem.population
        proposals = Proposals(problem.space)
        self._left = filter(None, map(proposals.take, problem.space.enumerate()))

    def ask(self) -> list[Candidate]:
        return list(itertools.islice(self._left, self._population))

    def tell(self, losses: Array, violations: Array) -> None:
        """Learn nothing."""
