"""A few members that stand for a whole front."""

import numpy as np

from moosearch.pareto.dominance import Array


def spread(losses: Array, count: int) -> list[int]:
    """Return the rows of a front that lie farthest apart, in their order.

    The row with the smallest crowding distance is taken away, and distances are computed again, until
    ``count`` are left; the best of each objective stay.

    Args:
        losses: (N, J), no row dominates another.
        count: How many, >= 1.

    Returns:
        ``min(N, count)`` indices, ascending.

    Source: Kukkonen & Deb 2006, *Improved pruning of non-dominated solutions based on crowding distance*;
    pymoo's implementation.
    """
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

    if len(losses) <= count:
        return list(range(len(losses)))
    distances = get_crowding_function("pcd").do(losses, n_remove=len(losses) - count)
    return sorted(np.argsort(-distances, kind="stable")[:count].tolist())
