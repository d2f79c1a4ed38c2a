"""MNIST, Fashion-MNIST and SVHN: ten classes each."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.images import Images
from moosearch.data.published import InMemory, Published
from moosearch.data.tasks import DIGIT_TASKS, TaskSpec

_IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


@DATASETS.register("mnist")
@dataclass(frozen=True, kw_only=True)
class Mnist(InMemory):
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 1x28x28.

    Auxiliary tasks: ``odd_even`` and ``prime_composite``.

    Source: LeCun et al. 1998; tasks of Hyun & Park 2024, table 2.
    """

    TORCHVISION: ClassVar[str] = "MNIST"
    FILES: ClassVar[tuple[str, ...]] = tuple(f"MNIST/raw/{name}" for name in _IDX)
    SHAPE: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    CLASSES: ClassVar[tuple[str, ...]] = tuple("0123456789")
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = DIGIT_TASKS


@DATASETS.register("fashion_mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist(InMemory):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 1x28x28, ten classes.

    Source: Xiao et al. 2017.
    """

    TORCHVISION: ClassVar[str] = "FashionMNIST"
    FILES: ClassVar[tuple[str, ...]] = tuple(f"FashionMNIST/raw/{name}" for name in _IDX)
    SHAPE: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    CLASSES: ClassVar[tuple[str, ...]] = (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )


@DATASETS.register("svhn")
@dataclass(frozen=True, kw_only=True)
class Svhn(Published):
    """SVHN, cropped digits: 73,257 training and 26,032 test images of house numbers, 3x32x32, ten classes.

    Auxiliary tasks: ``odd_even`` and ``prime_composite``.

    Source: Netzer et al. 2011; tasks of Hyun & Park 2024, table 2.
    """

    FILES: ClassVar[tuple[str, ...]] = ("train_32x32.mat", "test_32x32.mat")
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    CLASSES: ClassVar[tuple[str, ...]] = tuple("0123456789")
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = DIGIT_TASKS

    def read_files(self, root: Path, *, download: bool) -> Images:
        """Read both parts; torchvision gives (N, C, H, W)."""
        from torchvision.datasets import SVHN

        train, test = (SVHN(root, split=part, download=download) for part in ("train", "test"))
        x_train, x_test = (np.transpose(part.data, (0, 2, 3, 1)) for part in (train, test))
        return Images(str(root), x_train, train.labels, x_test, test.labels)
