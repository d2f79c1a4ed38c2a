"""Who proposes candidates: search algorithms by ask and tell. Imports no torch, Ray or files."""

from moosearch.algorithms import grid, nsga2, random_search, steady_nsga2  # noqa: F401 (registers)
from moosearch.algorithms.algorithm import (
    ALGORITHMS,
    Search,
    SearchAlgorithm,
    SearchProblem,
    SteadyAlgorithm,
    SteadySearch,
)

__all__ = [
    "ALGORITHMS",
    "Search",
    "SearchAlgorithm",
    "SearchProblem",
    "SteadyAlgorithm",
    "SteadySearch",
]
