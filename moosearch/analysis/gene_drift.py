"""How far options spread that nothing selects: genetic drift, and the company of genes that are selected.

An evolutionary search starts from a few candidates, and soon most descend from one or two of them. Their
options spread with them, useful or not. How far that goes by chance is simulated by gene dropping (MacCluer
et al. 1986): labels that do nothing are given to the first generation, and passed on along the search's own
lines of descent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moosearch.analysis.gene_columns import Column
from moosearch.pareto.dominance import Array

Indices = NDArray[np.intp]
DROPS = 1000
"""Simulations."""
DOMINANT = 2 / 3
"""The share of candidates from which on an option is said to dominate."""


@dataclass(frozen=True)
class Spread:
    """The most frequent option of a gene, and how it came to be that.

    Attributes:
        gene: Path of the gene.
        option: The option.
        candidates: How many have it.
        of: How many candidates there are.
        first: Its share in the first generation.
        last: Its share in the last one.
        chance: Share of the simulations in which the share of a label that nothing selects grows as much,
            from the first generation to all others.
    """

    gene: str
    option: str
    candidates: int
    of: int
    first: float
    last: float
    chance: float


def spreads(
    columns: Sequence[Column], generations: Sequence[int], generator: np.random.Generator
) -> list[Spread]:
    """Return the dominant options of the genes that every candidate has.

    Args:
        columns: The genes of N candidates.
        generations: (N,) when each candidate was asked for.
        generator: Of the simulations.
    """
    when = np.asarray(generations)
    if when.min() == when.max():
        return []
    total = sum(column.distances for column in columns)
    found = []
    for column in columns:
        if not (column.categorical and column.present.all()):
            continue
        labels = column.block.argmax(axis=1)
        counts = np.bincount(labels)
        top = int(counts.argmax())
        if counts[top] < DOMINANT * len(labels):
            continue
        under = (c for c in columns if c.path.startswith(f"{column.path}."))
        ancestors = nearest(total - column.distances - sum(c.distances for c in under), when)
        dropped = drop(labels, ancestors, when, generator)
        most = np.stack([_growth(dropped == label, when) for label in range(len(counts))]).max(axis=0)
        chance = float((most >= _growth(labels == top, when) - 1e-9).mean())
        first, last = (float((labels[when == time] == top).mean()) for time in (when.min(), when.max()))
        name = column.labels[top]
        found.append(Spread(column.path, name, int(counts[top]), len(labels), first, last, chance))
    return found


def _growth(having: NDArray[np.bool_], when: Indices) -> Array:
    """Return by how much the share of those that have something grew after the first generation."""
    first = when == when.min()
    return np.asarray(having[~first].mean(axis=0) - having[first].mean(axis=0))


def nearest(distances: Array, when: Indices) -> Indices:
    """Return (N,) the candidate of an earlier generation that each is most like; itself in the first one."""
    earlier = when[None, :] < when[:, None]
    closest = np.where(earlier, distances, np.inf).argmin(axis=1)
    return np.where(when == when.min(), np.arange(len(when)), closest)


def drop(labels: Indices, ancestors: Indices, when: Indices, generator: np.random.Generator) -> Indices:
    """Pass the labels of the first generation, shuffled, on to the others.

    A candidate takes the label of its nearest ancestor, or that of any earlier candidate: crossover and
    mutation do that. How often is estimated from the labels there are.

    Returns:
        (N, `DROPS`) labels.
    """
    later = np.flatnonzero(when > when.min())
    same = float((labels[later] == labels[ancestors[later]]).mean())
    pools = {time: np.flatnonzero(when < time) for time in np.unique(when[later])}
    chance = float(np.mean([(labels[pools[when[i]]] == labels[i]).mean() for i in later]))
    change = min(max((1 - same) / (1 - chance), 0.0), 1.0) if chance < 1 else 0.0
    dropped = np.empty((len(labels), DROPS), dtype=np.intp)
    founders = np.flatnonzero(when == when.min())
    dropped[founders] = generator.permuted(np.tile(labels[founders][:, None], (1, DROPS)), axis=0)
    every = np.arange(DROPS)
    for i in later[np.argsort(when[later], kind="stable")]:
        other = dropped[generator.choice(pools[when[i]], DROPS), every]
        dropped[i] = np.where(generator.random(DROPS) < change, other, dropped[ancestors[i]])
    return dropped
