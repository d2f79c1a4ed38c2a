"""Fronts of noisy objectives: who may well be non-dominated, given a few repetitions of every member.

The noise is what another seed of training changes. It is taken to be normal and alike for all members: the
standard deviation of three values says next to nothing, one that is pooled over a front says enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moosearch.pareto.dominance import Array, non_dominated

LEVEL = 0.05
"""How often a member that is non-dominated in truth may be called dominated."""

DRAWS = 2000
"""Fronts that are drawn; the standard error of a probability is then at most 0.011."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """N members, each trained R times, judged by J objectives.

    Attributes:
        losses: (N, R, J) losses as `to_losses` scales them, all minimized.
        exact: (J,) whether an objective has no noise, such as FLOPs. With R = 1 nothing is known of the
            noise of the others.
    """

    losses: Array
    exact: Sequence[bool]

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            ValueError: There is no repetition, a loss is not finite, or one that is said to be exact differs
                between repetitions.
        """
        shape = self.losses.shape
        if len(shape) != 3 or shape[1] < 1 or shape[2] != len(self.exact):
            raise ValueError(f"losses: got shape {shape}, expected (N, R, {len(self.exact)}) with R >= 1")
        if not np.isfinite(self.losses).all():
            raise ValueError("losses that are not finite have no mean")
        if np.where(self.exact, self._differences, 0).any():
            raise ValueError("an objective that is said to be exact differs between repetitions")

    @property
    def means(self) -> Array:
        """(N, J) means; the mean of equal numbers is that number."""
        means: Array = self.losses[:, 0] + self._differences.mean(axis=1)
        return means

    @property
    def deviations(self) -> Array:
        """(N, J) standard deviations, each member's own; 0 where exact, else NaN for R = 1."""
        variances = np.square(self._residuals).sum(axis=1) / (self.losses.shape[1] - 1 or np.nan)
        return np.where(self.exact, 0.0, np.sqrt(variances))

    @property
    def errors(self) -> Array:
        """(J,) standard errors of a mean, pooled over the members; 0 where exact, else NaN for R = 1."""
        variances = np.square(self._residuals).sum(axis=(0, 1)) / (self.degrees or np.nan)
        return np.where(self.exact, 0.0, np.sqrt(variances / self.losses.shape[1]))

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the pooled errors, N (R - 1)."""
        members, repetitions, _ = self.losses.shape
        degrees: int = members * (repetitions - 1)
        return degrees

    def stays(self, level: float = LEVEL) -> NDArray[np.bool_]:
        """Mark the members that no other dominates beyond noise.

        One member dominates another beyond noise if it is better by a one-sided Student test of the pooled
        errors in every noisy objective, not worse in every exact one, and better in one at least. Tests are
        at ``level`` / (N - 1): a member that is non-dominated in truth stays with probability 1 - ``level``
        or more. Without noise those that stay are the non-dominated; where nothing is known of the noise, a
        noisy objective lets all stay.

        Args:
            level: In (0, 0.5].

        Returns:
            (N,) booleans.
        """
        members = len(self.losses)
        if members < 2:
            return np.ones(members, dtype=np.bool_)
        means = self.means
        lead: Array = means[:, None] - means[None, :]  # (i, k, j): by how much k is better than i
        quantile = student_quantile(1 - level / (members - 1), self.degrees) if self.degrees else np.nan
        needed = np.where(self.exact, 0.0, quantile * np.sqrt(2) * self.errors)  # NaN is never reached
        dominated = np.all(lead >= needed, axis=2) & np.any(lead > 0, axis=2)
        return np.asarray(~np.any(dominated, axis=1))

    def probabilities(self, generator: np.random.Generator, draws: int = DRAWS) -> Array:
        """Return the probability of each member to be non-dominated.

        It is the share of fronts, drawn around the means, that a member is on. Noise is that of means, with
        the pooled covariance of the objectives (accuracies of one training go together), and Student's, as
        the covariance is only known from few repetitions.

        Args:
            generator: Source of random numbers.
            draws: Number of fronts drawn.

        Returns:
            (N,) numbers in [0, 1]: 0 or 1, as `non_dominated` says, without noise; NaN where nothing is
            known of the noise.
        """
        members, repetitions, objectives = self.losses.shape
        if not self.degrees and not all(self.exact):
            return np.full(members, np.nan)
        degrees = max(self.degrees, 1)
        # Its square is the pooled covariance of a mean; what has no noise keeps none, exactly.
        root = np.linalg.qr(self._residuals.reshape(-1, objectives), mode="r")
        root /= np.sqrt(degrees * repetitions)
        noise = generator.standard_normal((draws, members, len(root))) @ root
        noise *= np.sqrt(degrees / generator.chisquare(degrees, size=(draws, 1, 1)))
        fronts = self.means + noise
        return np.asarray(np.mean([non_dominated(front) for front in fronts], axis=0))

    @property
    def _differences(self) -> Array:
        """(N, R, J) differences from the first repetition, exactly 0 between equal numbers."""
        return self.losses - self.losses[:, :1]

    @property
    def _residuals(self) -> Array:
        """(N, R, J) differences from the member's mean."""
        residuals: Array = self._differences - self._differences.mean(axis=1, keepdims=True)
        return residuals


def student_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's distribution.

    SciPy has it too, and takes 0.2 s to import: whoever reads a front need not wait.

    Args:
        probability: In [0.5, 1).
        degrees: Degrees of freedom, at least 1.

    Example:
        >>> round(student_quantile(0.975, 10), 4)
        2.2281

    Source: the distribution for whole degrees, Abramowitz & Stegun 1964, 26.7.3 and 26.7.4, by bisection.
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central(middle, degrees) < 2 * probability - 1 else (low, middle)
    return math.sqrt(degrees) * math.tan(high)


def _central(angle: float, degrees: int) -> float:
    """Return the probability of (-t, t) with t = sqrt(degrees) tan(angle)."""
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(odd, degrees - 1, 2):  # of the cosine
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total
