"""Images of two objects, composed from images of one, with the pixels of each object (DOUBLE-MNIST style)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moosearch.errors import SpecError

TRIES = 1000
"""How often places are drawn for an image before its canvas is called too small."""


@dataclass(frozen=True)
class Scenes:
    """Images of two objects of different classes.

    Attributes:
        x: (N, H, W) uint8 images.
        objects: (N, 2) int64 class of each object.
        regions: (N, H, W) uint8: on the pixels of an object its class plus 1, elsewhere 0.
    """

    x: NDArray[np.uint8]
    objects: NDArray[np.int64]
    regions: NDArray[np.uint8]

    def multi_hot(self, classes: int) -> NDArray[np.int64]:
        """Return the labels as rows of ones and zeros: (N, K)."""
        found = np.zeros((len(self.objects), classes), dtype=np.int64)
        np.put_along_axis(found, self.objects, 1, axis=1)
        return found


def compose(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    count: int,
    *,
    canvas: int,
    generator: np.random.Generator,
) -> Scenes:
    """Compose images of two objects of different classes, at random places that do not overlap.

    Args:
        x: (N, h, w) images of bright objects on black.
        y: (N,) their classes, of which there are at least two.
        count: How many to compose.
        canvas: Height and width of the composed images.
        generator: Source of random numbers.

    Raises:
        SpecError: Two objects do not fit on the canvas side by side.
    """
    pairs = _pairs(y, count, generator)
    scenes = np.zeros((count, canvas, canvas), dtype=np.uint8)
    regions = np.zeros_like(scenes)
    for number, pair in enumerate(pairs):
        crops = [_cropped(x[row]) for row in pair]
        for row, crop, (top, left) in zip(pair, crops, _places(crops, canvas, generator), strict=True):
            here = np.s_[number, top : top + crop.shape[0], left : left + crop.shape[1]]
            scenes[here] = crop
            regions[here] = np.where(crop > 0, y[row] + 1, 0)
    return Scenes(scenes, y[pairs], regions)


def _pairs(y: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows of different classes: (count, 2)."""
    pairs = generator.integers(len(y), size=(count, 2))
    while (same := y[pairs[:, 0]] == y[pairs[:, 1]]).any():
        pairs[same, 1] = generator.integers(len(y), size=int(same.sum()))
    return pairs


def _cropped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off what is black all around."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows):
        raise SpecError("an image that is black all over shows no object.")
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _places(
    crops: list[NDArray[np.uint8]], canvas: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw the upper left corners of rectangles that do not overlap."""
    (h1, w1), (h2, w2) = (crop.shape for crop in crops)
    if max(h1, h2, w1, w2) <= canvas:
        for _ in range(TRIES):
            t1, l1 = int(generator.integers(canvas - h1 + 1)), int(generator.integers(canvas - w1 + 1))
            t2, l2 = int(generator.integers(canvas - h2 + 1)), int(generator.integers(canvas - w2 + 1))
            if t1 + h1 <= t2 or t2 + h2 <= t1 or l1 + w1 <= l2 or l2 + w2 <= l1:
                return [(t1, l1), (t2, l2)]
    raise SpecError(
        f"canvas: objects of {h1} x {w1} and {h2} x {w2} pixels do not fit on {canvas} x {canvas} without "
        "overlap."
    )
