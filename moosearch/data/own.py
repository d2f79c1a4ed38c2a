"""Images of a user's own to judge a network with: the network says what they must look like."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moosearch.data.dataset import Split
from moosearch.data.image_folder import folders_of_classes, read_folder
from moosearch.data.images import Array, check_images, check_main, to_split
from moosearch.data.npz import read_own
from moosearch.data.tasks import Task
from moosearch.errors import SpecError, nearest


def own_images(path: Path, shape: tuple[int, int, int], task: Task) -> Split:
    """Read labeled images.

    Args:
        path: An .npz file with images ``x_test`` and labels ``y_test``, or ``x`` and ``y``: uint8, or
            float32 in [0, 1], (N, H, W) or (N, H, W, C), and class numbers from 0, or (N, K) rows of ones
            and zeros where an image has several labels. Or, where it has one, a folder with a folder of
            images for each class that there is, called like it: read as squares in color.
        shape: (C, H, W) of the network's images.
        task: Its main task.

    Raises:
        DataUnavailableError: There is no such file or folder.
        SpecError: It does not hold what the network needs.
    """
    if path.is_dir():
        if task.top > 1:
            raise SpecError(
                f"{path}: folders of classes give one label an image, expected {task.top}: an .npz."
            )
        x, y = _from_folders(path, shape[1], task.groups)
        images, labels = str(path), str(path)
    else:
        members = read_own(str(path))
        x, y = members[1], members[3]
        images, labels = (f"{path}: {name}" for name in (members[0], members[2]))
    check_images(images, x)
    found = (x.shape[3] if x.ndim == 4 else 1, *x.shape[1:3])
    if found != shape:
        sizes = (" x ".join(map(str, size)) for size in (found, shape))
        raise SpecError(
            "{}: found images of {} (channels, height, width), expected {}.".format(images, *sizes)
        )
    check_main(labels, y, len(x), task)
    return to_split(x, y)


def _from_folders(path: Path, size: int, classes: Sequence[str]) -> tuple[Array, Array]:
    names = folders_of_classes(path)
    for name in names:
        if name not in classes:
            raise SpecError(f"{path}: the network has no class '{name}'. {nearest(name, classes)}")
    x, y = read_folder(path, size)
    return x, np.array([classes.index(name) for name in names])[y]
