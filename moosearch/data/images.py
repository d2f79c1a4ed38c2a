"""What datasets of images share: common fields, checks, and stratified splits that are always the same."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from moosearch.data.dataset import CHUNK, Split, Splits
from moosearch.data.tasks import Task, TaskSpec, select
from moosearch.errors import SpecError

Size = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]
Array = NDArray[Any]

VAL = 1000
"""Validation images where no number is given, unless that is more than a fifth of the training images."""


@dataclass(frozen=True)
class Images:
    """Images and labels as files hold them.

    Attributes:
        source: The file or folder, for messages.
        x_train: (N, H, W) or (N, H, W, C), uint8, or float32 in [0, 1].
        y_train: (N,) class numbers.
        x_test: Test images, like the training images.
        y_test: Their class numbers.
        tracks: (N,) what training images belong together, such as the frames of one sign; they all go to
            training or all to validation.
        regions_test: (N, H, W) the object that each pixel of the test images belongs to: its class, plus 1;
            0 for none.

    Labels of images that have several are (N, K) rows of ones and zeros.
    """

    source: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    tracks: Array | None = None
    regions_test: Array | None = None


@dataclass(frozen=True, kw_only=True)
class ImageDataset(ABC):
    """Common fields of image datasets; a dataset says its classes and its shape, and reads its files.

    Attributes:
        auxiliary: Names of auxiliary tasks: shipped ones or those of ``own_tasks``.
        own_tasks: Tasks defined here: groups of classes.
        size: Images are resized to ``size`` x ``size``; 0 leaves them as they are.
        train_size: Training images, drawn by class; 0 takes all that validation leaves.
        val_size: Validation images, split off the training images by class; 0 takes 1,000, or a fifth where
            that is less, and one a class at least.
        test_size: Test images, drawn by class; 0 takes all.
    """

    auxiliary: tuple[str, ...] = ()
    own_tasks: tuple[TaskSpec, ...] = ()
    size: Size = 0
    train_size: Size = 0
    val_size: Size = 0
    test_size: Size = 0

    CLASSES: ClassVar[tuple[str, ...]] = ()
    """Names of the classes, where they are the same for any files."""
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = ()
    """Auxiliary tasks that come with the dataset."""

    def __post_init__(self) -> None:
        """Check the names of tasks, and their classes where these are known without files."""
        names = [task.name for task in self.SHIPPED]
        for task in self.own_tasks:
            if task.name in names:
                raise SpecError(f"own_tasks: there is a task '{task.name}' already; give yours another name.")
            names.append(task.name)
            if self.CLASSES:
                task.task(self.CLASSES)
        select(self.auxiliary, (*self.SHIPPED, *self.own_tasks))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes; known without loading images."""
        return self.CLASSES

    @property
    def top(self) -> int:
        """How many labels an image has."""
        return 1

    @property
    @abstractmethod
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) before resizing; known without loading images."""

    @abstractmethod
    def read(self, *, download: bool) -> Images:
        """Read the files.

        Args:
            download: Whether files that are missing may be downloaded.

        Raises:
            DataUnavailableError: Files are missing.
            SpecError: The files are not what they should be.
        """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.stored_shape
        return (channels, self.size or height, self.size or width)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The main task, then the auxiliary ones."""
        classes = self.class_names
        if self.auxiliary and self.top > 1:
            raise SpecError(f"auxiliary: images with {self.top} labels have no groups, expected no task.")
        own = [task.task(classes) for task in self.own_tasks]
        shipped = [task.within(classes).task(classes) for task in self.SHIPPED if task.name in self.auxiliary]
        by_name = {task.name: task for task in (*shipped, *own)}
        return (Task.main(classes, self.top), *(by_name[name] for name in self.auxiliary))

    def prepare(self) -> int:
        """Check files, fields and tasks; download what is missing where that is possible.

        Returns:
            Bytes of the splits that `load` gives.
        """
        images = self._checked(download=True)
        rows = sum(map(len, self._rows(images)))
        self.tasks  # noqa: B018 (own tasks are checked against the classes of the files)
        labels = math.prod(images.y_train.shape[1:]) * np.dtype(np.int64).itemsize
        size: int = math.prod(self.shape) * images.x_train.dtype.itemsize + labels
        return rows * size

    def load(self) -> Splits:
        """Load the images."""
        images = self._checked(download=False)
        train, val, test = self._rows(images)
        return Splits(
            self._split(images.x_train, images.y_train, train),
            self._split(images.x_train, images.y_train, val),
            self._split(images.x_test, images.y_test, test),
        )

    def test_regions(self) -> Array | None:
        """Return what object each pixel of the test images belongs to, see `Images`; None if nobody knows.

        Raises:
            DataUnavailableError: Files are missing.
            SpecError: The images are resized.
        """
        images = self._checked(download=False)
        if images.regions_test is None:
            return None
        if self.size:
            raise SpecError(f"size: got {self.size}, expected 0: pixels of objects are not resized.")
        regions: Array = images.regions_test[self._rows(images)[2]]
        return regions

    def _checked(self, *, download: bool) -> Images:
        images = self.read(download=download)
        check(images, self.class_names, self.top)
        return images

    def _rows(self, images: Images) -> tuple[Array, Array, Array]:
        """Return the rows of training and validation images, and those of test images."""
        count = len(images.y_train)
        val_size = self.val_size or max(min(VAL, count // 5), len(self.class_names))
        train, val = hold_out("val_size", val_size, images.y_train, images.tracks)
        return (
            _some("train_size", self.train_size, images.y_train, train),
            val,
            _some("test_size", self.test_size, images.y_test, np.arange(len(images.y_test))),
        )

    def _split(self, x: Array, y: Array, rows: Array) -> Split:
        split = to_split(x[rows], y[rows])
        return Split(resized(split.x, self.size), split.y)


def to_split(x: Array, y: Array) -> Split:
    """Return images as files hold them as tensors: (N, H, W) or (N, H, W, C) -> (N, C, H, W)."""
    pixels = torch.from_numpy(np.ascontiguousarray(x))
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Split(pixels, torch.from_numpy(y.astype(np.int64)))


def hold_out(field: str, size: int, y: Array, tracks: Array | None = None) -> tuple[Array, Array]:
    """Split rows in two, by class and always in the same way.

    Args:
        field: The field that asks for ``size``, for messages.
        size: Rows to hold out. With tracks it is met in the mean: whole tracks are held out, at least
            as many as there are classes.
        y: (N,) class numbers; rows of images with several labels, (N, K), are split at random.
        tracks: (N,) what belongs together, or None.

    Returns:
        The rows that are left and those that are held out.

    Raises:
        SpecError: There are too few rows for that, or too many classes.
    """
    if tracks is not None:
        left, held = _hold_out_tracks(size / len(y), y, tracks)
        if not len(held):
            raise SpecError(f"{field}: nothing can be held out: the images of every class are of one track.")
        return left, held
    from sklearn.model_selection import train_test_split  # takes a second to import

    try:
        strata = y if y.ndim == 1 else None
        left, held = train_test_split(np.arange(len(y)), test_size=size, stratify=strata, random_state=0)
    except ValueError as error:
        raise SpecError(
            f"{field}: {size} of {len(y)} in {len(np.unique(y))} classes cannot be taken by class: {error}"
        ) from None
    return left, held


def _hold_out_tracks(share: float, y: Array, tracks: Array) -> tuple[Array, Array]:
    """Split rows in two: a share of every class's tracks is held out, at least one where there are two."""
    generator = np.random.default_rng(0)
    _, first, track_of = np.unique(tracks, return_index=True, return_inverse=True)
    held: list[int] = []
    for label in np.unique(y):
        own = generator.permutation(np.flatnonzero(y[first] == label))
        held += own[: min(max(1, round(share * len(own))), len(own) - 1)].tolist()
    rows = generator.permutation(len(y))
    apart = np.isin(track_of[rows], held)
    return rows[~apart], rows[apart]


def _some(field: str, size: int, y: Array, rows: Array) -> Array:
    """Return ``size`` of the rows, drawn by class; all where ``size`` is 0."""
    if size in (0, len(rows)):
        return rows
    chosen: Array = rows[hold_out(field, size, y[rows])[1]]
    return chosen


def resized(x: Tensor, size: int) -> Tensor:
    """Resize (N, C, H, W) images to ``size`` x ``size``, antialiased; bytes stay bytes. 0 leaves them."""
    if not size or tuple(x.shape[2:]) == (size, size):
        return x
    from torchvision.transforms.v2.functional import resize

    parts = [resize(part, [size, size], antialias=True) for part in torch.split(x, CHUNK)]
    whole = torch.cat(parts)
    return whole.clamp_(0, 1) if whole.is_floating_point() else whole


def check(images: Images, classes: Sequence[str], top: int = 1) -> None:
    """Check that arrays are what a dataset of these classes, and as many labels an image, needs.

    Raises:
        SpecError: They are not; the message names file, member, what was found and what was expected.
    """
    for name in classes:
        if list(classes).count(name) > 1:
            raise SpecError(f"{images.source}: two classes are called '{name}'.")
    for part, x, y in (
        ("train", images.x_train, images.y_train),
        ("test", images.x_test, images.y_test),
    ):
        check_images(f"{images.source}: x_{part}", x)
        check_main(f"{images.source}: y_{part}", y, len(x), Task.main(classes, top))
    if images.x_train.shape[1:] != images.x_test.shape[1:]:
        raise SpecError(
            f"{images.source}: x_test: found images of shape {images.x_test.shape[1:]}, expected "
            f"{images.x_train.shape[1:]} as in x_train."
        )
    if images.tracks is not None and images.tracks.shape != images.y_train.shape:
        raise SpecError(
            f"{images.source}: found tracks of shape {images.tracks.shape}, expected one a training image: "
            f"{images.y_train.shape}."
        )
    regions = images.regions_test
    if regions is not None and (
        regions.shape != images.x_test.shape[:3] or regions.dtype != np.uint8 or regions.max() > len(classes)
    ):
        raise SpecError(
            f"{images.source}: regions_test: found {regions.dtype} of shape {regions.shape}, expected uint8 "
            f"of shape {images.x_test.shape[:3]} from 0 to {len(classes)}: a class plus 1, or 0 for none."
        )
    y = images.y_train.astype(np.int64)
    counts = np.bincount(y, minlength=len(classes)) if top == 1 else y.sum(axis=0)
    for number, count in enumerate(counts):
        if count < 2:
            raise SpecError(
                f"{images.source}: y_train: found {count} of class {number} ({classes[number]}), expected at "
                "least two: one to train and one to validate with."
            )


def check_images(where: str, x: Array) -> None:
    """Check that an array holds images.

    Raises:
        SpecError: It does not; the message starts with ``where``.
    """
    channels = x.shape[3] if x.ndim == 4 else 1
    if x.dtype not in (np.uint8, np.float32) or x.ndim not in (3, 4) or not 1 <= channels <= 4 or not x.size:
        raise SpecError(
            f"{where}: found {x.dtype} of shape {x.shape}, expected uint8 (or float32 in [0, 1]) of shape "
            "(N, H, W), or (N, H, W, C) with at most four channels."
        )
    # Written so that NaN fails too.
    if x.dtype == np.float32 and not (x.min() >= 0 and x.max() <= 1):
        raise SpecError(f"{where}: found values from {x.min()} to {x.max()}, expected them in [0, 1].")


def check_labels(where: str, y: Array, images: int, classes: int) -> None:
    """Check that an array holds the class number of each of some images.

    Raises:
        SpecError: It does not; the message starts with ``where``.
    """
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (images,):
        raise SpecError(
            f"{where}: found {y.dtype} of shape {y.shape}, expected integers of shape ({images},): "
            "one an image."
        )
    if y.min() < 0 or y.max() >= classes:
        raise SpecError(
            f"{where}: found labels from {y.min()} to {y.max()}, expected 0 to {classes - 1}: there are "
            f"{classes} classes."
        )


def check_main(where: str, y: Array, images: int, task: Task) -> None:
    """Check that an array holds the labels of some images.

    Raises:
        SpecError: It does not; the message starts with ``where``.
    """
    if task.top == 1:
        check_labels(where, y, images, task.size)
    else:
        check_several(where, y, images, task.size, task.top)


def check_several(where: str, y: Array, images: int, classes: int, top: int) -> None:
    """Check that an array holds, for each of some images, a row with as many ones as it has labels.

    Raises:
        SpecError: It does not; the message starts with ``where``.
    """
    if y.shape != (images, classes) or not np.issubdtype(y.dtype, np.integer):
        raise SpecError(
            f"{where}: found {y.dtype} of shape {y.shape}, expected integers of shape ({images}, {classes}): "
            "a row of ones and zeros an image."
        )
    if not np.isin(y, (0, 1)).all() or not (y.sum(axis=1) == top).all():
        raise SpecError(f"{where}: expected {top} ones in every row, and zeros else: the labels of an image.")
