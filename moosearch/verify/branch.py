"""Complete verification by branch and bound: what bounds leave open is split until it is settled.

A case is a box in which some ReLUs have a known sign and some maxima a known winner. Its bound is that of
`moosearch.verify.bounds`, with three things chosen by gradient: the slopes of the lower lines of open ReLUs
(alpha-CROWN, Xu et al. 2021), multipliers of the known signs (beta-CROWN, Wang et al. 2021), and the mean of
the logits' differences that is bounded. Whatever is chosen, the bound holds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from moosearch.verify.bounds import Chord, Lines, Relaxation, rounded
from moosearch.verify.falsify import margins
from moosearch.verify.piecewise import Affine, Matrix, Vector
from moosearch.verify.searched import Searched

BATCH = 64
"""Cases that are split at a time, at most."""

NUMBERS = 250_000, 40_000_000
"""Choices of the cases that are split at a time, and of all that wait: what memory is there for."""

ROOT_STEPS, STEPS = 20, 8
"""Steps down the gradient, of the whole box and of each case after it."""

RATES, DECAY = {"slopes": 0.2, "lines": 0.1, "multipliers": 0.05, "share": 0.1}, 0.97
"""How far a step goes, and by what it shrinks from one to the next."""

ADAM = 0.9, 0.99, 1e-12
"""Memory of the gradient and of its square, and what keeps the quotient finite (Kingma & Ba 2015)."""


@dataclass
class Cases:
    """B cases; N ReLUs and M maxima that bounds leave open, V logits' differences at a time.

    Attributes:
        claim: (B,) which differences are bounded.
        signs: (B, N) what is known of each ReLU's input: 1 or -1, or 0 for nothing.
        winners: (B, M) which input of each window is the largest, or -1.
        slopes: (B, N) of the lower lines of open ReLUs, in [0, 1].
        lines: (B, P) of the upper lines of maxima, window by window, in [0, 1].
        multipliers: (B, N) of the known signs, 0 or more.
        share: (B, V) what each difference counts in the mean.
        bound: (B,) no image of the case has a larger mean.
        split: (B,) what lies farthest from its lines at the worst image: a ReLU, or N plus a maximum; -1 if
            nothing does.
    """

    claim: NDArray[np.int64]
    signs: NDArray[np.int8]
    winners: NDArray[np.int16]
    slopes: Matrix
    lines: Matrix
    multipliers: Matrix
    share: Matrix
    bound: Vector
    split: NDArray[np.int64]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.claim)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Cases":
        """Return some."""
        return Cases(*(getattr(self, each.name)[rows].copy() for each in fields(self)))

    def with_(self, others: "Cases") -> "Cases":
        """Return all of both."""
        return Cases(
            *(np.concatenate([getattr(self, e.name), getattr(others, e.name)]) for e in fields(self))
        )


class _Lowered(NamedTuple):
    """A bound, and how it changes with what is chosen.

    Attributes:
        bound: (B,).
        slopes: (B, N) its gradient.
        lines: (B, P) its gradient.
        multipliers: (B, N) its gradient.
        logits: (B, K) its gradient by the weights of the logits.
        slack: (B, N + M) how far each ReLU and maximum lies from its line at the worst image.
        worst: (B, n) that image.
    """

    bound: Vector
    slopes: Matrix
    lines: Matrix
    multipliers: Matrix
    logits: Matrix
    slack: Matrix
    worst: Matrix


class Branching:
    """The search of one box."""

    def __init__(self, relaxation: Relaxation, claims: NDArray[np.float64], *, below: float) -> None:
        """Prepare.

        Args:
            relaxation: Network and box, bounded.
            claims: (S, V, K) for each claim the weights of V sums of logits, the smallest of which is claimed
                to be negative on the whole box.
            below: What a bound must be below, a little less than 0 to be on the safe side.
        """
        self.relaxation, self.claims, self.below = relaxation, claims, below
        self._places = list(_placed(relaxation.relaxed))
        chords = [(step, at) for step, at in self._places if isinstance(step, Chord)]
        lines = [(step, at) for step, at in self._places if isinstance(step, Lines)]
        self._below = np.concatenate([np.zeros(0), *(step.below[at.open_] for step, at in chords)])
        self._slopes = np.concatenate([np.zeros(0), *(step.slopes[at.open_].ravel() for step, at in lines)])
        self._able = [window for step, at in lines for window in step.able[at.open_]]

    def root(self) -> tuple[Cases, Matrix]:
        """Return the whole box as a case for each claim, bounded; those that are settled are left out.

        And (B, n) the worst image of each, the largest bound first, from where an attack may start.
        """
        count, several = self.claims.shape[:2]
        cases = Cases(
            np.arange(count),
            np.zeros((count, len(self._below)), np.int8),
            np.full((count, len(self._able)), -1, np.int16),
            np.tile(self._below, (count, 1)),
            np.tile(self._slopes, (count, 1)),
            np.zeros((count, len(self._below))),
            np.full((count, several), 1 / several),
            np.full(count, np.inf),
            np.full(count, -1),
        )
        worst = self._descend(cases, ROOT_STEPS)
        order = np.argsort(-cases.bound, kind="stable")
        order = order[cases.bound[order] >= self.below]
        return cases.take(order), worst[order]

    def search(
        self,
        cases: Cases,
        target: int,
        top: int,
        until: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Searched:
        """Split until every case is settled.

        Args:
            cases: Of `root`.
            target: The target's class, for images that break the property.
            top: How many labels an image has.
            until: Of the clock, when to give up.
            clock: Tells the time, in seconds.
        """
        network = self.relaxation.network
        choices = 2 * len(self._below) + len(self._slopes) + 1
        batch = max(1, min(BATCH, NUMBERS[0] // choices))
        while len(cases):
            if clock() > until or len(cases) * choices > NUMBERS[1]:
                return Searched("unknown", None)
            order = np.argsort(-cases.bound, kind="stable")
            chosen, cases = cases.take(order[:batch]), cases.take(order[batch:])
            if (chosen.split < 0).any():
                return Searched("unknown", None)
            children = self._children(chosen)
            worst = self._descend(children, STEPS)
            reached = margins(network(worst), target, top)
            if reached.max() >= 0:
                return Searched("found", worst[reached.argmax()])
            cases = cases.with_(children.take(children.bound >= self.below))
        return Searched("none", None)

    def _children(self, cases: Cases) -> Cases:
        relus, parents, signs, winners = cases.signs.shape[1], [], [], []
        for row, split in enumerate(map(int, cases.split)):
            options = [-1, 1] if split < relus else np.flatnonzero(self._able[split - relus]).tolist()
            for option in options:
                sign, winner = cases.signs[row].copy(), cases.winners[row].copy()
                if split < relus:
                    sign[split] = option
                else:
                    winner[split - relus] = option
                parents.append(row)
                signs.append(sign)
                winners.append(winner)
        children = cases.take(np.array(parents))
        children.signs, children.winners = np.array(signs), np.array(winners)
        return children

    def _descend(self, cases: Cases, steps: int) -> Matrix:
        """Choose slopes, multipliers and shares in place; return the worst images: (B, n)."""
        if not len(cases):
            return np.zeros((0, self.relaxation.box.lower.size))
        moved = {name: _Adam(getattr(cases, name)) for name in RATES}
        for number in range(1, steps + 1):
            total = cases.share.sum(axis=1, keepdims=True)
            several = cases.share.shape[1]
            means = np.where(total > 0, cases.share / np.where(total > 0, total, 1), 1 / several)
            rows = self.claims[cases.claim]
            found = self._bound(cases, np.einsum("sv,svk->sk", means, rows))
            cases.bound = np.minimum(cases.bound, found.bound)
            if number == steps or (cases.bound < self.below).all():
                break
            by_share = np.einsum("svk,sk->sv", rows, found.logits)
            gradients = {
                "slopes": found.slopes,
                "lines": found.lines,
                "multipliers": found.multipliers,
                "share": by_share - (means * by_share).sum(axis=1, keepdims=True),
            }
            for name, adam in moved.items():
                step = adam.step(gradients[name], number, RATES[name] * DECAY**number)
                highest = np.inf if name == "multipliers" else 1.0
                setattr(cases, name, np.clip(getattr(cases, name) - step, 0.0, highest))
        slack = np.pad(found.slack, ((0, 0), (0, 1)))  # there may be none
        cases.split = np.where(slack.max(axis=1) > 1e-9, slack.argmax(axis=1), -1)
        return found.worst

    def _bound(self, cases: Cases, weights: Matrix) -> _Lowered:
        """Bound weighted sums of logits: (B, K) weights."""
        box, count = self.relaxation.box, len(cases)
        constant, passed = np.zeros(count), []
        for step, at in reversed(self._places):
            passed.append(weights)
            if isinstance(step, Affine):
                constant = constant + weights @ step.bias
                weights = _times(weights, step.weight)
                continue
            positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
            if isinstance(step, Chord):
                below, above, shift = _chord(step, at, cases)
                weights = positive * above + negative * below
                weights[:, at.open_] += cases.signs[:, at.of] * cases.multipliers[:, at.of]
            else:
                below, above, shift = _maxima(step, at, cases)
                mixed = positive[..., None] * above + negative[..., None] * below
                weights = _times(mixed.reshape(count, -1), step.select)
            constant = constant + (positive * shift).sum(axis=1)
        bound = constant + np.maximum(weights, 0) @ box.upper + np.minimum(weights, 0) @ box.lower
        x = worst = np.where(weights > 0, box.upper, box.lower)
        slopes, multipliers = np.zeros_like(cases.slopes), np.zeros_like(cases.multipliers)
        lines, relus = np.zeros_like(cases.lines), cases.signs.shape[1]
        slack = np.zeros((count, relus + cases.winners.shape[1]))
        for (step, at), weights in zip(self._places, reversed(passed), strict=True):
            if isinstance(step, Affine):
                x = _times(x, step.weight.T) + step.bias
            elif isinstance(step, Chord):
                below, above, shift = _chord(step, at, cases)
                out = np.where(weights > 0, above * x + shift, below * x)
                signs, here = cases.signs[:, at.of], x[:, at.open_]
                slopes[:, at.of] = np.where(signs == 0, np.minimum(weights[:, at.open_], 0) * here, 0.0)
                multipliers[:, at.of] = signs * here
                off = np.abs(weights * (out - np.maximum(x, 0)))[:, at.open_]
                slack[:, at.of] = np.where(signs == 0, off, 0.0)
                x = out
            else:
                below, above, shift = _maxima(step, at, cases)
                seen = _times(x, step.select.T).reshape(count, *step.windows.shape)
                led = np.take_along_axis(seen, step.leader[None, :, None], axis=2)
                slope = np.maximum(weights, 0)[..., None] * (
                    seen - led + step.shift(_sloped(step, at, cases))[1]
                )
                unknown = cases.winners[:, at.of] < 0
                free = step.rivals[at.open_] & unknown[..., None]
                lines[:, at.lines] = np.where(free, slope[:, at.open_], 0.0).reshape(count, -1)
                out = np.where(weights > 0, (above * seen).sum(axis=2) + shift, (below * seen).sum(axis=2))
                off = np.abs(weights * (out - seen.max(axis=2)))[:, at.open_]
                slack[:, relus + at.of.start : relus + at.of.stop] = np.where(unknown, off, 0.0)
                x = out
        return _Lowered(rounded(bound), slopes, lines, multipliers, x, slack, worst)


def _times(x: Matrix, matrix: csr_array | csc_array) -> Matrix:
    """Return dense times sparse: (B, m) and (m, n) -> (B, n)."""
    return np.asarray((matrix.T @ x.T).T)


class _Place(NamedTuple):
    """Where a step's numbers are.

    Attributes:
        open_: Which of its ReLUs or maxima are open.
        of: Where these are among the cases' ReLUs or maxima.
        lines: And among their lines.
    """

    open_: NDArray[np.int64]
    of: slice
    lines: slice


def _placed(relaxed: Sequence[Affine | Chord | Lines]) -> Iterator[tuple[Affine | Chord | Lines, _Place]]:
    relus = maxima = lines = 0
    for step in relaxed:
        at = _Place(np.zeros(0, np.int64), slice(0), slice(0))
        if isinstance(step, Chord):
            open_ = np.flatnonzero(step.open_)
            at = _Place(open_, slice(relus, relus := relus + len(open_)), slice(0))
        elif isinstance(step, Lines):
            open_ = np.flatnonzero(step.rivals.any(axis=1))
            ends = maxima + len(open_), lines + len(open_) * step.windows.shape[1]
            at = _Place(open_, slice(maxima, ends[0]), slice(lines, ends[1]))
            maxima, lines = ends
        yield step, at


class _Adam:
    def __init__(self, values: Matrix) -> None:
        self._mean, self._square = np.zeros_like(values), np.zeros_like(values)

    def step(self, gradient: Matrix, number: int, rate: float) -> Matrix:
        first, second, least = ADAM
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient**2
        mean, square = self._mean / (1 - first**number), self._square / (1 - second**number)
        return np.asarray(rate * mean / (np.sqrt(square) + least))


def _chord(step: Chord, at: _Place, cases: Cases) -> tuple[Matrix, Matrix, Matrix]:
    """Return lower slopes, upper slopes and shifts of ReLUs: (B, n) each."""
    signs = cases.signs[:, at.of]
    known, active = signs != 0, (signs > 0).astype(np.float64)
    below, above, shift = (np.tile(each, (len(cases), 1)) for each in (step.below, step.above, step.shift))
    below[:, at.open_] = np.where(known, active, cases.slopes[:, at.of])
    above[:, at.open_] = np.where(known, active, step.above[at.open_])
    shift[:, at.open_] = np.where(known, 0.0, step.shift[at.open_])
    return below, above, shift


def _maxima(step: Lines, at: _Place, cases: Cases) -> tuple[NDArray[np.float64], NDArray[np.float64], Matrix]:
    """Return weights of lower and upper sums, (B, m, k) each, and shifts of maxima, (B, m)."""
    winners = np.full((len(cases), len(step.windows)), -1)
    winners[:, at.open_] = cases.winners[:, at.of]
    known, slopes = winners >= 0, _sloped(step, at, cases)
    winner = (winners[..., None] == np.arange(step.windows.shape[1])).astype(np.float64)
    below = np.where(known[..., None], winner, step.sums(np.zeros_like(step.slopes)))
    above = np.where(known[..., None], winner, step.sums(slopes))
    return below, above, np.where(known, 0.0, step.shift(slopes)[0])


def _sloped(step: Lines, at: _Place, cases: Cases) -> NDArray[np.float64]:
    """Return the slopes of maxima: (B, m, k)."""
    slopes = np.tile(step.slopes, (len(cases), 1, 1))
    slopes[:, at.open_] = cases.lines[:, at.lines].reshape(len(cases), -1, step.windows.shape[1])
    return slopes
