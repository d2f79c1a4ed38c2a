"""Image files to arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from moosearch.data.cache import cached, stamp
from moosearch.data.images import Array
from moosearch.errors import SpecError


def decode(what: str, paths: Sequence[Path], size: int, *, crop: bool) -> Array:
    """Decode image files as RGB, from their copy in the cache where there is one.

    Args:
        what: What the files are, the same name for the same files.
        paths: N files.
        size: Height and width to give.
        crop: Whether to resize the shorter side and cut out the middle, instead of resizing both sides.

    Returns:
        (N, size, size, 3) bytes.

    Raises:
        OSError: A file is missing.
        SpecError: A file is no image.
    """
    version = "\n".join(stamp(path) for path in paths)
    return cached(f"{what} {size} {crop}", version, lambda: {"x": _decode(paths, size, crop=crop)})["x"]


def _decode(paths: Sequence[Path], size: int, *, crop: bool) -> Array:
    from torchvision.transforms.v2 import CenterCrop, Compose, Resize

    fit = Compose([Resize(size), CenterCrop(size)]) if crop else Resize((size, size))
    x = np.empty((len(paths), size, size, 3), np.uint8)
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                x[row] = np.asarray(fit(image.convert("RGB")))
        except UnidentifiedImageError:
            raise SpecError(f"{path}: this is no image that can be read.") from None
    return x
