"""An export that predicts, by onnxruntime alone: loading it needs no torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic

from moosearch.errors import CampaignError, SpecError
from moosearch.export.files import FORMAT, INT8, MANIFEST, ONNX, sha256
from moosearch.export.images import Array, Shape, as_pixels

BATCH_NUMBERS = 2**22
"""Pixel values that go through the network at a time: the bound on memory."""

BATCH = 256
"""Images that go through the network at a time, as long as they are small."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of N images.

    Attributes:
        classes: Names of the K classes.
        probabilities: (N, K) softmax of the logits; they were not calibrated.
    """

    classes: tuple[str, ...]
    probabilities: Array

    @property
    def labels(self) -> Array:
        """(N,) the most probable class of each image, by number."""
        labels: Array = self.probabilities.argmax(axis=1)
        return labels

    @property
    def names(self) -> list[str]:
        """The most probable class of each image."""
        return [self.classes[label] for label in self.labels]

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """Return of each image the most probable classes with their probabilities, best first.

        Args:
            count: How many, in [1, K].
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self.classes[label], float(row[label])) for label in best]
            for best, row in zip(order, self.probabilities, strict=True)
        ]


@dataclass(frozen=True)
class Exported:
    """An exported model that predicts.

    Attributes:
        candidate: The candidate's id.
        classes: Names of the classes.
        shape: (C, H, W) of an image.
        labels: How many labels an image has: so many of the most probable classes are the answer.
        file: The ONNX file that runs.
        session: onnxruntime's.
    """

    candidate: str
    classes: tuple[str, ...]
    shape: Shape
    labels: int
    file: Path
    session: Any

    def logits(self, images: Any) -> Array:
        """Run the network.

        Args:
            images: As `moosearch.export.images.as_pixels` takes them: uint8, or floats in [0, 1].

        Returns:
            (N, K) float32.

        Raises:
            SpecError: The images are of another shape, type or range.
            CampaignError: The network cannot be run, or does not answer with numbers.
        """
        x = as_pixels(images, self.shape)
        size = max(1, min(BATCH, BATCH_NUMBERS // math.prod(self.shape)))
        try:
            parts = [
                self.session.run(["logits"], {"images": x[start : start + size]})[0]
                for start in range(0, len(x), size)
            ]
        except Exception as error:  # whatever onnxruntime raises
            raise CampaignError(f"{self.file}: cannot be run: {' '.join(str(error).split())}") from error
        logits: Array = np.concatenate(parts)
        if logits.shape != (len(x), len(self.classes)) or not np.isfinite(logits).all():
            raise CampaignError(
                f"{self.file}: its logits are not {len(self.classes)} finite numbers an image."
            )
        return logits

    def predict(self, images: Any) -> Predictions:
        """Classify images; see `logits`."""
        logits = self.logits(images).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Predictions(self.classes, powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Input:
    shape: tuple[Any, pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt]


@dataclass(frozen=True)
class _Output:
    classes: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    labels: pydantic.PositiveInt = 1


@dataclass(frozen=True)
class _File:
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    """What is read of a manifest here."""

    format: pydantic.PositiveInt
    candidate: str
    input: _Input
    output: _Output
    files: Mapping[str, _File]


_MANIFEST = pydantic.TypeAdapter(_Manifest)


def load_export(folder: Path | str, *, int8: bool = False) -> Exported:
    """Load a folder that `moosearch export` wrote, for predicting.

    Args:
        folder: The folder; of this version of moosearch or an older one.
        int8: Whether to take the quantized file.

    Raises:
        CampaignError: The folder is no export, or a file in it is damaged.
        SpecError: It has no quantized file.
    """
    import onnxruntime

    folder = Path(folder)
    manifest = _read(folder)
    name = INT8 if int8 else ONNX
    path = folder / name
    if name not in manifest.files:
        if int8:
            raise SpecError(f"{folder}: holds no `{INT8}`: `moosearch export --quantize int8` writes one.")
        raise CampaignError(f"{folder / MANIFEST}: damaged: it does not list `{name}`.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CampaignError(f"{path}: cannot be read: {error.strerror}.") from None
    if sha256(content) != manifest.files[name].sha256:
        raise CampaignError(f"{path}: was changed: its SHA-256 is not that of {MANIFEST}. Export it again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever onnxruntime raises
        raise CampaignError(f"{path}: cannot be loaded: {' '.join(str(error).split())}") from error
    output = manifest.output
    return Exported(
        manifest.candidate, output.classes, manifest.input.shape[1:], output.labels, path, session
    )


def _read(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise CampaignError(
            f"{folder}: no exported model here, `{MANIFEST}` is missing. "
            "Write one with `moosearch export DIR`."
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        manifest = _MANIFEST.validate_python(tree)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise CampaignError(f"{path}: not the manifest of an export: {where}: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CampaignError(f"{path}: damaged: {error}") from None
    if manifest.format > FORMAT:
        raise CampaignError(
            f"{path}: is of format {manifest.format}, of a newer moosearch; this one knows {FORMAT}."
        )
    return manifest
