"""Incomplete verification: bounds on weighted sums of logits over a box, by backward linear relaxation.

Every nonlinear step is enclosed between two affine maps (CROWN, Zhang et al. 2018; DeepPoly, Singh et al.
2019), which are valid because the inputs of the step lie between known bounds. Those of the first step are
exact; those of later steps come from interval arithmetic, and where it leaves the sign of a ReLU open, from
the same relaxation of the steps before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from moosearch.verify.box import Box
from moosearch.verify.piecewise import Affine, MaxPool, Piecewise, Relu, Vector, diagonal

ROUNDING = 1e-9
"""By how much, relatively, every bound is moved outwards: more than float64 can be wrong by."""

ROWS = 512
"""Functionals that are bounded at a time."""


@dataclass(frozen=True)
class Interval:
    """Bounds on a vector.

    Attributes:
        lower: (n,).
        upper: (n,).
    """

    lower: Vector
    upper: Vector

    def within(self, other: "Interval") -> "Interval":
        """Return the tighter of two bounds, number by number."""
        return Interval(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))


@dataclass(frozen=True)
class Relaxed:
    """A step between two affine maps: ``below x <= step(x) <= above x + shift``.

    Attributes:
        below: (m, n).
        above: (m, n).
        shift: (m,).
    """

    below: csr_array
    above: csr_array
    shift: Vector


class Relaxation:
    """A network over a box, every step of it bounded."""

    def __init__(self, network: Piecewise, box: Box) -> None:
        """Bound the inputs of every step.

        Args:
            network: The network.
            box: Images.
        """
        self.network, self.box = network, box
        self.inputs: list[Interval] = []
        self._relaxed: list[Affine | Relaxed] = []
        here = Interval(box.lower, box.upper)
        for number, step in enumerate(network.steps):
            if isinstance(step, Relu) and number > 1:
                here = self._tightened(here, (here.lower < 0) & (here.upper > 0))
            elif isinstance(step, MaxPool) and number > 1:
                here = self._tightened(here, _contested(step, here))
            self.inputs.append(here)
            if isinstance(step, Affine):
                self._relaxed.append(step)
                here = _affine(step, here)
            elif isinstance(step, Relu):
                self._relaxed.append(_relu(here))
                here = Interval(np.maximum(here.lower, 0), np.maximum(here.upper, 0))
            else:
                self._relaxed.append(_pool(step, here))
                here = Interval(here.lower[step.windows].max(axis=1), here.upper[step.windows].max(axis=1))
        self.logits = here

    def upper(self, weights: NDArray[np.float64]) -> Vector:
        """Return upper bounds on weighted sums of logits over the box: (S, K) -> (S,)."""
        rough = np.maximum(weights, 0) @ self.logits.upper + np.minimum(weights, 0) @ self.logits.lower
        return np.minimum(rough, self._upper(csr_array(weights), len(self._relaxed)))

    def _upper(self, weights: csr_array, steps: int) -> Vector:
        """Return upper bounds on sums of what the first steps give: (S, m) -> (S,)."""
        constant = np.zeros(weights.shape[0])
        for relaxed in reversed(self._relaxed[:steps]):
            if isinstance(relaxed, Affine):
                constant = constant + weights @ relaxed.bias
                weights = csr_array(weights @ relaxed.weight)
            else:
                positive, negative = weights.maximum(0), weights.minimum(0)
                constant = constant + positive @ relaxed.shift
                weights = csr_array(positive @ relaxed.above + negative @ relaxed.below)
        bound = constant + weights.maximum(0) @ self.box.upper + weights.minimum(0) @ self.box.lower
        return np.asarray(bound + ROUNDING * (1 + np.abs(bound)))

    def _tightened(self, rough: Interval, open_: NDArray[np.bool_]) -> Interval:
        """Bound anew, by relaxation, the inputs of the next step that interval arithmetic leaves open."""
        lower, upper = rough.lower.copy(), rough.upper.copy()
        numbers = np.flatnonzero(open_)
        for start in range(0, len(numbers), ROWS):
            some = numbers[start : start + ROWS]
            ones = np.ones(len(some))
            rows = csr_array((ones, (np.arange(len(some)), some)), shape=(len(some), len(lower)))
            upper[some] = self._upper(rows, len(self._relaxed))
            lower[some] = -self._upper(-rows, len(self._relaxed))
        return Interval(lower, upper).within(rough)


def _affine(step: Affine, x: Interval) -> Interval:
    center, radius = (x.upper + x.lower) / 2, (x.upper - x.lower) / 2
    middle, spread = step.weight @ center + step.bias, abs(step.weight) @ radius
    spread = spread + ROUNDING * (1 + np.abs(middle) + spread)
    return Interval(middle - spread, middle + spread)


def _relu(x: Interval) -> Relaxed:
    """Enclose ReLU: from above by the chord, from below by 0 or the identity, whichever is closer."""
    lower, upper = x.lower, x.upper
    active, open_ = lower >= 0, (lower < 0) & (upper > 0)
    chord = np.where(open_, upper / np.where(open_, upper - lower, 1.0), active)
    shift = np.where(open_, -chord * lower, 0.0)
    below = np.where(open_, upper > -lower, active)
    return Relaxed(diagonal(below.astype(np.float64)), diagonal(chord.astype(np.float64)), shift)


def _pool(step: MaxPool, x: Interval) -> Relaxed:
    """Enclose max pooling: from below by the input whose lower bound is largest.

    From above by that lower bound plus the chords of what exceeds it, ``m + sum of max(x_i - m, 0)``, or by
    the largest upper bound, whichever is smaller in the middle of the bounds.
    """
    windows, count = step.windows, len(x.lower)
    lower, upper = x.lower[windows], x.upper[windows]
    rows = np.arange(len(windows))
    best = lower.argmax(axis=1)
    floor, ceiling = lower[rows, best], upper.max(axis=1)
    below = csr_array((np.ones(len(rows)), (rows, windows[rows, best])), shape=(len(rows), count))

    repeated = _repeated(windows)
    exceeds = (upper > floor[:, None]) & ~repeated
    exceeds[rows, best] = True
    gap = np.where(exceeds, upper - lower, 1.0)
    chord = np.where(
        exceeds, np.where(gap > 0, (upper - floor[:, None]) / np.where(gap > 0, gap, 1.0), 1.0), 0.0
    )
    shift = floor - (chord * np.where(exceeds, lower, 0.0)).sum(axis=1)
    middle = shift + (chord * (lower + upper) / 2).sum(axis=1)
    alone = exceeds.sum(axis=1) == 1
    linear = alone | (middle < ceiling)
    chord = np.where(alone[:, None], exceeds.astype(np.float64), chord * linear[:, None])
    shift = np.where(alone, 0.0, np.where(linear, shift, ceiling))
    across = np.broadcast_to(rows[:, None], windows.shape)
    kept = chord != 0
    above = csr_array((chord[kept], (across[kept], windows[kept])), shape=(len(rows), count))
    return Relaxed(below, above, shift)


def _contested(step: MaxPool, x: Interval) -> NDArray[np.bool_]:
    """Return which inputs share a window with another that may be larger: (n,)."""
    floor = x.lower[step.windows].max(axis=1, keepdims=True)
    exceeds = (x.upper[step.windows] > floor) & ~_repeated(step.windows)
    found = np.zeros(len(x.lower), dtype=bool)
    found[step.windows[(exceeds.sum(axis=1, keepdims=True) > 1) & exceeds]] = True
    return found


def _repeated(windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which places of the windows name an input that was named before: (m, k)."""
    earlier = windows[:, :, None] == windows[:, None, :]
    return np.asarray(np.triu(earlier.transpose(0, 2, 1), 1).any(axis=1))


def differences(classes: int, target: int, others: Sequence[int]) -> NDArray[np.float64]:
    """Return the rows that give ``F_c - F_t``: (len(others), K)."""
    rows = np.zeros((len(others), classes))
    rows[np.arange(len(others)), list(others)] = 1
    rows[:, target] = -1
    return rows
