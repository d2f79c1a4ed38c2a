"""What pixels say of classes: how far they lie apart, and which are alike."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moosearch.data.tasks import TaskSpec

CHUNK = 1024
"""Images of a class whose distances are taken at once."""


def inter_class_variance(x: Tensor, y: Tensor) -> float:
    """Return the mean distance between images of different classes.

    It is the mean, over all ordered pairs of classes, of the mean Euclidean distance between an image of the
    one and an image of the other; every pair of images counts.

    Args:
        x: (N, ...) float images in [0, 1].
        y: (N,) class numbers of two or more classes.

    Source: Hyun & Park 2024, eq. 8.
    """
    flat = x.flatten(1)
    # Distances do not change, and are more precise, when the mean is taken away.
    flat = flat - flat.mean(dim=0)
    classes = [flat[y == label] for label in torch.unique(y)]
    # The distance is symmetric: unordered pairs have the same mean as ordered ones.
    means = [_mean_distance(first, second) for i, first in enumerate(classes) for second in classes[i + 1 :]]
    return float(torch.stack(means).mean())


def _mean_distance(first: Tensor, second: Tensor) -> Tensor:
    """(n, d), (m, d) -> mean of the n x m distances, float64."""
    total = torch.zeros((), dtype=torch.float64, device=first.device)
    for a in torch.split(first, CHUNK):
        for b in torch.split(second, CHUNK):
            total += torch.cdist(a, b).sum(dtype=torch.float64)
    return total / (len(first) * len(second))


def similar_classes(
    x: Tensor, y: Tensor, groups: int, *, classes: Sequence[str] = (), name: str = "similar"
) -> TaskSpec:
    """Define a task for any dataset: classes whose mean images are alike form a group.

    Mean images are clustered with Ward's method, so that groups are compact and of similar size.

    Args:
        x: (N, ...) float images.
        y: (N,) class numbers, each of 0 to K - 1 at least once.
        groups: Number of groups, from 2 to K.
        classes: Names of the K classes; without them the task holds numbers.
        name: Name of the task.

    Raises:
        ValueError: There are not that many groups.
    """
    from sklearn.cluster import AgglomerativeClustering  # takes a second to import

    labels = torch.unique(y).tolist()
    if not 2 <= groups <= len(labels):
        raise ValueError(f"groups: got {groups}, expected 2 to {len(labels)}, the number of classes")
    means = torch.stack([x[y == label].flatten(1).mean(dim=0) for label in labels])
    clusters = AgglomerativeClustering(n_clusters=groups).fit_predict(means.cpu().numpy()).tolist()
    members: dict[int, list[str | int]] = {}
    for label, cluster in zip(labels, clusters, strict=True):
        members.setdefault(cluster, []).append(classes[label] if classes else label)
    return TaskSpec(name, {f"group_{i}": of for i, of in enumerate(members.values(), start=1)})
