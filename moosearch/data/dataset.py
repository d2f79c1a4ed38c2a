"""What a dataset is: three splits of images in [0, 1], and the tasks that its classes define."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from moosearch.data.tasks import Labels, Task
from moosearch.registry import Registry

CHUNK = 256
"""Images that are converted at once where all are gone through."""


@dataclass(frozen=True)
class Split:
    """Images and main labels, all in memory of one device.

    Attributes:
        x: (N, C, H, W) images, float32 in [0, 1], or uint8 that stands for x / 255.
        y: (N,) int64 main labels in [0, K).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.y)

    def to(self, device: torch.device) -> "Split":
        """Return the split on a device."""
        return Split(self.x.to(device), self.y.to(device))

    def first(self, most: int) -> "Split":
        """Return the first images; all for 0."""
        return Split(self.x[: most or None], self.y[: most or None])

    def pixels(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """Return images as float32 in [0, 1]; a slice of images that are stored so is not copied."""
        x = self.x[rows]
        return x if x.is_floating_point() else x.to(torch.float32).div_(255)

    def batches(self, size: int, generator: Generator | None = None) -> Iterator["Split"]:
        """Cut into batches of ``size`` with float32 images, in order, or shuffled by a CPU generator.

        A last batch of a single image is left out of a shuffled pass: batch normalization cannot train
        on it.
        """
        if generator is None:
            for start in range(0, len(self), size):
                rows = slice(start, start + size)
                yield Split(self.pixels(rows), self.y[rows])
            return
        order = torch.randperm(len(self), generator=generator).to(self.y.device)
        for drawn in torch.split(order, size):
            if len(drawn) > 1 or len(self) == 1:
                yield Split(self.pixels(drawn), self.y[drawn])

    def steps(self, size: int) -> int:
        """Return the number of batches of a shuffled pass."""
        whole, rest = divmod(len(self), size)
        return whole + (rest > 1 or len(self) == 1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every channel of the pixels: two (C,) float32 tensors.

        Sums are taken in float64, in which those of stored bytes are exact: the order of images and the
        device make no difference.
        """
        count = len(self) * self.x.shape[2] * self.x.shape[3]
        sums = torch.zeros(2, self.x.shape[1], dtype=torch.float64, device=self.x.device)
        for part in torch.split(self.x, CHUNK):
            values = part.to(torch.float64)
            sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        total, squares = sums
        variance = (squares - total.square() / count).clamp_min(0) / max(count - 1, 1)
        scale = 1 if self.x.is_floating_point() else 255
        return (total / count / scale).float(), (variance.sqrt() / scale).float()


@dataclass(frozen=True)
class Splits:
    """Train, validation and test; selection uses validation, and only confirmation uses test."""

    train: Split
    val: Split
    test: Split


class Dataset(Protocol):
    """A plug-in: real images with labels.

    Implementations are frozen dataclasses with a field ``auxiliary``, the names of auxiliary tasks.
    `moosearch.data.images.ImageDataset` does most of the work.
    """

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Names of the auxiliary tasks."""
        ...

    @property
    def train_size(self) -> int:
        """Training images, where that is known without loading them; else 0. It may be left out."""
        return 0

    def __hash__(self) -> int:
        """Hash the fields: a process loads equal datasets once."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W), known without loading images."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The main task, then the auxiliary ones; known without loading images."""
        ...

    def prepare(self) -> int | None:
        """See that the images are there and as they should be, and download them where that is possible.

        Returns:
            Bytes of the splits that `load` gives; None where it does not say.

        Raises:
            DataUnavailableError: Files are missing; the message says which, and where to put them.
            SpecError: The files do not hold what they should, or a field does not fit them.
        """
        ...

    def load(self) -> Splits:
        """Load the images.

        Raises:
            DataUnavailableError: Files are missing.
            SpecError: The files do not hold what they should, or a field does not fit them.
        """
        ...


DATASETS: Registry[Dataset] = Registry("dataset", protocol=Dataset, optional=("train_size",))


def labels_of(tasks: tuple[Task, ...], main: Tensor) -> Labels:
    """Map (B,) main labels to the labels of every task."""
    return tuple(task.labels(main) for task in tasks)
