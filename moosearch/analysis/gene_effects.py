"""Which genes make a difference that can be told from noise, which make none, and where that cannot be told.

A gene is tested given all the others, see `moosearch.analysis.gene_regression`. An option is compared with
others at typical values of the genes under it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moosearch.analysis.gene_columns import Column, is_logarithmic
from moosearch.analysis.gene_regression import Assessed, Process, assess, fit, holm, unseen_r2
from moosearch.evaluation import Evaluation
from moosearch.pareto.dominance import Array
from moosearch.seeding import derive_seed, numpy_generator

Verdict = Literal["difference", "none", "unknown"]
"""A gene makes a difference; it makes none beyond a bound that is small; or that cannot be told."""

LEVEL = 0.05
"""Chance at most that any gene of an objective is said to make a difference where none does."""
LARGE = 0.5
"""A difference that is not excluded is large from this many standard deviations of the objective on."""
HOLDERS = 5
"""Candidates that an option must have to be compared; a number needs twice as many."""
LEAST_NOISE = 1e-4
"""The least variance of the noise, as a share of the objective's, where nothing is known of it."""


class Effect(NamedTuple):
    """What a gene does to an objective. Numbers are NaN where too few candidates have the gene.

    Attributes:
        gene: Path of the gene.
        objective: Key of the objective.
        verdict: What can be said.
        p: Chance of as much by shuffling, adjusted for the number of genes (Holm).
        high: Of the compared values of the gene those two differ most in the objective: the one with more,
        low: and the one with less.
        difference: Between them, in the unit of the objective or of its logarithm, see `Scale`.
        margin: Half of its 95 % interval.
        bound: No difference between values of the gene is plausible beyond it (95 %).
    """

    gene: str
    objective: str
    verdict: Verdict
    p: float = math.nan
    high: str = ""
    low: str = ""
    difference: float = math.nan
    margin: float = math.nan
    bound: float = math.nan


class Scale(NamedTuple):
    """What is known of an objective as a whole.

    Attributes:
        objective: Its key.
        ratio: Whether its values span so much that differences are of logarithms.
        deviation: Standard deviation of its values, or of their logarithms.
        noise: Standard deviation over seeds, where it is known; NaN.
        r2: R^2 for candidates left out, by all genes.
        r2_different: The same by those genes alone that make a difference; NaN where none does.
    """

    objective: str
    ratio: bool
    deviation: float
    noise: float
    r2: float
    r2_different: float


class Effects(NamedTuple):
    """What was found, an entry a gene and objective, and one an objective; without constant objectives."""

    effects: tuple[Effect, ...]
    scales: tuple[Scale, ...]


def gene_effects(
    columns: Sequence[Column],
    values: Mapping[str, Array],
    *,
    noise: Mapping[str, float],
    seed: int,
) -> Effects:
    """Test every gene for every objective.

    Args:
        columns: The genes of N candidates.
        values: (N,) values by objective.
        noise: What is known of the standard deviation over seeds of one candidate's value, by objective.
        seed: Of the permutations.
    """
    distances = np.stack([column.distances for column in columns])
    contrasts = [Contrasts.of(column) for column in columns]
    effects: list[Effect] = []
    scales: list[Scale] = []
    for key, measured in values.items():
        ratio = is_logarithmic(measured)
        y = np.log(measured) if ratio else measured
        deviation = float(y.std())
        if deviation == 0:
            continue
        known = noise.get(key, math.nan)
        relative = known / float(measured.mean()) if ratio else known
        least = max(LEAST_NOISE, 0.0 if math.isnan(relative) else min((relative / deviation) ** 2, 1.0))
        y = (y - y.mean()) / deviation
        generator = numpy_generator(derive_seed(seed, f"effects: {key}"))
        found, r2s = _judge(distances, contrasts, y, least, generator)
        effects += [
            Effect(column.path, key, *row[:4], *(number * deviation for number in row[4:]))
            for column, row in zip(columns, found, strict=True)
        ]
        scales.append(Scale(key, ratio, deviation, known, *r2s))
    return Effects(tuple(effects), tuple(scales))


def seed_noise(evaluations: Sequence[Evaluation], keys: Sequence[str]) -> dict[str, float]:
    """Return the standard deviation over seeds of what was measured, where candidates had replicates."""
    found = {}
    for key in keys:
        variances = [e.deviations[key] ** 2 / len(e.replicates) for e in evaluations if key in e.deviations]
        if variances:
            found[key] = math.sqrt(sum(variances) / len(variances))
    return found


class Contrasts(NamedTuple):
    """What a gene may do to an objective, and which of its values are compared.

    Attributes:
        basis: (N, C) columns, 0 in candidates without the gene; C = 0 where too few have it.
        points: Values that are compared, as text, with their (C,) coordinates in the basis.
    """

    basis: Array
    points: tuple[tuple[str, Array], ...]

    @classmethod
    def of(cls, column: Column) -> "Contrasts":
        """Choose them: options that enough candidates have; of numbers the deciles 1, 5 and 9."""
        present = column.present
        if column.categorical:
            block = column.block * present[:, None]
            many = block.sum(axis=0) >= HOLDERS
            labels = [label for label, enough in zip(column.labels, many, strict=True) if enough]
            if len(labels) < 2:
                return cls(np.zeros((len(present), 0)), ())
            basis = block[:, many][:, 1:]
            coordinates = np.eye(len(labels))[:, 1:]
            if not many.all() and block[:, ~many].any():
                basis = np.column_stack([basis, block[:, ~many].any(axis=1)])
                coordinates = np.column_stack([coordinates, np.zeros(len(labels))])
            return cls(_centered(basis, present), tuple(zip(labels, coordinates, strict=True)))
        numbers = column.scale
        here = numbers[present]
        distinct = len(np.unique(here))
        if len(here) < 2 * HOLDERS or distinct < 2:
            return cls(np.zeros((len(present), 0)), ())
        powers = np.arange(1, min(distinct, 3))
        mean, deviation = here.mean(), here.std()
        at = np.unique(np.quantile(here, [0.1, 0.5, 0.9], method="nearest"))
        if len(at) < 2:
            at = np.unique(here)[[0, -1]]
        raw = column.block[:, 0]
        told = [f"{raw[present][np.flatnonzero(here == value)[0]]:.3g}" for value in at]
        basis = ((numbers - mean) / deviation)[:, None] ** powers
        coordinates = ((at - mean) / deviation)[:, None] ** powers
        return cls(_centered(basis * present[:, None], present), tuple(zip(told, coordinates, strict=True)))


def _centered(basis: Array, present: NDArray[np.bool_]) -> Array:
    """Take the mean out among those that have the gene: who has it is the matter of another gene."""
    return np.where(present[:, None], basis - basis[present].mean(axis=0), 0.0)


Judged = tuple[Verdict, float, str, str, float, float, float]


def _judge(
    distances: Array,
    contrasts: Sequence[Contrasts],
    y: Array,
    least: float,
    generator: np.random.Generator,
) -> tuple[list[Judged], tuple[float, float]]:
    """Judge all genes for one objective of variance 1."""
    start = Process(np.full(len(distances), 0.1), 0.1)
    whole = fit(distances, y, start=start, least=least, iterations=60)
    tested: list[Assessed | None] = []
    for index, contrast in enumerate(contrasts):
        if not contrast.basis.shape[1]:
            tested.append(None)
            continue
        # The others must be able to explain all that they can without the gene, or it would get their credit.
        others = np.delete(distances, index, axis=0)
        process = Process(np.delete(whole.weights, index), whole.noise)
        if whole.weights[index] > 1e-3:
            process = fit(others, y, start=process, least=least, iterations=25)
        tested.append(assess(contrast.basis, y, process.covariance(others), generator))
    adjusted = iter(holm(np.array([each.p for each in tested if each is not None])))
    found: list[Judged] = [
        ("unknown", math.nan, "", "", math.nan, math.nan, math.nan)
        if each is None
        else _told(contrast, each, float(next(adjusted)))
        for contrast, each in zip(contrasts, tested, strict=True)
    ]
    those = np.array([row[0] == "difference" for row in found])
    everything = unseen_r2(distances, y, whole)
    some = math.nan
    if those.any():
        start = Process(whole.weights[those], whole.noise)
        some = unseen_r2(
            distances[those], y, fit(distances[those], y, start=start, least=least, iterations=25)
        )
    return found, (everything, some)


def _told(contrast: Contrasts, tested: Assessed, p: float) -> Judged:
    from scipy.stats import t

    pairs = list(itertools.combinations(contrast.points, 2))
    quantile = float(t.ppf(1 - 0.025 / len(pairs), tested.freedom))
    largest, bound = (-math.inf, 0.0, "", ""), 0.0
    for (first, a), (second, b) in pairs:
        difference = float((a - b) @ tested.coefficients)
        margin = quantile * math.sqrt(float((a - b) @ tested.covariance @ (a - b)))
        bound = max(bound, abs(difference) + margin)
        high, low = (first, second) if difference >= 0 else (second, first)
        largest = max(largest, (abs(difference), margin, high, low))
    verdict: Verdict = "difference" if p <= LEVEL else "none" if bound <= LARGE else "unknown"
    return verdict, p, largest[2], largest[3], largest[0], largest[1], bound
