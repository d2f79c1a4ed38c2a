"""Boxes of images, and the layers of pixels around an object that a layered neighborhood moves together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt

from moosearch.verify.piecewise import Matrix, Vector


@dataclass(frozen=True)
class Box:
    """All images between two: closed, and within [0, 1].

    Attributes:
        lower: (n,) the smallest values.
        upper: (n,) the largest values.
    """

    lower: Vector
    upper: Vector

    @classmethod
    def around(cls, x: Vector, radius: Vector | float) -> "Box":
        """Return the images within [0, 1] whose pixels are no farther than a radius, each its own.

        Args:
            x: (n,) the image, in [0, 1].
            radius: (n,) or one for all, in pixel units of [0, 1].

        Raises:
            ValueError: A radius is negative or no number.
        """
        if not np.all(np.asarray(radius) >= 0):
            raise ValueError("a radius is negative or no number")
        return cls(np.maximum(x - radius, 0.0), np.minimum(x + radius, 1.0))

    def project(self, x: Matrix) -> Matrix:
        """Return the nearest images of the box: (B, n) -> (B, n)."""
        return np.clip(x, self.lower, self.upper)

    def holds(self, x: Vector) -> bool:
        """Whether an image is in the box."""
        return bool(np.all(x >= self.lower) and np.all(x <= self.upper))


@dataclass(frozen=True)
class Layers:
    """The pixels around an object by distance (Mour 2023, section 2).

    Attributes:
        of: (H, W) the Chebyshev distance of every pixel from the object: 0 on it.
    """

    of: NDArray[np.int64]

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> "Layers":
        """Return the layers around an object.

        Args:
            mask: (H, W) its pixels.

        Raises:
            ValueError: There is no pixel in it.
        """
        if not mask.any():
            raise ValueError("the object has no pixels")
        return cls(distance_transform_cdt(~mask, metric="chessboard").astype(np.int64))

    @property
    def count(self) -> int:
        """Number of layers, r + 1."""
        return int(self.of.max()) + 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(r + 1,) pixels in each layer."""
        return np.bincount(self.of.ravel())

    def radius(self, eps: Vector, channels: int) -> Vector:
        """Return how far each number of an image may move: (r + 1,) -> (C * H * W,)."""
        return np.tile(eps[self.of].ravel(), channels)

    def neighborhood(self, x: Vector, eps: Vector) -> Box:
        """Return the layered neighborhood of an image: (C * H * W,) and (r + 1,).

        The paper's is open, this one is closed: what is proved of it holds for the paper's.
        """
        return Box.around(x, self.radius(eps, x.size // self.of.size))

    def largest(self, distance: Vector) -> Vector:
        """Return the largest value in each layer: (C * H * W,) -> (r + 1,)."""
        found = np.zeros(self.count)
        np.maximum.at(found, np.tile(self.of.ravel(), distance.size // self.of.size), distance)
        return found

    def total(self, values: Vector) -> Vector:
        """Return the sum over each layer: (C * H * W,) -> (r + 1,)."""
        of = np.tile(self.of.ravel(), values.size // self.of.size)
        return np.asarray(np.bincount(of, weights=values), dtype=np.float64)

    def mean(self, values: Vector) -> Vector:
        """Return the mean over each layer: (C * H * W,) -> (r + 1,)."""
        return np.asarray(self.total(values) / (self.sizes * (values.size // self.of.size)))
