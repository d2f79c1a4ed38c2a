"""What a search algorithm is: it asks for genomes and is told losses. It sees no torch, Ray or file."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from moosearch.evaluation import Candidate, Genome, Scalar
from moosearch.pareto.dominance import Array
from moosearch.registry import Registry
from moosearch.space import SearchSpace


@dataclass(frozen=True)
class SearchProblem:
    """What an algorithm knows of the campaign.

    Attributes:
        space: The space that genomes come from.
        objectives: Number J of losses.
        violations: Number C of violation columns.
        population: Candidates a generation, >= 1.
        seed: Seed of all its randomness.
        initial: Genomes with a value for every gene, of different candidates, at most ``population``: what
            the search asks for first, in this order. An algorithm that cannot refuses to start.
    """

    space: SearchSpace
    objectives: int
    violations: int
    population: int
    seed: int
    initial: tuple[Genome, ...] = ()


class Search(Protocol):
    """A running search: `ask`, then `tell`, and again.

    Replaying the same answers to the same problem asks for the same candidates, in the same order:
    that is what makes a campaign resumable without a checkpoint of the algorithm.
    """

    def ask(self) -> list[Candidate]:
        """Propose up to ``population`` candidates that were never proposed before.

        Fewer, or none, means that the space is exhausted.
        """
        ...

    def tell(self, losses: Array, violations: Array) -> None:
        """Learn what came of the candidates last asked for, in the order asked.

        Args:
            losses: (P, J), all minimized, 0 ideal and 1 reference point, finite.
            violations: (P, C), a candidate with a value > 0 is infeasible.
        """
        ...


class SteadySearch(Protocol):
    """A running steady-state search: `ask` for one candidate whenever a worker is free, `tell` one at a time.

    Asks and tells interleave freely: any number of candidates may be asked for before the first is told, and
    they are told in any order, each once. The same interleaving of asks and tells with the same answers asks
    for the same candidates, and nothing else matters: not the time, not how many are being evaluated.
    """

    def ask(self) -> Candidate | None:
        """Propose a candidate that was never proposed before.

        None means that the space is exhausted, and stays the answer.
        """
        ...

    def tell(self, candidate_id: str, losses: Array, violations: Array) -> None:
        """Learn what came of a candidate.

        Args:
            candidate_id: A candidate that was asked for and not told yet.
            losses: (J,), all minimized, 0 ideal and 1 reference point, finite.
            violations: (C,), the candidate is infeasible where a value is > 0.

        Raises:
            ValueError: A number is not finite.
            KeyError: The candidate was not asked for, or told before.
        """
        ...


class GenerationalAlgorithm(Protocol):
    """A plug-in that searches generation by generation.

    Attributes:
        steady: Says so.
    """

    steady: ClassVar[Literal[False]]

    def start(self, problem: SearchProblem) -> Search:
        """Start a search from its seed."""
        ...


class SteadyAlgorithm(Protocol):
    """A plug-in that searches candidate by candidate.

    Attributes:
        steady: Says so.
    """

    steady: ClassVar[Literal[True]]

    def start(self, problem: SearchProblem) -> SteadySearch:
        """Start a search from its seed."""
        ...


SearchAlgorithm = GenerationalAlgorithm | SteadyAlgorithm
ALGORITHMS: Registry[SearchAlgorithm] = Registry("search algorithm", "algorithms")


class Proposals:
    """Fresh candidates of a space: each is given out once."""

    def __init__(self, space: SearchSpace, initial: Iterable[Genome] = ()) -> None:
        """Start with an empty history.

        Args:
            space: Where they come from.
            initial: Genomes with a value for every gene, which are given out before any is drawn.
        """
        self.space = space
        self._initial = deque(initial)
        self._seen: set[str] = set()

    def take(self, genome: dict[str, Scalar]) -> Candidate | None:
        """Return the candidate of a genome, or None where it was given out before."""
        candidate = self.space.candidate(genome)
        if candidate.id in self._seen:
            return None
        self._seen.add(candidate.id)
        return candidate

    def seen(self, genome: dict[str, Scalar]) -> bool:
        """Whether the candidate of a genome was given out before."""
        return self.space.candidate(genome).id in self._seen

    def sample(
        self, count: int, generator: np.random.Generator
    ) -> Iterator[tuple[dict[str, Scalar], Candidate]]:
        """Draw up to ``count`` fresh genomes, uniformly, the initial ones first.

        They are fewer where the space has no more.

        Rejection finds them while they are common; when it stops finding any, what is left of a finite
        space is listed and drawn from.
        """
        given = misses = 0
        while given < count and self._initial:
            first = dict(self._initial.popleft())
            candidate = self.take(first)
            if candidate is not None:
                given += 1
                yield first, candidate
        while given < count and len(self._seen) < self.space.size:
            if misses > 100 and self.space.size <= 1_000_000:
                left = [genome for genome in self.space.enumerate() if not self.seen(genome)]
                if not left:  # options that overlap: the size counts some candidates twice
                    return
                drawn = generator.permutation(len(left))[: count - given]
                # Inactive genes need values too: crossover may make them active.
                genomes: Iterable[dict[str, Scalar]] = (self.space.sample(generator) | left[i] for i in drawn)
            elif misses > 100_000:
                return
            else:
                genomes = [self.space.sample(generator)]
            for genome in genomes:
                candidate = self.take(genome)
                if candidate is None:
                    misses += 1
                else:
                    misses = 0
                    given += 1
                    yield genome, candidate
