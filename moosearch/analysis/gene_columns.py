"""Genes as columns of numbers: what regressions and plots make of their values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moosearch.evaluation import Evaluation, Scalar
from moosearch.pareto.dominance import Array


@dataclass(frozen=True)
class Column:
    """A gene as a regression sees it.

    Attributes:
        path: Its name.
        present: (N,) which candidates have it.
        values: Its value by candidate; those that do not have it stand at the median, or at the most
            frequent value, so that nothing tells them apart but the gene that chooses the option.
        block: (N, C) numbers: the value, or a one of C categories.
    """

    path: str
    present: NDArray[np.bool_]
    values: tuple[Scalar, ...]
    block: Array

    @classmethod
    def of(cls, path: str, evaluations: Sequence[Evaluation]) -> "Column":
        """Encode a gene."""
        genomes = [e.candidate.genome for e in evaluations]
        here = [genome[path] for genome in genomes if path in genome]
        present = np.array([path in genome for genome in genomes])
        if is_categorical(here):
            common = max(sorted(set(map(str, here))), key=[str(v) for v in here].count)
            values: list[Scalar] = [str(genome.get(path, common)) for genome in genomes]
            labels = sorted(set(map(str, values)))
            block = np.array([[value == label for label in labels] for value in values], dtype=np.float64)
        else:
            median = float(np.median([float(value) for value in here]))
            values = [genome.get(path, median) for genome in genomes]
            block = np.array(values, dtype=np.float64)[:, None]
        return cls(path, present, tuple(values), block)

    @property
    def categorical(self) -> bool:
        """Whether its values are names."""
        return is_categorical(self.values)

    @property
    def distances(self) -> Array:
        """(N, N) squared distances: 1 between categories, 2 on average between numbers."""
        if self.categorical:
            return 1.0 - self.block @ self.block.T
        numbers = self.scale / (self.scale[self.present].std() or 1.0)
        return np.asarray((numbers[:, None] - numbers[None, :]) ** 2)

    @property
    def labels(self) -> list[str]:
        """The names of the categories, in the order of the columns of ``block``."""
        return sorted(set(map(str, self.values)))

    @property
    def scale(self) -> Array:
        """(N,) its numbers, or their logarithms where those are meant."""
        numbers = self.block[:, 0]
        return np.log(numbers) if is_logarithmic(numbers[self.present]) else numbers


def is_categorical(values: Sequence[Scalar]) -> bool:
    """Whether values are names, and have no order."""
    return any(isinstance(value, str | bool) for value in values)


def is_logarithmic(numbers: Array) -> bool:
    """Whether positive numbers span so much that their logarithms are meant."""
    return bool(numbers.min() > 0 and numbers.max() / numbers.min() >= 10)
