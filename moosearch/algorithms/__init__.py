"""Who proposes candidates: search algorithms by ask and tell. Imports no torch, Ray or files."""

from moosearch.algorithms import grid, nsga2, random_search  # noqa: F401 (registers)
from moosearch.algorithms.algorithm import ALGORITHMS, Search, SearchAlgorithm, SearchProblem

__all__ = ["ALGORITHMS", "Search", "SearchAlgorithm", "SearchProblem"]
