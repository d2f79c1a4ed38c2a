"""Uncompressed copies of arrays that are slow to read, kept where they can be memory-mapped."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def folder() -> Path:
    """Return the folder of all copies: ``$XDG_CACHE_HOME/moosearch``, or that in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moosearch"


def stamp(path: Path) -> str:
    """Return what changes when a file does: its path, size and time of modification."""
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def cached(what: str, version: str, make: Callable[[], Arrays]) -> Arrays:
    """Return arrays from their copy; where there is none, make them, and keep a copy.

    A copy appears at once and whole, whoever else writes it; a place that cannot be written is no error.

    Args:
        what: What the arrays are. There is one copy of it.
        version: What they depend on. A copy of another version is replaced.
        make: Returns the arrays, none of which is empty.
    """
    try:
        place = folder() / _digest(what)
    except RuntimeError:  # no home
        return make()
    copy = place / _digest(version)
    try:
        found = {path.stem: np.load(path, mmap_mode="r") for path in sorted(copy.glob("*.npy"))}
    except (OSError, ValueError):  # damaged
        shutil.rmtree(copy, ignore_errors=True)
        found = {}
    if found:
        return found
    arrays = make()
    with contextlib.suppress(OSError):
        _write(place, copy, arrays)
    return arrays


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(place: Path, copy: Path, arrays: Arrays) -> None:
    place.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=".partial-"))
    try:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        for old in place.iterdir():
            if old != copy:
                shutil.rmtree(old, ignore_errors=True)
        partial.rename(copy)  # fails where another process was faster: then its copy stays
    finally:
        shutil.rmtree(partial, ignore_errors=True)
