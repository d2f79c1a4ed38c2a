"""Images of two digits: multi-label images as in DOUBLE-MNIST, composed from images of one."""

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from moosearch.data.dataset import DATASETS
from moosearch.data.digits import Digits
from moosearch.data.images import Array, ImageDataset, Images, Size, resized
from moosearch.data.mnist import Mnist
from moosearch.data.scenes import Scenes, compose
from moosearch.errors import SpecError
from moosearch.registry import Count
from moosearch.seeding import derive_seed, numpy_generator


@DATASETS.register("double_digits")
@dataclass(frozen=True, kw_only=True)
class DoubleDigits(ImageDataset):
    """Two digits of different classes on black, at random places that do not overlap: two labels an image.

    Training images are composed from training images of the source, test images from its test images.

    Attributes:
        source: Whose digits: ``mnist`` or scikit-learn's ``digits``.
        canvas: Height and width of an image.
        digit: Digits are resized to ``digit`` x ``digit`` first; 0 leaves them as they are, 28 or 8.
        images: How many to compose for training and validation.
        test_images: How many to compose for the test.
        seed: Decides pairs and places.
        root: Folder of MNIST, see there.
        download: Whether MNIST may be downloaded.
        npz: An .npz file with MNIST instead.

    Source: Mour 2023, section 4; the data set is of Sun 2019.
    """

    source: Literal["mnist", "digits"] = "mnist"
    canvas: Count = 64
    digit: Size = 0
    images: Count = 20_000
    test_images: Count = 1000
    seed: Size = 0
    root: str = ""
    download: bool = True
    npz: str = ""

    CLASSES: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def __post_init__(self) -> None:
        """Check that two digits fit, and that no field speaks of another source.

        Raises:
            SpecError: They do not, or one does.
        """
        super().__post_init__()
        side = self.digit or (28 if self.source == "mnist" else 8)
        if self.canvas < 2 * side:
            raise SpecError(f"canvas: got {self.canvas}, expected at least {2 * side}: two digits of {side}.")
        if self.source == "digits" and (self.npz or self.root):
            raise SpecError("npz and root: of MNIST alone; the source is digits.")

    @property
    def top(self) -> int:
        """Two labels an image."""
        return 2

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, self.canvas, self.canvas)

    def read(self, *, download: bool) -> Images:
        """Read the source, and compose, once in a process."""
        return _read(self, download=download)

    def _read(self, *, download: bool) -> Images:
        source: ImageDataset = Digits()
        if self.source == "mnist":
            source = Mnist(root=self.root, download=self.download, npz=self.npz)
        images = source.read(download=download)
        train = self._composed("train", images.x_train, images.y_train, self.images)
        test = self._composed("test", images.x_test, images.y_test, self.test_images)
        labels = (each.multi_hot(len(self.CLASSES)) for each in (train, test))
        y_train, y_test = labels
        return Images(images.source, train.x, y_train, test.x, y_test, regions_test=test.regions)

    def _composed(self, part: str, x: Array, y: Array, count: int) -> Scenes:
        generator = numpy_generator(derive_seed(self.seed, f"{part} scenes"))
        digits = resized(torch.from_numpy(_bytes(x)).unsqueeze(1), self.digit).squeeze(1).numpy()
        return compose(digits, y.astype(np.int64), count, canvas=self.canvas, generator=generator)


@functools.lru_cache(maxsize=1)
def _read(dataset: DoubleDigits, *, download: bool) -> Images:
    return dataset._read(download=download)


def _bytes(x: Array) -> NDArray[np.uint8]:
    """Return a copy of images as bytes; scikit-learn's are fractions."""
    return np.array(x if x.dtype == np.uint8 else np.rint(255 * x), dtype=np.uint8)
