"""Objectives as losses, and who dominates whom. The only place where a sign is flipped."""

import math
from collections.abc import Sequence
from dataclasses import replace

import moocore
import numpy as np
from numpy.typing import NDArray

from moosearch.evaluation import Evaluation, HasObjectives, ObjectiveInfo

Array = NDArray[np.float64]
FAILURE = 1e6
"""The violation of a failed candidate."""


def to_losses(evaluations: Sequence[HasObjectives], objectives: Sequence[ObjectiveInfo]) -> Array:
    """Write objectives as losses that are all minimized and comparable.

    Each coordinate is scaled so that 0 is the ideal and 1 the reference point; a failed candidate lies
    at the reference point. Values of objectives with a tolerance are `boxed`.

    Args:
        evaluations: N evaluations.
        objectives: J objectives.

    Returns:
        (N, J) losses.

    Example:
        >>> from moosearch.evaluation import Candidate
        >>> accuracy = ObjectiveInfo("accuracy", "maximize", "fraction", ideal=1.0, reference=0.0)
        >>> to_losses([Evaluation(Candidate("0", {}, {}), "complete", {"accuracy": 0.75})], [accuracy])
        array([[0.25]])
    """
    rows = [
        [
            (o.ideal - (boxed(e.objectives[o.key], o.tolerance) if o.key in e.objectives else o.reference))
            / (o.ideal - o.reference)
            for o in objectives
        ]
        for e in evaluations
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(evaluations), len(objectives))


def boxed(value: float, tolerance: float) -> float:
    """Return what stands for all values of a value's box: its middle on a logarithmic scale.

    Boxes are (1 + tolerance) ** k to (1 + tolerance) ** (k + 1), whole k. Being of one box is transitive and
    depends on no other value, as being within a share of each other is not: so dominance between boxes is
    an order, and the front does not depend on the order of evaluations. Of two values that are nearly alike,
    one may still be beyond the edge of the other's box.

    Args:
        value: A measured value; one that is not positive is a box of its own.
        tolerance: Width of a box, as a share, >= 0; with 0 every value is a box of its own.

    Example:
        >>> boxed(10.0, 0.05) == boxed(10.2, 0.05), boxed(10.0, 0.05) == boxed(10.5, 0.05)
        (True, False)

    Source: epsilon-boxes of Laumanns, Thiele, Deb & Zitzler 2002, on a logarithmic scale.
    """
    if tolerance == 0 or value <= 0 or not math.isfinite(value):
        return value
    width = math.log1p(tolerance)
    return math.exp((math.floor(math.log(value) / width) + 0.5) * width)


def exact(objectives: Sequence[ObjectiveInfo]) -> tuple[ObjectiveInfo, ...]:
    """Return objectives without tolerance, for losses of the values as they were measured."""
    return tuple(replace(objective, tolerance=0.0) for objective in objectives)


def to_violations(evaluations: Sequence[Evaluation], constraints: Sequence[str]) -> Array:
    """Write constraint violations as an array; a failed candidate violates everything.

    Args:
        evaluations: N evaluations.
        constraints: C constraints, as text.

    Returns:
        (N, C + 1) violations, <= 0 where kept; the last column is `FAILURE` where the candidate failed: it
        is worse than any that can be measured.
    """
    rows = [
        [*(e.violations.get(c, 1.0) for c in constraints), FAILURE if e.status == "failed" else 0.0]
        for e in evaluations
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(evaluations), len(constraints) + 1)


def non_dominated(losses: Array) -> NDArray[np.bool_]:
    """Mark the non-dominated rows; of equal rows all are kept.

    Args:
        losses: (N, J), all minimized.

    Returns:
        (N,) booleans.

    Raises:
        ValueError: A loss is NaN.

    Example:
        >>> non_dominated(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
        array([ True,  True, False])
    """
    if np.isnan(losses).any():
        raise ValueError("losses contain NaN: a failed candidate has no place on a front")
    if len(losses) == 0:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=np.bool_)
