"""Images as users bring them: files, or batches in NumPy's formats. Reading them needs no torch."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moosearch.errors import SpecError, nearest

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]

MODES = {1: "L", 3: "RGB"}
"""By number of channels, how image files are decoded."""


@dataclass(frozen=True)
class Images:
    """Images with names.

    Attributes:
        names: What each one is called: its file, and its place there where the file holds several.
        pixels: (N, C, H, W) float32 in [0, 1].
    """

    names: tuple[str, ...]
    pixels: Array


def read_images(
    paths: Sequence[Path], shape: Shape, *, key: str | None = None, resize: bool = False
) -> Images:
    """Read image files and batches.

    Args:
        paths: Image files; ``.npy`` and ``.npz`` files with what `as_pixels` takes.
        shape: (C, H, W) that is expected.
        key: Name of the array in an ``.npz`` file; not needed where there is one.
        resize: Whether image files of another size are resized (both sides, bilinear).

    Raises:
        SpecError: A file is missing, no image, or of another shape, type or range.
    """
    names: list[str] = []
    parts = []
    for path in paths:
        if path.is_dir():
            raise SpecError(f"{path}: this is a folder; name the files in it.")
        if not path.is_file():
            raise SpecError(f"{path}: there is no such file.")
        if path.suffix.lower() in (".npy", ".npz"):
            what, array = _stored(path, key)
            pixels = as_pixels(array, shape, what)
            names += [f"{what}[{row}]" for row in range(len(pixels))]
        else:
            pixels = as_pixels(_decoded(path, shape, resize=resize), shape, str(path))
            names.append(str(path))
        parts.append(pixels)
    if not parts:
        raise SpecError("name at least one image.")
    return Images(tuple(names), np.concatenate(parts))


def as_pixels(images: Any, shape: Shape, what: str = "images") -> Array:
    """Check images and bring them into the form that a network takes.

    Args:
        images: uint8, or floats in [0, 1]; (N, C, H, W), or (N, H, W, C) where that cannot be the former, or
            (N, H, W) for one channel; or a single image without N.
        shape: (C, H, W) that is expected.
        what: What they are called in messages.

    Returns:
        (N, C, H, W) float32 in [0, 1].

    Raises:
        SpecError: Their shape, type or range is another.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise SpecError(f"{what}: got values of type {array.dtype}, expected floats in [0, 1] or uint8.")
    pixels = _arranged(array, shape)
    if pixels is None:
        channels, height, width = shape
        other = f"(N, {height}, {width})" if channels == 1 else f"(N, {height}, {width}, {channels})"
        raise SpecError(
            f"{what}: got shape {array.shape}, expected (N, {channels}, {height}, {width}) or {other}."
        )
    if not len(pixels):
        raise SpecError(f"{what}: got shape {array.shape}, which holds no image.")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(pixels, np.float32) / np.float32(255)
    with np.errstate(over="ignore"):
        pixels = np.ascontiguousarray(pixels, np.float32)
    if np.isnan(pixels).any():
        raise SpecError(f"{what}: got NaN, expected values in [0, 1].")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        hint = (
            "Bytes go in as uint8."
            if low >= 0 and high <= 255
            else "Normalization is part of the model: give raw pixels."
        )
        raise SpecError(f"{what}: got values from {low:.4g} to {high:.4g}, expected [0, 1]. {hint}")
    return pixels


def _arranged(array: Array, shape: Shape) -> Array | None:
    """Return images as (N, C, H, W), a view; None where their shape is none of those that are taken."""
    channels, height, width = shape
    last = (height, width, channels)
    if array.ndim == 4 and array.shape[1:] == shape:
        return array
    if array.ndim == 4 and array.shape[1:] == last:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 3 and channels == 1 and array.shape[1:] == (height, width):
        return array[:, None]
    if array.ndim == 3 and array.shape in (shape, last):
        return _arranged(array[None], shape)
    if array.ndim == 2 and channels == 1 and array.shape == (height, width):
        return array[None, None]
    return None


def _stored(path: Path, key: str | None) -> tuple[str, Array]:
    """Return an array of a file in NumPy's formats, and what to call it."""
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return str(path), stored
        with stored:
            if key is None and len(stored.files) != 1:
                raise SpecError(
                    f"{path}: holds {', '.join(stored.files) or 'nothing'}; say which with --key NAME."
                )
            name = key if key is not None else stored.files[0]
            if name not in stored.files:
                raise SpecError(f"{path}: there is no '{name}' in it. {nearest(name, stored.files)}")
            return f"{path}:{name}", stored[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path}: cannot be read as NumPy's arrays: {error}") from None


def _decoded(path: Path, shape: Shape, *, resize: bool) -> Array:
    """Decode an image file as (H, W) or (H, W, 3) bytes, turned as its camera says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    channels, height, width = shape
    if channels not in MODES:
        raise SpecError(f"{path}: the model takes {channels} channels; give it arrays, not image files.")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # 16 bits, of which `convert` would cut the upper half off
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise SpecError(f"{path}: got pixels of 32 bits ({image.mode}), whose range is not known.")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise SpecError(f"{path}: has transparent pixels; put the image on a background first.")
            image = image.convert(MODES[channels])
    except UnidentifiedImageError:
        raise SpecError(f"{path}: this is no image that can be read.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path}: the image cannot be decoded: {error}") from None
    if image.size != (width, height):
        if not resize:
            raise SpecError(
                f"{path}: got {image.height} x {image.width} pixels, expected {height} x {width} "
                "(height x width). Resize it, or let --resize do so."
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)
