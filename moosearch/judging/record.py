"""What a judgment says, as plain data for JSON and tables: counts, intervals, distances, speed."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Annotated, Any

from torch import Tensor

from moosearch.attacks import ATTACKS, Attack
from moosearch.judging.measure import Attacked, Judgment
from moosearch.registry import to_tree

CONFIDENCE = 0.95


def wilson(correct: int, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a fraction: (low, high) in [0, 1].

    Args:
        correct: Images that count, in [0, images].
        images: Number of images, > 0.
        confidence: How often such intervals hold the true fraction, in (0, 1).

    Source: Wilson 1927, eq. 7.
    """
    # SciPy has it too, but takes a second to import, in every worker.
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, weight = correct / images, z * z / images
    middle, half = p + weight / 2, z * math.sqrt((p * (1 - p) + weight / 4) / images)
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    return (0.0 if correct == 0 else low), (1.0 if correct == images else high)


def share(marks: Tensor) -> dict[str, Any]:
    """Return what (N,) booleans say: ``correct``, ``accuracy`` and its Wilson ``interval``."""
    correct, images = int(marks.sum()), len(marks)
    return {"correct": correct, "accuracy": correct / images, "interval": list(wilson(correct, images))}


def record(judgment: Judgment) -> dict[str, Any]:
    """Return a judgment as plain data.

    Returns:
        ``images``; ``clean`` and ``worst_case`` as `share` writes them; ``average_robust`` (None without
        attacks); ``attacks``: by name a `share` with the ``attack`` as in a search space file, its ``norm``
        and ``eps``, ``mean_distance`` of the images fooled (None where there are none), ``seconds``,
        ``images_per_second`` (None where no image was attacked) and ``doubt``.
    """
    average = judgment.average_robust
    return {
        "images": len(judgment.clean),
        "clean": share(judgment.clean),
        "worst_case": share(judgment.worst_case),
        "average_robust": None if math.isnan(average) else average,
        "attacks": {name: _attacked(each) for name, each in judgment.attacked.items()},
    }


def table(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a record as rows: ``clean``, the attacks by name, ``worst_case`` and ``average_robust``.

    Returns:
        Rows with ``attack``, ``correct``, ``accuracy``, ``low`` and ``high``, and what else is known of it.
    """
    marked = {"clean": told["clean"], **told["attacks"], "worst_case": told["worst_case"]}
    rows = [
        {"attack": name, **{key: value for key, value in each.items() if key not in ("attack", "interval")}}
        | dict(zip(("low", "high"), each["interval"], strict=True))
        for name, each in marked.items()
    ]
    return [*rows, {"attack": "average_robust", "accuracy": told["average_robust"]}]


def attack_tree(attack: Attack) -> Any:
    """Return an attack as in a search space file."""
    return to_tree(attack, Annotated[Attack, ATTACKS])


def _attacked(each: Attacked) -> dict[str, Any]:
    fooled = each.distance[~each.distance.isnan()]
    return share(each.robust) | {
        "attack": attack_tree(each.attack),
        "norm": each.attack.norm,
        "eps": each.attack.eps,
        "mean_distance": float(fooled.mean()) if len(fooled) else None,
        "seconds": each.seconds,
        "images_per_second": each.images / each.seconds if each.images and each.seconds else None,
        "doubt": each.doubt,
    }
