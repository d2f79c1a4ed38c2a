"""What may vary: genes, the search space, and the files that describe it. Imports no torch."""

from moosearch.space.genes import Choice, Gene, Integer, Real
from moosearch.space.space import SearchSpace, candidate_id

__all__ = ["Choice", "Gene", "Integer", "Real", "SearchSpace", "candidate_id"]
