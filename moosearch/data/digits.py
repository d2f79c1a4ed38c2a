"""Scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, shipped with the package."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.images import ImageDataset, Images, Size, hold_out
from moosearch.data.tasks import DIGIT_TASKS, TaskSpec

VAL, TEST = 360, 360


@DATASETS.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits(ImageDataset):
    """Scikit-learn's digits: 1,077 train, 360 validation, 360 test images of 1x8x8, ten classes.

    Pixels 0..16 are divided by 16. Auxiliary tasks: ``odd_even`` and ``prime_composite``.

    Source: UCI "Optical Recognition of Handwritten Digits", test part (Alpaydin & Kaynak 1998).
    """

    val_size: Size = VAL

    CLASSES: ClassVar[tuple[str, ...]] = tuple("0123456789")
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = DIGIT_TASKS

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, 8, 8)

    def read(self, *, download: bool) -> Images:
        """Read scikit-learn's file, and hold out the test images."""
        from sklearn.datasets import load_digits  # takes a second to import

        digits = load_digits()
        x, y = (digits.images / 16.0).astype(np.float32), digits.target
        rest, test = hold_out("test", TEST, y)
        return Images("digits", x[rest], y[rest], x[test], y[test])
