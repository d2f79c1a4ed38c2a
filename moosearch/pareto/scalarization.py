"""Several losses as one number. Pure arithmetic: numpy arrays and torch tensors alike."""

from collections.abc import Sequence
from typing import Any


def conic_scalarization(
    losses: Sequence[Any], *, preference: Sequence[float], reference: Sequence[float], gamma: float
) -> Any:
    """Return ``sum_i k_i (L_i - a_i) + gamma * sum_i |L_i - a_i|``.

    It grows with every loss, by ``k_i + gamma`` above the reference point and by ``k_i - gamma`` below it:
    with ``gamma = 0``, or where all losses are above, it is a weighted sum.

    Args:
        losses: J losses L: numbers, or arrays or tensors of one shape.
        preference: J weights k, > 0.
        reference: J coordinates of the reference point a.
        gamma: Augmentation, in [0, min(k)).

    Returns:
        A value of the type and shape of one loss.

    Raises:
        ValueError: The lengths differ, or a weight or ``gamma`` is out of range.

    Example:
        >>> conic_scalarization([3.0, 0.5], preference=[1.0, 2.0], reference=[1.0, 1.0], gamma=0.5)
        2.25

    Source: Kasimbeyli 2013; Hotegni & Peitz 2024, CS(k, gamma, a).
    """
    if not 0 < len(losses) == len(preference) == len(reference):
        raise ValueError(
            f"got {len(losses)} losses, {len(preference)} weights and {len(reference)} coordinates of the "
            "reference point, expected as many of each, at least one"
        )
    if not all(k > 0 for k in preference):
        raise ValueError(f"preference: got {list(preference)}, expected weights > 0")
    if not 0 <= gamma < min(preference):
        raise ValueError(f"gamma: got {gamma}, expected at least 0 and less than {min(preference)}")
    distances = [loss - a for loss, a in zip(losses, reference, strict=True)]
    return sum(k * d + gamma * abs(d) for k, d in zip(preference, distances, strict=True))
