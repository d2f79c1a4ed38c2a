"""The fast attack of verification: projected gradient ascent on what pushes the target out."""

import numpy as np
from numpy.typing import NDArray

from moosearch.verify.box import Box
from moosearch.verify.piecewise import Matrix, Piecewise, Vector


def margins(logits: Matrix, target: int, top: int) -> Vector:
    """Return by how much the target misses the top labels: the top-th largest of ``F_c - F_t``.

    It is 0 or more where the target may not be among the top labels any more: ties count as lost.

    Args:
        logits: (B, K).
        target: The target's class.
        top: How many labels an image has, less than K.

    Returns:
        (B,).
    """
    others = np.delete(logits - logits[:, [target]], target, axis=1)
    return np.asarray(-np.partition(-others, top - 1, axis=1)[:, top - 1])


def attack(
    network: Piecewise,
    box: Box,
    target: int,
    *,
    top: int,
    restarts: int,
    steps: int,
    generator: np.random.Generator,
    starts: Matrix | None = None,
) -> tuple[Vector, float]:
    """Look for the image of a box with the largest margin.

    Half of the restarts climb the top-th largest difference, half the sum of the largest ones: the first
    has no gradient for a class that is about to come up.

    Args:
        network: The network.
        box: Images.
        target: The target's class.
        top: How many labels an image has.
        restarts: Random starts: the middle, then corners and inner points by turns.
        steps: Steps of each.
        generator: Source of random numbers.
        starts: (S, n) other images to start from, such as earlier finds; they are brought into the box.

    Returns:
        (n,) the image and its margin, see `margins`.
    """
    half, middle = (box.upper - box.lower) / 2, (box.upper + box.lower) / 2
    offsets = generator.uniform(-1, 1, (restarts, half.size))
    offsets[0] = 0
    offsets[1::2] = np.sign(offsets[1::2])
    x = middle + half * offsets
    if starts is not None and len(starts):
        x = np.concatenate([x, box.project(starts)])
    summed = np.arange(len(x)) % 4 < 2
    best, highest = x[0], -np.inf
    for number in range(steps + 1):
        logits = network(x)
        reached = margins(logits, target, top)
        leader = int(reached.argmax())
        if reached[leader] > highest:
            best, highest = x[leader].copy(), float(reached[leader])
        if highest >= 0 or number == steps:
            break
        slope = network.gradient(x, _climbed(logits, target, top, summed))
        size = max(1 - number / steps, 0.05)
        x = box.project(x + size * half * np.sign(slope))
    return best, highest


def _climbed(logits: Matrix, target: int, top: int, summed: NDArray[np.bool_]) -> Matrix:
    """Return the sums of logits that are climbed: (B, K)."""
    rows = np.arange(len(logits))
    apart = logits.copy()
    apart[:, target] = -np.inf
    order = np.argsort(-apart, axis=1)[:, :top]
    weights = np.zeros_like(logits)
    weights[rows, order[:, -1]] = 1
    weights[rows[summed, None], order[summed]] = 1 / top
    weights[:, target] = -1
    return weights
