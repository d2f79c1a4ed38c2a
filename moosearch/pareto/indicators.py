"""How good a front is by the side of another: IGD+ and set coverage."""

import moocore
import numpy as np

from moosearch.pareto.dominance import Array


def igd_plus(losses: Array, reference: Array) -> float:
    """Return how far a front falls short of a reference front, on average over that one's members.

    Of each reference member, the nearest row counts, and of the way to it only what is worse: a front that
    dominates the reference has 0.

    Args:
        losses: (N, J) losses; an empty front stands for the reference point, where all losses are 1.
        reference: (M, J) losses of the reference front, M > 0.

    Returns:
        A number >= 0, in the scale of the losses.

    Raises:
        ValueError: The reference front is empty.

    Example:
        >>> igd_plus(np.array([[0.5, 0.2]]), np.array([[0.2, 0.6]]))
        0.3

    Source: Ishibuchi, Masuda, Tanigaki & Nojima 2015; moocore.
    """
    if len(reference) == 0:
        raise ValueError("the reference front is empty")
    mine = losses if len(losses) else np.ones((1, reference.shape[1]))
    return float(moocore.igd_plus(mine, ref=reference))


def coverage(losses: Array, others: Array) -> float:
    """Return the share of the other front's members that some row is at least as good as in everything.

    Args:
        losses: (N, J) losses.
        others: (M, J) losses of the other front.

    Returns:
        C(losses, others) in [0, 1]; NaN where the other front is empty. C(A, B) and C(B, A) do not sum to 1.

    Example:
        >>> coverage(np.array([[0.1, 0.5]]), np.array([[0.2, 0.5], [0.0, 0.9]]))
        0.5

    Source: Zitzler & Thiele 1998.
    """
    if len(others) == 0:
        return float("nan")
    covered = (losses[:, None, :] <= others[None, :, :]).all(axis=2)
    return float(covered.any(axis=0).mean())
