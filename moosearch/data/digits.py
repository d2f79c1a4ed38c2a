"""Scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, shipped with the package."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from moosearch.data.dataset import DATASETS, Split, Splits
from moosearch.data.tasks import DIGIT_TASKS, Task, select

VAL, TEST = 360, 360


@DATASETS.register("digits")
@dataclass(frozen=True)
class Digits:
    """Scikit-learn's digits: 1,077 train, 360 validation, 360 test images of 1x8x8, ten classes.

    The splits are stratified and always the same. Pixels 0..16 are divided by 16.

    Attributes:
        auxiliary: Auxiliary tasks, of ``odd_even`` and ``prime_composite``.

    Source: UCI "Optical Recognition of Handwritten Digits", test part (Alpaydin & Kaynak 1998).
    """

    auxiliary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names of the tasks."""
        select(self.auxiliary, DIGIT_TASKS)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, 8, 8)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The main task, then the auxiliary ones."""
        main = Task.main([str(digit) for digit in range(10)])
        return (main, *select(self.auxiliary, DIGIT_TASKS))

    def load(self) -> Splits:
        """Load the images."""
        digits = load_digits()
        x = torch.from_numpy((digits.images / 16.0).astype(np.float32)).unsqueeze(1)
        y = torch.from_numpy(digits.target.astype(np.int64))
        rest, test = train_test_split(
            np.arange(len(y)), test_size=TEST, stratify=digits.target, random_state=0
        )
        train, val = train_test_split(rest, test_size=VAL, stratify=digits.target[rest], random_state=0)
        return Splits(*(Split(x[rows], y[rows]) for rows in (train, val, test)))
