"""Gaussian process regression on genes, and the test of one gene given all the others.

Candidates of an evolutionary search are related: whoever has one gene value of a successful ancestor has its
others too. So a gene is judged given all others, as genetics judges a locus given the relatedness of the
individuals: by generalized least squares in a mixed model, ``y = mean + B b + f(other genes) + noise``, in
which f is a Gaussian process. All functions are pure.

Source: Kang et al. 2008 (tests in a mixed model); Rasmussen & Williams 2006, chapter 5 (likelihood and
leave-one-out predictions); Freedman & Lane 1983 (permutation of residuals).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from moosearch.pareto.dominance import Array

SPARSITY = 0.1
"""Scale of the half-Cauchy prior on a gene's weight: most genes are expected to matter little."""
PERMUTATIONS = 1999
LOW, HIGH = 1e-6, 30.0
"""Range of a gene's weight, per variance of its values."""


@dataclass(frozen=True)
class Process:
    """A Gaussian process over genes, with the covariance ``exp(-sum_g weight_g distance_g / 2) + noise I``.

    Attributes:
        weights: (G,) how fast the objective changes with each gene, >= 0.
        noise: Variance of the noise, relative to that of the process.
    """

    weights: Array
    noise: float

    def covariance(self, distances: Array) -> Array:
        """Return (N, N) of (G, N, N) squared distances, up to a factor."""
        n = distances.shape[1]
        return np.exp(-0.5 * np.tensordot(self.weights, distances, 1)) + self.noise * np.eye(n)


def fit(distances: Array, y: Array, *, start: Process, least: float, iterations: int) -> Process:
    """Return the process of the largest posterior density; its variance and the mean are profiled out.

    Args:
        distances: (G, N, N) squared distances of candidates in each gene.
        y: (N,) values of variance 1.
        start: Where to start from.
        least: The least variance of the noise: what is known of it, as a share of the variance of y.
        iterations: Of L-BFGS, at most.
    """
    from scipy.optimize import minimize

    genes, n, _ = distances.shape
    flat = distances.reshape(genes, n * n)

    def negative(theta: Array) -> tuple[float, Array]:
        weights, noise = np.exp(theta[:-1]), float(np.exp(theta[-1]))
        signal = np.exp(-0.5 * (weights @ flat)).reshape(n, n)
        lower = np.linalg.cholesky(signal + noise * np.eye(n))
        inverse = np.linalg.inv(lower)
        precision = inverse.T @ inverse
        ones = precision.sum(axis=0)
        residual = y - (ones @ y) / ones.sum()
        alpha = precision @ residual
        variance = max(float(residual @ alpha) / n, 1e-12)
        value = 0.5 * n * math.log(variance) + float(np.log(np.diag(lower)).sum())
        slope = 0.5 * (precision - np.outer(alpha, alpha) / variance)
        along = -0.5 * weights * (flat @ (slope * signal).ravel())
        value += float(np.log1p((weights / SPARSITY) ** 2).sum())
        along += 2 * weights**2 / (SPARSITY**2 + weights**2)
        return value, np.append(along, noise * np.trace(slope))

    bounds = [(math.log(LOW), math.log(HIGH))] * genes + [(math.log(least), math.log(100.0))]
    begin = np.log(np.append(start.weights, start.noise))
    begin = np.clip(begin, *np.array(bounds).T)
    found = minimize(
        negative, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations}
    )
    return Process(np.exp(found.x[:-1]), float(np.exp(found.x[-1])))


def unseen_r2(distances: Array, y: Array, process: Process) -> float:
    """Return R^2 of a process's predictions for candidates left out one at a time."""
    precision = np.linalg.inv(process.covariance(distances))
    ones = precision.sum(axis=0)
    # With the mean estimated too: Rasmussen & Williams 2006, eq. 5.12, for the precision with the mean out.
    precision -= np.outer(ones, ones) / ones.sum()
    errors = (precision @ y) / np.diag(precision)
    return 1 - float(errors @ errors) / float(((y - y.mean()) ** 2).sum())


class Assessed(NamedTuple):
    """What generalized least squares says of a gene.

    Attributes:
        p: Share of permutations in which a gene without effect explains as much: in (0, 1].
        coefficients: (C,) of the columns of the basis.
        covariance: (C, C) of the coefficients.
        freedom: Degrees of freedom of the residuals.
    """

    p: float
    coefficients: Array
    covariance: Array
    freedom: int


def assess(basis: Array, y: Array, covariance: Array, generator: np.random.Generator) -> Assessed:
    """Test whether a gene explains anything beyond the others.

    Args:
        basis: (N, C) what the gene may do to y; independent columns.
        y: (N,) values.
        covariance: (N, N) of what is not the gene's: the other genes and noise, up to a factor.
        generator: Of the permutations.
    """
    n, columns = basis.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance), np.column_stack([np.ones(n), basis, y]))
    mean, rest = np.linalg.qr(white[:, :1])[0], white[:, 1:]
    rest = rest - mean @ (mean.T @ rest)
    q, r = np.linalg.qr(rest[:, :-1])
    residual = rest[:, -1]
    # Residuals without the gene are exchangeable once they are white (Freedman & Lane 1983).
    drawn = generator.permuted(np.tile(residual, (PERMUTATIONS, 1)), axis=1)
    drawn -= (drawn @ mean) @ mean.T
    shares = ((drawn @ q) ** 2).sum(axis=1) / (drawn**2).sum(axis=1)
    explained = q.T @ residual
    share = float(explained @ explained) / max(float(residual @ residual), 1e-300)
    p = (1 + int((shares >= share * (1 - 1e-9)).sum())) / (1 + PERMUTATIONS)
    inverse = np.linalg.inv(r)
    freedom = n - 1 - columns
    variance = max(float(residual @ residual - explained @ explained), 0.0) / freedom
    return Assessed(p, inverse @ explained, variance * inverse @ inverse.T, freedom)


def holm(p: Array) -> Array:
    """Adjust p-values of several tests, so that one below a level is false with that probability at most.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]

    Source: Holm 1979.
    """
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
