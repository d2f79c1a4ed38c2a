"""Is an image certified: do its labels stay the top ones within a distance, whatever its pixels do?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from moosearch.data import Split
from moosearch.verify.box import Box
from moosearch.verify.falsify import margins
from moosearch.verify.piecewise import Piecewise, Vector
from moosearch.verify.verifier import Effort, Verifier

Standing = Literal["robust", "vulnerable", "unknown", "wrong"]


@dataclass(frozen=True)
class Certificate:
    """What is known of an image.

    Attributes:
        standing: ``robust``: proved for every label; ``vulnerable``: there is a witness; ``unknown``;
            ``wrong``: misclassified as it is.
        ways: What answered for how many labels, and how.
        seconds: Wall-clock time.
        margin: The largest margin that was met, see `margins`: 0 or more for a witness.
    """

    standing: Standing
    ways: tuple[str, ...]
    seconds: float
    margin: float


def points(images: Split) -> list[tuple[Vector, tuple[int, ...]]]:
    """Return every image as verification takes it: (n,) float64 in [0, 1], and its labels."""
    x = images.pixels().cpu().to(torch.float64).flatten(1).numpy()
    y = images.y.cpu().numpy()
    labels = [tuple(np.flatnonzero(row).tolist()) if np.ndim(row) else (int(row),) for row in y]
    return list(zip(x, labels, strict=True))


def certify(
    network: Piecewise, x: Vector, labels: Sequence[int], eps: float, effort: Effort, *, seed: int = 0
) -> Certificate:
    """Verify an image for each of its labels, until one is not robust.

    Args:
        network: The network.
        x: (n,) the image, in [0, 1].
        labels: Its classes; as many as are top labels.
        eps: How far each pixel may move, in pixel units of [0, 1].
        effort: How hard to try.
        seed: Of the attack.
    """
    verifier = Verifier(network, len(labels), effort, seed)
    margin = max(float(margins(network(x[None]), label, len(labels))[0]) for label in labels)
    if margin >= 0:
        return Certificate("wrong", (), 0.0, margin)
    answers, worst = Counter[str](), -np.inf
    for label in labels:
        verdict = verifier.verify(Box.around(x, eps), label)
        answers[verdict.answer] += 1
        worst = max(worst, verdict.margin)
        if verdict.answer == "vulnerable":
            break
    standing: Standing = (
        "vulnerable" if answers["vulnerable"] else "unknown" if answers["unknown"] else "robust"
    )
    ways = tuple(f"{way}: {answer}" for way, answer in verifier.queries.elements())
    return Certificate(standing, ways, sum(verifier.seconds.values()), worst)
