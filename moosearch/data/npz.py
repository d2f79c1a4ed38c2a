"""Images in an .npz file: the dataset `npz`, and what the other datasets need to read such a file."""

import functools
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from moosearch.data.cache import cached, stamp
from moosearch.data.dataset import DATASETS
from moosearch.data.images import Array, ImageDataset, Images
from moosearch.errors import DataUnavailableError, SpecError

MEMBERS = ("x_train", "y_train", "x_test", "y_test")
REGIONS = "regions_test"
OWN = (("x_test", "y_test"), ("x", "y"))
"""Members with images and labels in a file to judge networks with, the first pair that is there."""


@dataclass(frozen=True)
class NpzFile:
    """What an .npz file says of its images without reading them.

    Attributes:
        members: Names of its arrays.
        shape: (C, H, W).
        classes: One more than the largest training label, or the columns of labels that are rows.
        top: How many labels an image has.
        class_names: The member ``class_names``, or empty.
        wnids: The member ``wnids``, or empty.
    """

    members: tuple[str, ...]
    shape: tuple[int, int, int]
    classes: int
    top: int
    class_names: tuple[str, ...]
    wnids: tuple[str, ...]


def inspect_npz(path: str) -> NpzFile:
    """Read headers and small members of an .npz file, once for each version of it.

    Raises:
        DataUnavailableError: There is no such file.
        SpecError: It holds no images and labels.
    """
    with _explained(path):
        return _inspect(path, stamp(Path(path).expanduser().resolve()))


@functools.lru_cache(maxsize=16)
def _inspect(path: str, _stamp: str) -> NpzFile:
    with ZipFile(Path(path).expanduser()) as archive:
        members = tuple(name.removesuffix(".npy") for name in archive.namelist())
        missing = [name for name in MEMBERS if name not in members]
        if missing:
            raise SpecError(
                f"{path}: found the members {', '.join(members)}, expected {', '.join(MEMBERS)}: "
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
            )
        shape = _shape(archive, "x_train")
        if len(shape) not in (3, 4):
            raise SpecError(f"{path}: x_train: found shape {shape}, expected (N, H, W) or (N, H, W, C).")
        labels = _member(archive, "y_train")
        if not np.issubdtype(labels.dtype, np.integer) or not labels.size:
            raise SpecError(
                f"{path}: y_train: found {labels.dtype} of shape {labels.shape}, expected integers (N,)."
            )
        several = labels.ndim == 2 and labels.max() == 1
        if not several and (labels.ndim != 1 or labels.max() >= labels.size):
            raise SpecError(
                f"{path}: y_train: found labels {labels.shape} from {labels.min()} to {labels.max()}, "
                "expected one class number an image, from 0, or a row of ones and zeros."
            )
        names, wnids = (
            tuple(str(text) for text in _member(archive, name)) if name in members else ()
            for name in ("class_names", "wnids")
        )
        height, width = shape[1:3]
        classes, top = (labels.shape[1], int(labels[0].sum())) if several else (int(labels.max()) + 1, 1)
        channels = shape[3] if len(shape) == 4 else 1
        return NpzFile(members, (channels, height, width), classes, top, names, wnids)


def read_npz(path: str, group_by: str = "") -> Images:
    """Read the images of an .npz file, from its uncompressed copy where there is one.

    Args:
        path: The file.
        group_by: Member with the track of each training image; empty for none.

    Raises:
        DataUnavailableError: There is no such file.
        SpecError: It lacks a member.
    """
    file = inspect_npz(path)
    if group_by and group_by not in file.members:
        raise SpecError(f"group_by: {path} has no member '{group_by}'. It has {', '.join(file.members)}.")
    more = [name for name in (group_by, REGIONS) if name in file.members]
    names = (*MEMBERS, *more)
    where = Path(path).expanduser().resolve()

    def make() -> dict[str, Array]:
        with ZipFile(where) as archive:
            return {name: _member(archive, name) for name in names}

    with _explained(path):
        arrays = cached(f"npz {where} {names}", stamp(where), make)
    x_train, y_train, x_test, y_test = (arrays[name] for name in MEMBERS)
    return Images(path, x_train, y_train, x_test, y_test, arrays.get(group_by), arrays.get(REGIONS))


def read_own(path: str) -> tuple[str, Array, str, Array]:
    """Read images and labels to judge networks with.

    Returns:
        The name of the images' member and the images, the name of the labels' member and the labels.

    Raises:
        DataUnavailableError: There is no such file.
        SpecError: It holds no such members.
    """
    with _explained(path, OWN[0]), ZipFile(Path(path).expanduser()) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist()]
        for x, y in OWN:
            if x in members and y in members:
                return x, _member(archive, x), y, _member(archive, y)
        expected = ", or ".join(f"{x} and {y}" for x, y in OWN)
        raise SpecError(f"{path}: found the members {', '.join(members) or '(none)'}, expected {expected}.")


def _shape(archive: ZipFile, name: str) -> tuple[int, ...]:
    """Return the shape of a member from its header; its data stay compressed."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, _ = read(file)
        return shape


def _member(archive: ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


@contextmanager
def _explained(path: str, members: Sequence[str] = MEMBERS) -> Iterator[None]:
    """Turn what goes wrong with a file into errors that name it."""
    try:
        yield
    except SpecError:
        raise
    except FileNotFoundError:
        raise DataUnavailableError(
            f"{path}: there is no such file (looked for {Path(path).expanduser().absolute()}). Expected an "
            f".npz file with {', '.join(members)}."
        ) from None
    except OSError as error:
        raise DataUnavailableError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (BadZipFile, EOFError, ValueError, NotImplementedError, lzma.LZMAError, zlib.error) as error:
        raise SpecError(f"{path}: this is no .npz file that can be read: {error}.") from None


@DATASETS.register("npz")
@dataclass(frozen=True, kw_only=True)
class Npz(ImageDataset):
    """Images of your own in an .npz file.

    The file holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``: images (N, H, W) or (N, H, W, C), of
    uint8, or float32 in [0, 1], and labels from 0. It may hold ``class_names``. Where images have several
    labels, all as many, they are rows of ones and zeros, (N, K); ``regions_test`` may say whose pixels are
    whose in the test images: (N, H, W) of uint8, the class of the object plus 1, or 0 for none.

    Attributes:
        path: The file.
        classes: Names of the classes; by default those of the file, or the numbers.
        group_by: Member of the file that says which training images belong together, such as frames of a
            film: validation takes whole groups.
    """

    path: str
    classes: tuple[str, ...] = ()
    group_by: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names given, those of the file, or numbers."""
        if self.classes:
            return self.classes
        file = inspect_npz(self.path)
        return file.class_names or tuple(map(str, range(file.classes)))

    @property
    def top(self) -> int:
        """How many labels an image has in the file."""
        return inspect_npz(self.path).top

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the file."""
        return inspect_npz(self.path).shape

    def read(self, *, download: bool) -> Images:
        """Read the file."""
        return read_npz(self.path, self.group_by)
