"""Attainment surfaces: what a share of several runs attains, for two objectives."""

import moocore
import numpy as np

from moosearch.pareto.dominance import Array


def attainment_surface(fronts: list[Array], share: float) -> Array:
    """Return the best points that at least a share of the runs attains.

    A run attains a point where a member of its front is at least as good in both objectives.

    Args:
        fronts: (N_i, 2) losses of each run; an empty front attains nothing.
        share: In (0, 1]; of n runs, ``share * n`` rounded up must attain a point.

    Returns:
        (M, 2) losses, the first ascending and the second descending; no rows where so many runs attain
        nothing.

    Raises:
        ValueError: There are no runs, the share is out of range, or there are not two objectives.

    Example:
        >>> runs = [np.array([[0.1, 0.5]]), np.array([[0.4, 0.2]])]
        >>> attainment_surface(runs, 1.0)
        array([[0.4, 0.5]])

    Source: Grunert da Fonseca, Fonseca & Hall 2001; Fonseca, Guerreiro, Lopez-Ibanez & Paquete 2011; moocore.
    """
    if not fronts or not 0 < share <= 1 or any(front.shape[1:] != (2,) for front in fronts):
        raise ValueError("expected one run or more of two objectives, and a share in (0, 1]")
    needed = int(np.ceil(share * len(fronts) - 1e-9))
    attaining = [front for front in fronts if len(front)]
    if len(attaining) < needed:
        return np.zeros((0, 2))
    points = np.concatenate(attaining)
    runs = np.repeat(np.arange(len(attaining)), [len(front) for front in attaining])
    # moocore counts the runs that it is shown: those that attain something.
    surface = moocore.eaf(points, runs, percentiles=[100 * needed / len(attaining)])[:, :2]
    return np.asarray(surface[np.lexsort((-surface[:, 1], surface[:, 0]))], dtype=np.float64)


def staircase(points: Array, corner: Array) -> Array:
    """Return the border of what points dominate, as a line to draw.

    Args:
        points: (N, 2) losses, as `attainment_surface` returns them.
        corner: (2,) where the line begins and ends: the worst loss of each objective that is drawn.

    Returns:
        (2 N + 1, 2) losses: down, right, down, ...; no rows for no points.

    Example:
        >>> staircase(np.array([[0.2, 0.6], [0.5, 0.1]]), np.array([1.0, 1.0]))
        array([[0.2, 1. ],
               [0.2, 0.6],
               [0.5, 0.6],
               [0.5, 0.1],
               [1. , 0.1]])
    """
    if len(points) == 0:
        return np.zeros((0, 2))
    x = np.repeat(points[:, 0], 2)
    y = np.repeat(points[:, 1], 2)
    return np.stack([np.append(x, corner[0]), np.insert(y, 0, corner[1])], axis=1)
