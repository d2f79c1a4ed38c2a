"""Multi-objective maths on arrays: dominance, hypervolume, the front. Imports no torch."""

from moosearch.pareto.choice import Choice
from moosearch.pareto.dominance import non_dominated, to_losses, to_violations
from moosearch.pareto.front import Front
from moosearch.pareto.hypervolume import contributions, hypervolume
from moosearch.pareto.scalarization import conic_scalarization

__all__ = [
    "Choice",
    "Front",
    "conic_scalarization",
    "contributions",
    "hypervolume",
    "non_dominated",
    "to_losses",
    "to_violations",
]
