"""Hypervolume of losses that are scaled to 0 (ideal) and 1 (reference point)."""

import moocore
import numpy as np

from moosearch.pareto.dominance import Array


def hypervolume(losses: Array) -> float:
    """Return the share of the box between ideal and reference point that some row dominates.

    Args:
        losses: (N, J) scaled losses; rows beyond the reference point contribute nothing.

    Returns:
        A number in [0, 1]; 0 for no rows.

    Example:
        >>> hypervolume(np.array([[0.5, 0.5]]))
        0.25

    Source: moocore (Fonseca, Paquete, Lopez-Ibanez 2006 for J <= 4 and beyond).
    """
    inside = losses[(losses < 1).all(axis=1)] if len(losses) else losses
    if len(inside) == 0:
        return 0.0
    return float(moocore.hypervolume(inside, ref=np.ones(losses.shape[1])))


def contributions(losses: Array) -> Array:
    """Return how much hypervolume would be lost without each row.

    Args:
        losses: (N, J) scaled losses of a front.

    Returns:
        (N,) contributions; equal rows contribute 0 each.
    """
    if len(losses) == 0:
        return np.zeros(0)
    if losses.shape[1] == 1:  # moocore wants two objectives or more
        others = [np.delete(losses, row, axis=0) for row in range(len(losses))]
        return np.asarray([hypervolume(losses) - hypervolume(rest) for rest in others])
    return np.asarray(moocore.hv_contributions(losses, np.ones(losses.shape[1])), dtype=np.float64)
