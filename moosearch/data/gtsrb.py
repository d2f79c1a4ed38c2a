"""GTSRB: German traffic signs."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.decoding import decode
from moosearch.data.images import Images, Size
from moosearch.data.npz import inspect_npz, read_npz
from moosearch.data.published import Published
from moosearch.data.tasks import TaskSpec
from moosearch.errors import SpecError

NUMBERS = (
    *("speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70"),
    *("speed limit 80", "end of speed limit 80", "speed limit 100", "speed limit 120"),
)
"""Classes 0 to 8: a number in a circle."""
CLASSES = (
    *NUMBERS,
    *("no passing", "no passing for trucks"),
    *("right of way at next crossing", "priority road", "yield", "stop"),
    *("no vehicles", "no trucks", "no entry"),
    *("danger", "curve to the left", "curve to the right", "double curve", "bumpy road", "slippery road"),
    *("road narrows on the right", "road works", "traffic lights", "pedestrians", "children", "bicycles"),
    *("snow and ice", "wild animals"),
    "end of all limits",
    *("turn right", "turn left", "straight ahead", "straight or right", "straight or left"),
    *("keep right", "keep left", "roundabout"),
    *("end of no passing", "end of no passing for trucks"),
)
POLYGONS = (*CLASSES[11:15], *CLASSES[18:32])
"""Triangles (warnings and yield), the diamond of the priority road and the octagon of stop."""
CHARACTERS = (*NUMBERS, "stop")
"""Signs that are read: a number or a word. Truck signs show a truck, and an exclamation mark is a symbol."""


def _against(group: str, members: tuple[str, ...], others: str) -> dict[str, list[str | int]]:
    return {group: list(members), others: [name for name in CLASSES if name not in members]}


CIRCLE_POLYGON = TaskSpec("circle_polygon", _against("polygon", POLYGONS, "circle"))
CHARACTER_SYMBOL = TaskSpec("character_symbol", _against("character", CHARACTERS, "symbol"))


@DATASETS.register("gtsrb")
@dataclass(frozen=True, kw_only=True)
class Gtsrb(Published):
    """GTSRB: 39,209 training and 12,630 test images of 43 traffic signs, of many sizes, in color.

    Torchvision downloads a training set of 26,640; the other one may lie in its place. Images are resized
    whole, not cut to the sign's box. Up to 30 of them are frames of one sign, its track: validation takes
    whole tracks.
    Auxiliary tasks: ``circle_polygon`` (shape of the sign) and ``character_symbol`` (what is on it).

    Attributes:
        size: As in the paper; with ``npz``, 0 leaves images as they are.
        group_by: With ``npz``, the member that names the track of each training image, where the file has it.

    Source: Stallkamp et al. 2012; tasks and size of Hyun & Park 2024, table 2.
    """

    size: Size = 112
    group_by: str = "track_train"

    FILES: ClassVar[tuple[str, ...]] = (
        "gtsrb/GTSRB/Training/00000/*.ppm ... gtsrb/GTSRB/Training/00042/*.ppm",
        "gtsrb/GTSRB/Final_Test/Images/*.ppm",
        "gtsrb/GT-final_test.csv",
    )
    CLASSES: ClassVar[tuple[str, ...]] = CLASSES
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = (CIRCLE_POLYGON, CHARACTER_SYMBOL)

    def __post_init__(self) -> None:
        """Check that there is a size."""
        super().__post_init__()
        if not self.size and not self.npz:
            raise SpecError("size: got 0, expected a size: the images of GTSRB have many.")

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W): files are resized as they are decoded."""
        return inspect_npz(self.npz).shape if self.npz else (3, self.size, self.size)

    def read_npz(self) -> Images:
        """Read the .npz file, with tracks where it has them."""
        absent = self.group_by == "track_train" and self.group_by not in inspect_npz(self.npz).members
        return read_npz(self.npz, "" if absent else self.group_by)

    def read_files(self, root: Path, *, download: bool) -> Images:
        """Decode torchvision's files; a training image's name starts with the number of its track."""
        from torchvision.datasets import GTSRB

        samples = [GTSRB(root, split=part, download=download)._samples for part in ("train", "test")]
        x, y = [], []
        for part, pairs in zip(("train", "test"), samples, strict=True):
            paths = [Path(path) for path, _ in pairs]
            x.append(decode(f"gtsrb {part} {root.resolve()}", paths, self.size, crop=False))
            y.append(np.array([label for _, label in pairs]))
        tracks = np.array([f"{label} {Path(path).name.split('_')[0]}" for path, label in samples[0]])
        return Images(str(root), x[0], y[0], x[1], y[1], tracks)
