"""Whether groups of numbers differ: rank tests for few runs, their effect size, and many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, isnan, nan

import numpy as np
from scipy import stats

from moosearch.pareto.dominance import Array

RESAMPLES = 9999
"""Permutations at most, where values are tied: of fewer, all are looked at."""


@dataclass(frozen=True)
class Difference:
    """Two groups of numbers by the side of each other.

    Attributes:
        effect: Vargha and Delaney's A12: the probability that a number of the first group is larger than one
            of the second, ties counted half.
        p: Two-sided p-value of Mann and Whitney's U test; NaN where a group has one number.
        least: The smallest p-value that groups of these sizes can have; NaN where there is no test.
    """

    effect: float
    p: float
    least: float


def compare_two(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two groups of independent numbers.

    The p-value is exact; of tied values, which the exact distribution does not know, it is that among all
    permutations, or among 9,999 drawn ones where there are more.

    Raises:
        ValueError: A group is empty, or a number is NaN.

    Example:
        >>> compare_two([3.0, 4.0, 5.0], [1.0, 2.0, 2.5])
        Difference(effect=1.0, p=0.1, least=0.1)

    Source: Mann & Whitney 1947; Vargha & Delaney 2000.
    """
    if not len(first) or not len(second) or any(map(isnan, [*first, *second])):
        raise ValueError("expected two groups of numbers")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    effect = float(_larger(a[:, None], b[None, :]).mean())
    if min(len(a), len(b)) < 2:
        return Difference(effect, nan, nan)
    least = 2 / comb(len(a) + len(b), len(a))
    everything = np.concatenate([a, b])
    if len(np.unique(everything)) == len(everything):
        p = float(stats.mannwhitneyu(a, b, method="exact").pvalue)
    else:
        method = stats.PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(0))
        p = float(stats.mannwhitneyu(a, b, method=method).pvalue)
    return Difference(effect, p, least)


def _larger(a: Array, b: Array) -> Array:
    return np.asarray((a > b) + 0.5 * (a == b), dtype=np.float64)


def compare_many(groups: Sequence[Sequence[float]]) -> float:
    """Return the p-value of Kruskal and Wallis: whether any of several groups differs; chi-squared.

    Raises:
        ValueError: There are fewer than three groups, or one has fewer than two numbers.

    Source: Kruskal & Wallis 1952.
    """
    if len(groups) < 3 or any(len(group) < 2 for group in groups):
        raise ValueError("expected three groups or more, of two numbers or more")
    if len({value for group in groups for value in group}) == 1:
        return 1.0
    return float(stats.kruskal(*groups).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for there being several of them.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * steps))
    return [float(value) for value in adjusted]


def effect_word(effect: float) -> str:
    """Return how large an effect of A12 is called.

    Example:
        >>> effect_word(0.5), effect_word(0.2)
        ('negligible', 'large')

    Source: Vargha & Delaney 2000.
    """
    size = max(effect, 1 - effect)
    return next((word for bound, word in _WORDS if size < bound), "large")


_WORDS = ((0.56, "negligible"), (0.64, "small"), (0.71, "medium"))
