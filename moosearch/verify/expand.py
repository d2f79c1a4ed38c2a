"""Maximal robust layered neighborhoods by oracle-guided numerical optimization (Mour 2023, section 3).

A vector of radii, one a layer, is expanded along a gradient, shrunk where the verifier finds a witness, and
in the end grown layer by layer until no layer can grow by more than a tolerance. The last step alone, from
zero, is the naive algorithm that the paper compares with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, diags_array, eye_array, hstack, kron

from moosearch.verify.oracle import Oracle, OutOfTimeError
from moosearch.verify.piecewise import Vector
from moosearch.verify.verifier import Answer

Cut = Literal["fixed", "sensitivity"]
Face = Literal["blocked", "unknown", "full", "open"]
"""Why a layer cannot grow: a witness is there, the verifier does not know, or it is 1; or time ran out."""

Holds = Callable[[float], bool]
Search = Callable[[Holds, float, float, float], float]

SHRINKS = 2
"""How often a step that went too far is shrunk towards where it came from, before the step is halved."""


@dataclass(frozen=True)
class Expansion:
    """A robust layered neighborhood.

    Attributes:
        eps: (r + 1,) radius of every layer.
        faces: Why each layer cannot grow by the tolerance.
        witnesses: (n,) an image for each layer that is blocked: in the neighborhood if that layer grows by
            the tolerance, and the target is not seen in it. None for the others.
        size: The weighted sum of the radii.
        at_most: No robust neighborhood is larger, by the witnesses found.
        complete: Whether the deadline left the time to grow every layer.
    """

    eps: Vector
    faces: tuple[Face, ...]
    witnesses: tuple[Vector | None, ...]
    size: float
    at_most: float
    complete: bool


def naive(oracle: Oracle, weights: Vector, tolerance: float) -> Expansion:
    """Grow layer by layer from zero, from the inside out, each by binary search."""
    return _finished(oracle, np.zeros(oracle.layers.count), weights, tolerance, largest)


def doubling(oracle: Oracle, weights: Vector, tolerance: float) -> Expansion:
    """Grow as `naive` does, each layer by steps that double: the last part of `expand`, from zero."""
    return _finished(oracle, np.zeros(oracle.layers.count), weights, tolerance, reached)


def expand(
    oracle: Oracle, weights: Vector, tolerance: float, *, cut: Cut = "fixed", rounds: int = 12
) -> Expansion:
    """Expand guided by gradients, then grow what is left.

    It starts from the largest neighborhood whose layers all have the same radius. A step goes up the weighted
    sum and down the margin of the weakest point; at the border of what is robust it goes along the border.
    The complete search is asked at the end alone: on the way there are other steps than an undecided one.

    Args:
        oracle: Answers for neighborhoods of an image.
        weights: (r + 1,) of the layers, 0 or more.
        tolerance: How far a layer may still be able to grow, in pixel units of [0, 1].
        cut: How a step that went too far is shrunk: ``fixed``, layers far from the object most, or by
            ``sensitivity``, insensitive layers most.
        rounds: Steps of the ascent at most.
    """
    eps = np.zeros(oracle.layers.count)
    try:
        ones = np.ones(oracle.layers.count)
        eps = ones * reached(
            lambda radius: oracle.ask(radius * ones, quick=True) == "robust", 0.0, 1.0, tolerance
        )
        keep = cutting_weights(oracle, cut)
        length = max(float(eps[0]), 4 * tolerance)  # as far as robustness reaches here
        for _ in range(rounds):
            if length < tolerance:
                break
            step = _direction(weights, oracle.slope(eps), eps)
            goal = np.clip(eps + length * step, 0.0, 1.0)
            found = _stepped(oracle, goal, eps, keep)
            if found is not None and weights @ found > weights @ eps + tolerance * weights.mean() / 2:
                eps, length = found, length * 1.5
            else:
                length /= 2
    except OutOfTimeError:
        pass
    return _finished(oracle, eps, weights, tolerance, reached)


def cutting_weights(oracle: Oracle, cut: Cut) -> Vector:
    """Return how much of a step each layer keeps when it is shrunk, in [0, 1): (r + 1,).

    ``fixed`` falls evenly from the object outwards to 0, as the paper's does from its second layer on (what
    it prints for the first is no weight). ``sensitivity`` ranks layers by the mean absolute gradient of the
    margin, the least sensitive first.
    """
    count = oracle.layers.count
    if cut == "fixed":
        return np.arange(count - 1, -1, -1) / count
    ranks = np.argsort(np.argsort(oracle.sensitivity()))
    return np.asarray(ranks / count)


def largest(holds: Holds, low: float, high: float, tolerance: float) -> float:
    """Return the largest value that holds, to a tolerance, by bisection; ``low`` is known to hold.

    Args:
        holds: True up to some value, and false from there on.
        low: A value that holds.
        high: The largest value of interest, more than ``low``.
        tolerance: A value at most this much larger does not hold, unless ``high`` is returned.
    """
    return high if holds(high) else _bisected(holds, low, high, tolerance)


def reached(holds: Holds, low: float, high: float, tolerance: float) -> float:
    """Return what `largest` does, in fewer steps where it is not far: steps are doubled, then halved.

    It asks for little that is far too large, where a verifier often does not know.
    """
    step = tolerance
    while low + step < high:
        if not holds(low + step):
            return _bisected(holds, low, low + step, tolerance)
        low, step = low + step, 2 * step
    return high if holds(high) else _bisected(holds, low, high, tolerance)


def _bisected(holds: Holds, low: float, high: float, tolerance: float) -> float:
    """Narrow down: ``low`` holds, ``high`` does not."""
    while high - low > tolerance * (1 + 1e-9):  # a step of the tolerance itself is narrow enough
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def ceiling(weights: Vector, distances: NDArray[np.float64]) -> float:
    """Return an upper bound on the size of robust neighborhoods, given witnesses.

    None of them contains a witness, so each stays below its distance in some layer. The solver is asked
    twice, with presolve and without, and the larger bound counts.

    Args:
        weights: (r + 1,) of the layers, 0 or more.
        distances: (S, r + 1) how far each witness is, layer by layer.
    """
    count = len(weights)
    if not len(distances):
        return float(weights.sum())
    witnesses, pairs = len(distances), distances.size
    # For a pair of witness and layer: eps <= distance where this layer is the one that keeps it out.
    rows = hstack([kron(np.ones((witnesses, 1)), eye_array(count)), diags_array(1 - distances.ravel())])
    some = hstack([csr_array((witnesses, count)), kron(eye_array(witnesses), np.ones((1, count)))])
    found = [
        milp(
            np.concatenate([-weights, np.zeros(pairs)]),
            constraints=[LinearConstraint(rows, -np.inf, 1), LinearConstraint(some, 1, np.inf)],
            integrality=np.concatenate([np.zeros(count), np.ones(pairs)]),
            bounds=Bounds(0, 1),
            options={"time_limit": 5.0, "mip_rel_gap": 0.0, "presolve": presolve},
        )
        for presolve in (True, False)
    ]
    bounds = [-weights.sum() if each.mip_dual_bound is None else each.mip_dual_bound for each in found]
    return min(float(-min(bounds)), float(weights.sum()))


def _direction(weights: Vector, slope: Vector, eps: Vector) -> Vector:
    """Return where to go: up the size, and along the border of what is robust; its largest number is 1.

    A layer that is closed cannot shrink, and one that is open cannot grow.
    """
    free = weights > 0
    slope = np.where(free, slope, 0.0)
    square = slope @ slope
    along = weights - (weights @ slope / square) * slope if square > 0 else weights
    along = np.where((along < 0) & (eps <= 0) | (along > 0) & (eps >= 1), 0.0, along)
    longest = np.abs(along).max()
    return along / longest if longest > 0 else np.zeros_like(weights)


def _stepped(oracle: Oracle, goal: Vector, eps: Vector, keep: Vector) -> Vector | None:
    """Return what is robust of a step: its goal, or that shrunk towards where it came from, or None."""
    for _ in range(SHRINKS):
        if oracle.ask(goal, quick=True) == "robust":
            return goal
        goal = goal * keep + eps * (1 - keep)
    return None


def _finished(
    oracle: Oracle,
    eps: Vector,
    weights: Vector,
    tolerance: float,
    search: Search,
) -> Expansion:
    """Grow one layer after the other as far as it can; as the others only grow, it never can again."""
    eps, complete = eps.copy(), True
    faces: list[Face] = ["open"] * oracle.layers.count
    witnesses: list[Vector | None] = [None] * oracle.layers.count
    try:
        for layer in range(oracle.layers.count):
            faces[layer], witnesses[layer] = _grown(oracle, eps, layer, tolerance, search)
    except OutOfTimeError:
        complete = False
    if oracle.witness(eps) is not None:  # a proof on the way was wrong: nothing is known but the image itself
        eps, faces, witnesses = np.zeros_like(eps), ["unknown"] * len(eps), [None] * len(eps)
    distances = np.array([oracle.distances(witness) for witness in oracle.witnesses])
    at_most = ceiling(weights, distances.reshape(-1, oracle.layers.count))
    return Expansion(eps, tuple(faces), tuple(witnesses), float(weights @ eps), at_most, complete)


def _grown(
    oracle: Oracle, eps: Vector, layer: int, tolerance: float, search: Search
) -> tuple[Face, Vector | None]:
    """Grow a layer in place, and return why it does not grow further, and a witness if one blocks it."""
    refused: list[tuple[Answer, Vector]] = []

    def holds(radius: float) -> bool:
        wider = eps.copy()
        wider[layer] = radius
        answer = oracle.ask(wider)
        if answer != "robust":
            refused.append((answer, wider))
            return False
        eps[layer] = radius
        return True

    if eps[layer] >= 1 or search(holds, float(eps[layer]), 1.0, tolerance) >= 1:
        return "full", None
    answer, least = refused[-1]
    return ("blocked", oracle.witness(least)) if answer == "vulnerable" else ("unknown", None)
