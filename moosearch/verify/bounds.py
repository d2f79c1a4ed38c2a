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
from moosearch.verify.piecewise import Affine, Matrix, MaxPool, Piecewise, Relu, Vector

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
class Chord:
    """ReLU between two lines, number by number: ``below x <= max(x, 0) <= above x + shift``.

    Attributes:
        below: (n,).
        above: (n,).
        shift: (n,).
        open_: (n,) where the sign of x is not known; any slope between 0 and 1 would do below.
    """

    below: Vector
    above: Vector
    shift: Vector
    open_: NDArray[np.bool_]


@dataclass(frozen=True)
class Lines:
    """Max pooling between two weighted sums of each window, with one input of it, the leader, as the base.

    With ``d`` the differences from the leader, ``leader <= max <= leader + slopes d + shift``. Slopes may be
    any numbers in [0, 1], and decide the shift: see `shift`.

    Attributes:
        windows: (m, k) as `MaxPool` has them.
        leader: (m,) which input of each window; the one whose bounds have the largest middle.
        lowest: (m, k) the smallest difference; 0 where it can never win.
        highest: (m, k) the largest difference; 0 where it can never win.
        rivals: (m, k) which inputs may exceed the leader; repeated ones are named once.
        slopes: (m, k) those of the chords of ``max(d, 0)``.
        select: (m k, n) from inputs to windows, one after the other.
    """

    windows: NDArray[np.int64]
    leader: NDArray[np.int64]
    lowest: Matrix
    highest: Matrix
    rivals: NDArray[np.bool_]
    slopes: Matrix
    select: csr_array

    @property
    def able(self) -> NDArray[np.bool_]:
        """(m, k) which inputs may be the largest."""
        found = self.rivals.copy()
        found[np.arange(len(found)), self.leader] = True
        return found

    def shift(self, slopes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smallest shift for slopes, and its gradient: (..., m, k) -> (..., m), (..., m, k).

        It is the largest of ``max(d, 0) - slopes d``: where some d is at its upper end, or none.
        """
        ends = np.where(self.rivals, (1 - slopes) * self.highest + slopes * self.lowest, -np.inf)
        last = ends.max(axis=-1)
        found = np.maximum(last, 0) - (slopes * self.lowest).sum(axis=-1)
        at_end = (ends == last[..., None]) & (last > 0)[..., None]
        first = at_end & (np.cumsum(at_end, axis=-1) == 1)
        return found, np.where(first, self.lowest - self.highest, 0.0) - self.lowest

    def sums(self, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights of a window's inputs: (..., m, k) -> (..., m, k)."""
        rows = np.arange(len(self.windows))
        found = slopes.copy()
        found[..., rows, self.leader] = 1 - slopes.sum(axis=-1)
        return found

    def matrix(self, slopes: Matrix) -> csr_array:
        """Return the weights of all inputs: (m, k) -> (m, n)."""
        sums = self.sums(slopes)
        rows, columns = np.nonzero(sums)
        parts = sums[rows, columns], (rows, self.windows[rows, columns])
        return csr_array(parts, (len(sums), self.select.shape[1]))


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
        self.relaxed: list[Affine | Chord | Lines] = []
        here = Interval(box.lower, box.upper)
        for number, step in enumerate(network.steps):
            if isinstance(step, Relu) and number > 1:
                here = self._tightened(here, (here.lower < 0) & (here.upper > 0))
            elif isinstance(step, MaxPool) and number > 1:
                here = self._tightened(here, _contested(step, here))
            self.inputs.append(here)
            if isinstance(step, Affine):
                self.relaxed.append(step)
                here = _affine(step, here)
            elif isinstance(step, Relu):
                self.relaxed.append(_relu(here))
                here = Interval(np.maximum(here.lower, 0), np.maximum(here.upper, 0))
            else:
                self.relaxed.append(self._pool(step, here))
                here = Interval(here.lower[step.windows].max(axis=1), here.upper[step.windows].max(axis=1))
        self.logits = here

    def upper(self, weights: NDArray[np.float64]) -> Vector:
        """Return upper bounds on weighted sums of logits over the box: (S, K) -> (S,)."""
        rough = np.maximum(weights, 0) @ self.logits.upper + np.minimum(weights, 0) @ self.logits.lower
        return np.minimum(rough, self._upper(csr_array(weights), len(self.relaxed)))

    def _upper(self, weights: csr_array, steps: int) -> Vector:
        """Return upper bounds on sums of what the first steps give: (S, m) -> (S,)."""
        constant = np.zeros(weights.shape[0])
        for relaxed in reversed(self.relaxed[:steps]):
            if isinstance(relaxed, Affine):
                constant = constant + weights @ relaxed.bias
                weights = csr_array(weights @ relaxed.weight)
            else:
                positive, negative = weights.maximum(0), weights.minimum(0)
                if isinstance(relaxed, Chord):
                    constant = constant + positive @ relaxed.shift
                    weights = csr_array(positive * relaxed.above + negative * relaxed.below)
                else:
                    constant = constant + positive @ relaxed.shift(relaxed.slopes)[0]
                    above, below = relaxed.matrix(relaxed.slopes), relaxed.matrix(0 * relaxed.slopes)
                    weights = csr_array(positive @ above + negative @ below)
        return rounded(constant + weights.maximum(0) @ self.box.upper + weights.minimum(0) @ self.box.lower)

    def _pool(self, step: MaxPool, x: Interval) -> Lines:
        """Enclose max pooling; neighbors move together, so their differences are bounded as such."""
        windows = step.windows
        rows = np.arange(len(windows))
        leader = (x.lower + x.upper)[windows].argmax(axis=1)
        base = windows[rows, leader]
        highest = x.upper[windows] - x.lower[base][:, None]
        lowest = x.lower[windows] - x.upper[base][:, None]
        rivals = (highest > 0) & ~_repeated(windows) & (windows != base[:, None])
        window, place = np.nonzero(rivals)
        for start in range(0, len(window), ROWS):
            some = np.s_[start : start + ROWS]
            which = window[some], place[some]
            count = np.arange(len(which[0]))
            ones = np.ones(len(count))
            ends = csr_array((ones, (count, windows[which])), (len(count), len(x.lower)))
            differences = ends - csr_array((ones, (count, base[which[0]])), ends.shape)
            highest[which] = np.minimum(highest[which], self._upper(differences, len(self.relaxed)))
            lowest[which] = np.maximum(lowest[which], -self._upper(-differences, len(self.relaxed)))
        rivals &= highest > 0
        lowest, highest = np.where(rivals, np.minimum(lowest, 0), 0), np.where(rivals, highest, 0)
        slopes = np.where(rivals, highest / np.where(rivals, highest - lowest, 1), 0)
        places = np.ones(windows.size), (np.arange(windows.size), windows.ravel())
        select = csr_array(places, (windows.size, len(x.lower)))
        return Lines(windows, leader, lowest, highest, rivals, slopes, select)

    def _tightened(self, rough: Interval, open_: NDArray[np.bool_]) -> Interval:
        """Bound anew, by relaxation, the inputs of the next step that interval arithmetic leaves open."""
        lower, upper = rough.lower.copy(), rough.upper.copy()
        numbers = np.flatnonzero(open_)
        for start in range(0, len(numbers), ROWS):
            some = numbers[start : start + ROWS]
            ones = np.ones(len(some))
            rows = csr_array((ones, (np.arange(len(some)), some)), shape=(len(some), len(lower)))
            upper[some] = self._upper(rows, len(self.relaxed))
            lower[some] = -self._upper(-rows, len(self.relaxed))
        return Interval(lower, upper).within(rough)


def rounded(bound: Vector) -> Vector:
    """Return upper bounds moved outwards."""
    return np.asarray(bound + ROUNDING * (1 + np.abs(bound)))


def _affine(step: Affine, x: Interval) -> Interval:
    center, radius = (x.upper + x.lower) / 2, (x.upper - x.lower) / 2
    middle, spread = step.weight @ center + step.bias, abs(step.weight) @ radius
    spread = spread + ROUNDING * (1 + np.abs(middle) + spread)
    return Interval(middle - spread, middle + spread)


def _relu(x: Interval) -> Chord:
    """Enclose ReLU: from above by the chord, from below by 0 or the identity, whichever is closer."""
    lower, upper = x.lower, x.upper
    active, open_ = lower >= 0, (lower < 0) & (upper > 0)
    chord = np.where(open_, upper / np.where(open_, upper - lower, 1.0), active)
    shift = np.where(open_, -chord * lower, 0.0)
    below = np.where(open_, upper > -lower, active)
    return Chord(below.astype(np.float64), chord.astype(np.float64), shift, open_)


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
