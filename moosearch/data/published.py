"""Published data sets: from torchvision's files, or from an .npz file."""

import contextlib
import os
import pickle
import socket
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.images import ImageDataset, Images
from moosearch.data.npz import MEMBERS, inspect_npz, read_npz
from moosearch.errors import DataUnavailableError, SpecError

PATIENCE = 10.0
"""Seconds after which a server that does not answer is given up."""


@dataclass(frozen=True, kw_only=True)
class Published(ImageDataset):
    """A data set that is known by name.

    Attributes:
        root: Folder of torchvision's files; by default that in the environment variable MOOSEARCH_DATA, or
            ``data``.
        download: Whether `prepare` may download them.
        npz: An .npz file to take the images from instead, see the dataset `npz`.
    """

    root: str = ""
    download: bool = True
    npz: str = ""

    SHAPE: ClassVar[tuple[int, int, int]]
    """(C, H, W) of torchvision's images."""
    FILES: ClassVar[tuple[str, ...]]
    """What of torchvision's files must be under the root."""

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) before resizing."""
        return inspect_npz(self.npz).shape if self.npz else self.SHAPE

    def read(self, *, download: bool) -> Images:
        """Read the .npz file or torchvision's files, downloading the latter where that is allowed."""
        if self.npz:
            return self.read_npz()
        root = Path(self.root or os.environ.get("MOOSEARCH_DATA") or "data").expanduser()
        try:
            return self.read_files(root, download=False)
        except SpecError:
            raise
        except (AssertionError, EOFError, ValueError, pickle.UnpicklingError) as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            raise self._unavailable(root, f"the files are damaged ({reason}): delete them") from None
        except (OSError, RuntimeError) as error:
            if not (download and self.download):
                absent = isinstance(error, FileNotFoundError | RuntimeError)  # or in part
                raise self._unavailable(root, "they are not there" if absent else str(error)) from None
        try:
            with _patience():
                return self.read_files(root, download=True)
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            raise self._unavailable(root, f"the download failed: {' '.join(str(error).split())}") from None

    def read_npz(self) -> Images:
        """Read the .npz file."""
        return read_npz(self.npz)

    @abstractmethod
    def read_files(self, root: Path, *, download: bool) -> Images:
        """Read torchvision's files.

        Raises:
            OSError: They are not there, or could not be downloaded.
            RuntimeError: The same, in torchvision's words.
        """

    def _unavailable(self, root: Path, why: str) -> DataUnavailableError:
        return DataUnavailableError(
            f"{DATASETS.name_of(self)}: no images in {root.absolute()}: {why}. Put there: "
            f"{', '.join(self.FILES)}. Another folder: `root:` or the environment variable MOOSEARCH_DATA. "
            f"Or name an .npz file with {', '.join(MEMBERS)}: `npz:`."
        )


@dataclass(frozen=True, kw_only=True)
class InMemory(Published):
    """A data set that torchvision reads whole, in two parts with ``data`` and ``targets``."""

    TORCHVISION: ClassVar[str]
    """Torchvision's name of it."""

    def read_files(self, root: Path, *, download: bool) -> Images:
        """Read both parts."""
        from torchvision import datasets

        source = getattr(datasets, self.TORCHVISION)
        train, test = (source(root, train=part, download=download) for part in (True, False))
        arrays = (np.asarray(a) for a in (train.data, train.targets, test.data, test.targets))
        return Images(str(root), *arrays)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Give up servers that do not answer: torchvision would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
