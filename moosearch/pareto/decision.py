"""Aids to a decision, as maths on the losses of a front: which row, and by what number.

Losses are all minimized. They are scaled to the front's own range (`scaled`) wherever objectives meet, so
that no result depends on units. `moosearch.pareto.choice` names these rules and says why in words.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moosearch.pareto.dominance import Array, non_dominated

AUGMENTATION = 1e-3
"""Weight of the sum in the achievement function: it decides between rows whose largest terms are equal."""
SLACK = 1e-9
"""Share of a tolerance, or of a box, within which rounding is forgiven: 0.80 is within 0.01 of 0.81."""


def scaled(losses: Array) -> Array:
    """Scale every column to [0, 1] over its rows; a column of one value becomes 0.

    Args:
        losses: (N, J), N >= 1.

    Returns:
        (N, J): 0 is the best that the rows reach in an objective, 1 the worst.
    """
    span = np.ptp(losses, axis=0)
    return np.asarray((losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0))


def heights(losses: Array) -> Array:
    """Return how far rows lie from the best of the range, summed over objectives; the knee has the least.

    That is, but for a factor, the distance to the hyperplane through the extreme points of the range.

    Args:
        losses: (N, J), N >= 1.

    Returns:
        (N,) sums in [0, J].

    Source: Das 1999, *On characterizing the "knee" of the Pareto curve*, with the hyperplane of the unit
    simplex.
    """
    return np.asarray(scaled(losses).sum(axis=1))


def tradeoffs(losses: Array) -> Array:
    """Return what leaving each row costs at least: loss per gain, both summed over scaled objectives.

    Args:
        losses: (N, J), N >= 1.

    Returns:
        (N,): the least ratio of what is lost to what is gained by going to another row; infinite where
        nothing can be gained.

    Example:
        >>> tradeoffs(np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]])).round(3)
        array([0.125, 4.5  , 0.222])

    Source: Rachmawati & Srinivasan 2009, *Multiobjective evolutionary algorithm with controllable focus on
    the knees of the Pareto front*, with all other rows as neighbors. pymoo's ``HighTradeoffPoints`` does
    so within a radius, but returns outliers alone, or nothing, and silences all warnings of the process.
    """
    rows = scaled(losses)
    difference = rows[None, :, :] - rows[:, None, :]  # [i, j]: going from i to j
    lost = np.maximum(difference, 0).sum(axis=2)
    gained = np.maximum(-difference, 0).sum(axis=2)
    ratios = np.full_like(lost, np.inf)
    np.divide(lost, gained, out=ratios, where=gained > 0)
    return np.asarray(ratios.min(axis=1))


def achievements(losses: Array, weights: Sequence[float]) -> Array:
    """Return the augmented achievement function, whose least value is the choice.

    It is the largest of the weighted, scaled losses, and a little of their sum. An objective of weight 0 does
    not count.

    Args:
        losses: (N, J), N >= 1.
        weights: J importances, >= 0, one at least > 0; they are scaled to a sum of 1.

    Returns:
        (N,) values; 0 where a row is the best in all that counts.

    Source: Wierzbicki 1980, *The use of reference objectives in multiobjective optimization*; pymoo's
    ``AASF``, which divides by its weights, so that it is given the inverse of importances.
    """
    from pymoo.decomposition.aasf import AASF

    parts = shares(weights)
    counts = parts > np.finfo(np.float64).tiny  # of which there is an inverse
    function = AASF(eps=0.0, rho=AUGMENTATION)
    return np.asarray(function.do(scaled(losses)[:, counts], 1 / parts[counts], _type="many_to_one"))


def pseudo_weights(losses: Array) -> Array:
    """Return what each row is good at: its distances to the worst of the range, as shares of their sum.

    Args:
        losses: (N, J), N >= 1.

    Returns:
        (N, J) pseudo-weights, of which each row sums to 1; a column in which all rows are equal is 0, and so
        is a row that is the worst in everything.

    Source: Deb 2001, *Multi-objective optimization using evolutionary algorithms*. pymoo's ``PseudoWeights``
    computes the same, but divides by 0 where all rows are equal in an objective.
    """
    good = np.where(np.ptp(losses, axis=0) > 0, 1 - scaled(losses), 0.0)
    total = good.sum(axis=1, keepdims=True)
    return np.asarray(good / np.where(total > 0, total, 1.0))


def mismatches(losses: Array, weights: Sequence[float]) -> Array:
    """Return how far each row's pseudo-weights are from those asked for: the sum of absolute differences.

    Args:
        losses: (N, J), N >= 1.
        weights: J weights, >= 0, one at least > 0; they are scaled to a sum of 1. Where all rows are equal in
            an objective, its weight goes to the others.

    Returns:
        (N,) distances in [0, 2].
    """
    varies = np.ptp(losses, axis=0) > 0
    asked = np.where(varies, weights, 0.0)
    return np.asarray(np.abs(pseudo_weights(losses) - shares(asked)).sum(axis=1))


def distances(losses: Array, weights: Sequence[float]) -> Array:
    """Return weighted Euclidean distances to the ideal of the front, in shares of its range.

    Args:
        losses: (N, J), N >= 1.
        weights: J weights, >= 0, one at least > 0; they are scaled to a sum of 1.

    Returns:
        (N,) distances in [0, 1].

    Source: Zeleny 1973, *Compromise programming*, with p = 2. pymoo's ``CompromiseProgramming`` is not
    finished: it returns nothing.
    """
    return np.asarray(np.linalg.norm(shares(weights) * scaled(losses), axis=1))


def lexicographic(
    losses: Array, order: Sequence[int], tolerances: Sequence[float]
) -> list[NDArray[np.int64]]:
    """Go through objectives by importance, and keep the rows within a tolerance of the best that is left.

    Args:
        losses: (N, J), N >= 1.
        order: Columns, the most important first.
        tolerances: As many, >= 0, in units of the losses.

    Returns:
        The indices that are left after each column; never none.

    Source: Fishburn 1974, *Lexicographic orders, utilities and decision rules*.
    """
    left, stages = np.arange(len(losses)), []
    for column, tolerance in zip(order, tolerances, strict=True):
        values = losses[left, column]
        left = left[values - values.min() <= tolerance * (1 + SLACK)]
        stages.append(left)
    return stages


def thinned(losses: Array, epsilons: Sequence[float]) -> NDArray[np.int64]:
    """Thin rows out to one a box, such that each dropped row is epsilon-dominated by a kept one.

    Boxes start at the best of every objective. Of the boxes, the non-dominated ones are kept; of a box, the
    row that is nearest to its best corner, the first one of equals.

    Args:
        losses: (N, J).
        epsilons: J sizes of a box, >= 0, in units of the losses; with 0, every value is a box of its own.

    Returns:
        The indices that are kept, ascending. To each row there is a kept one that is worse by no more than
        ``epsilons`` in any objective.

    Example:
        >>> thinned(np.array([[0.0, 1.0], [0.05, 0.95], [0.5, 0.5], [1.0, 0.0]]), [0.1, 0.1])
        array([1, 2, 3])

    Source: Laumanns, Thiele, Deb & Zitzler 2002, *Combining convergence and diversity in evolutionary
    multiobjective optimization*; nearest to the corner as Deb, Mohan & Mishra 2005.
    """
    if len(losses) == 0:
        return np.arange(0)
    sizes = np.asarray(epsilons, dtype=np.float64)
    above = losses - losses.min(axis=0)
    in_boxes = above / np.where(sizes > 0, sizes, 1.0)
    boxes = np.where(sizes > 0, np.floor(in_boxes + SLACK), above)
    distance = np.linalg.norm(np.where(sizes > 0, in_boxes - boxes, 0.0), axis=1)
    kept: dict[tuple[float, ...], int] = {}
    for row in np.flatnonzero(non_dominated(boxes)):
        box = tuple(boxes[row])
        if box not in kept or distance[row] < distance[kept[box]]:
            kept[box] = int(row)
    return np.asarray(sorted(kept.values()), dtype=np.int64)


def shares(weights: Sequence[float] | Array) -> Array:
    """Scale weights to a sum of 1; those that are all 0 stay so."""
    given = np.asarray(weights, dtype=np.float64)
    given = given / (given.max() or 1.0)  # the sum of two large ones is finite
    return np.asarray(given / (given.sum() or 1.0))
