"""How both kinds of NSGA-II make children: parameters alone, so that they can be read without pymoo."""

from dataclasses import dataclass
from typing import Annotated

import pydantic

from moosearch.registry import Number, Positive

Probability = Annotated[Number, pydantic.Field(ge=0, le=1)]


@dataclass(frozen=True)
class Variation:
    """How children are made of parents.

    Numbers are crossed by SBX and mutated polynomially, choices are crossed uniformly and redrawn; so are
    integers of few values, which polynomial mutation would round back to where they were. Constraints follow
    Deb's feasibility rules. pymoo's default mutates half of the choices of every child; here every gene,
    active or not, mutates with the same probability. The defaults suit budgets of about a hundred candidates.

    Attributes:
        crossover: Probability of crossing two parents' numbers.
        crossover_eta: Distribution index of SBX; larger keeps children nearer to their parents.
        mutations: Expected number of mutated genes of a child.
        mutation_eta: Distribution index of polynomial mutation.
    """

    crossover: Probability = 0.9
    crossover_eta: Positive = 5.0
    mutations: Positive = 2.0
    mutation_eta: Positive = 5.0
