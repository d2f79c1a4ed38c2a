"""Breeding on mixed, conditional genes, by pymoo's operators and survival: what both kinds of NSGA-II share.

What is ours: the border. Choices go in as indices, numbers on the scale of their gene, and values come
out as plain Python; duplicates are recognized by candidate id, against all that was ever asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core import variable
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.mixed import MixedVariableMating
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.mutation.rm import ChoiceRandomMutation
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.problems.static import StaticProblem

from moosearch.algorithms.algorithm import Proposals, SearchProblem
from moosearch.algorithms.variation import Variation
from moosearch.evaluation import Candidate, Scalar
from moosearch.pareto.dominance import Array
from moosearch.seeding import derive_seed, numpy_generator
from moosearch.space import Choice, Gene, Integer

Code = dict[str, Any]
"""A genome as pymoo has it: every gene, the inactive ones too."""


class Breeder:
    """The survivors of a search in pymoo's hands; nothing that it gives was given before."""

    def __init__(self, variation: Variation, problem: SearchProblem, children: int) -> None:
        """Start without survivors.

        Args:
            variation: How children are made.
            problem: What is searched; ``population`` survive.
            children: How many are bred at a time.
        """
        self.genes = problem.space.genes()
        self._problem = problem
        self._proposals = Proposals(problem.space, problem.initial)
        self._generator = numpy_generator(problem.seed)
        self._static = {"n_obj": problem.objectives, "n_ieq_constr": problem.violations}
        rate = min(1.0, variation.mutations / max(1, len(self.genes)))
        self._algorithm = NSGA2(
            pop_size=problem.population,
            n_offsprings=children,
            mating=MixedVariableMating(
                selection=TournamentSelection(func_comp=binary_tournament),
                crossover={
                    variable.Real: SBX(prob=variation.crossover, eta=variation.crossover_eta),
                    variable.Choice: UX(),
                },
                mutation={
                    variable.Real: PM(prob=1.0, eta=variation.mutation_eta, prob_var=rate),
                    variable.Choice: ChoiceRandomMutation(prob_var=rate),
                },
                repair=_Rounding(self.genes),
                eliminate_duplicates=_ByCandidate(self),
            ),
        )
        self._algorithm.setup(
            Problem(vars={path: _variable(gene) for path, gene in self.genes.items()}, **self._static),
            termination=NoTermination(),
            seed=derive_seed(problem.seed, "pymoo") % 2**32,
        )

    def breed(self) -> list[tuple[Code, Candidate]]:
        """Breed children; none before two survive, or where mating finds nothing new."""
        parents = self._algorithm.pop
        mated = self._algorithm.ask() if parents is not None and len(parents) > 1 else None
        # pymoo would take the lack of children for its end; the space may have more.
        self._algorithm.termination.force_termination = False
        bred = []
        for child in mated if mated is not None else ():
            candidate = self._proposals.take(_decode(child.X, self.genes))
            assert candidate is not None, "duplicates are removed in mating"
            bred.append((dict(child.X), candidate))
        return bred

    def draw(self, count: int) -> list[tuple[Code, Candidate]]:
        """Draw candidates uniformly, after the initial ones; fewer where the space has no more."""
        drawn = self._proposals.sample(count, self._generator)
        return [(_encode(genome, self.genes), candidate) for genome, candidate in drawn]

    def merge(self, codes: Sequence[Code], losses: Array, violations: Array) -> None:
        """Put evaluated candidates among the survivors, of which ``population`` are kept.

        Args:
            codes: N codes, as they were given out.
            losses: (N, J).
            violations: (N, C).

        Raises:
            ValueError: A number is not finite.
        """
        if not (np.isfinite(losses).all() and np.isfinite(violations).all()):
            raise ValueError("losses and violations must be finite: a failed candidate is a violation")
        told = Population.new(X=list(codes))
        variables = self._algorithm.problem.vars
        Evaluator().eval(StaticProblem(Problem(vars=variables, **self._static), F=losses, G=violations), told)
        self._algorithm.tell(infills=told)

    def known(self, code: Mapping[str, Any]) -> str | None:
        """Return the candidate id of a code, or None where it was given out before."""
        genome = _decode(code, self.genes)
        return None if self._proposals.seen(genome) else self._problem.space.candidate(genome).id


class _ByCandidate(DuplicateElimination):  # type: ignore[misc]
    """Removes what has the id of a candidate asked for before, or of another child."""

    def __init__(self, breeder: Breeder) -> None:
        super().__init__()
        self._breeder = breeder

    def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
        ids = [self._breeder.known(child.X) for child in pop]
        taken = set() if other is None else {self._breeder.known(child.X) for child in other}
        for index, identity in enumerate(ids):
            is_duplicate[index] = identity is None or identity in taken
            taken.add(identity)
        return is_duplicate


class _Rounding(Repair):  # type: ignore[misc]
    """Writes back what decoding rounds, so that children are bred from what was trained."""

    def __init__(self, genes: Mapping[str, Gene]) -> None:
        super().__init__()
        self._genes = genes

    def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
        return np.array([_encode(_decode(code, self._genes), self._genes) for code in X])


FEW = 32
"""Integers of up to this many values are bred as choices."""


def _values(gene: Gene) -> list[Scalar] | None:
    """Return the values of a gene that is bred as a choice, else None."""
    if isinstance(gene, Choice):
        return list(gene.labels)
    if isinstance(gene, Integer) and gene.size <= FEW:
        return list(range(gene.low, gene.high + 1, gene.step))
    return None


def _variable(gene: Gene) -> variable.Variable:
    values = _values(gene)
    if values is not None:
        return variable.Choice(options=list(range(len(values))))
    assert not isinstance(gene, Choice)
    return variable.Real(bounds=(gene.encode(gene.low), gene.encode(gene.high)))


def _decode(code: Mapping[str, Any], genes: Mapping[str, Gene]) -> dict[str, Scalar]:
    genome: dict[str, Scalar] = {}
    for path, gene in genes.items():
        values = _values(gene)
        if values is not None:
            genome[path] = values[int(code[path])]
        elif not isinstance(gene, Choice):
            genome[path] = gene.decode(float(code[path]))
    return genome


def _encode(genome: Mapping[str, Any], genes: Mapping[str, Gene]) -> dict[str, float]:
    code: dict[str, float] = {}
    for path, gene in genes.items():
        values = _values(gene)
        if values is not None:
            code[path] = values.index(genome[path])
        elif not isinstance(gene, Choice):
            code[path] = gene.encode(genome[path])
    return code
