"""What a dataset is: three splits of images in [0, 1], and the tasks that its classes define."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from moosearch.data.tasks import Labels, Task
from moosearch.registry import Registry


@dataclass(frozen=True)
class Split:
    """Images and main labels, all in memory of one device.

    Attributes:
        x: (N, C, H, W) float32 in [0, 1].
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

    def batches(self, size: int, generator: Generator | None = None) -> Iterator["Split"]:
        """Cut into batches of ``size``, in order, or shuffled by a CPU generator.

        A last batch of a single image is left out of a shuffled pass: batch normalization cannot train
        on it.
        """
        if generator is None:
            for start in range(0, len(self), size):
                yield Split(self.x[start : start + size], self.y[start : start + size])
            return
        order = torch.randperm(len(self), generator=generator).to(self.y.device)
        for rows in torch.split(order, size):
            if len(rows) > 1 or len(self) == 1:
                yield Split(self.x[rows], self.y[rows])


@dataclass(frozen=True)
class Splits:
    """Train, validation and test; selection uses validation, and only confirmation uses test."""

    train: Split
    val: Split
    test: Split


class Dataset(Protocol):
    """A plug-in: real images with labels.

    Implementations are frozen dataclasses with a field ``auxiliary``, the names of auxiliary tasks.
    """

    auxiliary: tuple[str, ...]

    def __hash__(self) -> int:
        """Hash the fields: a process loads equal datasets once."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The main task, then the auxiliary ones."""
        ...

    def load(self) -> Splits:
        """Load the images.

        Raises:
            DataUnavailableError: Files are missing.
        """
        ...


DATASETS: Registry[Dataset] = Registry("dataset")


def labels_of(tasks: tuple[Task, ...], main: Tensor) -> Labels:
    """Map (B,) main labels to the labels of every task."""
    return tuple(task.labels(main) for task in tasks)
