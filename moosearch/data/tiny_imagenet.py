"""Tiny ImageNet: 200 classes of ImageNet in 64x64 pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.decoding import decode
from moosearch.data.images import Array, Images
from moosearch.data.npz import inspect_npz
from moosearch.data.published import Published
from moosearch.data.tasks import TaskSpec
from moosearch.data.wnids import ANIMALS, CLASSES, MACHINES, NATURAL, OBJECTS
from moosearch.errors import SpecError

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
FOLDER = "tiny-imagenet-200"

NATURAL_ARTEFACT = TaskSpec(
    "natural_artefact",
    {
        "natural": [*ANIMALS.values(), *NATURAL.values()],
        "artefact": [*MACHINES.values(), *OBJECTS.values()],
    },
)
ANIMAL_MACHINE_OTHERS = TaskSpec(
    "animal_machine_others",
    {
        "animal": [*ANIMALS.values()],
        "machine": [*MACHINES.values()],
        "others": [*NATURAL.values(), *OBJECTS.values()],
    },
)


@DATASETS.register("tiny_imagenet")
@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Published):
    """Tiny ImageNet: 100,000 training images and the 10,000 official validation images to test on, 3x64x64.

    200 classes in the order of their WordNet ids; with ``npz``, those of the file's member ``wnids``.
    Auxiliary tasks: ``natural_artefact`` and ``animal_machine_others``.

    Source: Le & Yang 2015; tasks of Hyun & Park 2024, table 2, which does not list the classes of the groups:
    `moosearch.data.wnids` does.
    """

    FILES: ClassVar[tuple[str, ...]] = (
        f"{FOLDER}/train/n01443537/images/*.JPEG and so on",
        f"{FOLDER}/val/images/*.JPEG",
        f"{FOLDER}/val/val_annotations.txt",
    )
    SHAPE: ClassVar[tuple[int, int, int]] = (3, 64, 64)
    SHIPPED: ClassVar[tuple[TaskSpec, ...]] = (NATURAL_ARTEFACT, ANIMAL_MACHINE_OTHERS)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the 200 classes, or of those in the .npz file."""
        if not self.npz:
            return tuple(CLASSES.values())
        wnids = inspect_npz(self.npz).wnids
        unknown = [wnid for wnid in wnids if wnid not in CLASSES]
        if unknown or not wnids:
            raise SpecError(
                f"npz: {self.npz}: found {', '.join(unknown) or 'no member wnids'}, expected WordNet ids of "
                "classes of Tiny ImageNet in the member `wnids`. For other images there is the dataset `npz`."
            )
        return tuple(CLASSES[wnid] for wnid in wnids)

    def read_files(self, root: Path, *, download: bool) -> Images:
        """Decode the official files."""
        base = root / FOLDER
        if download:
            from torchvision.datasets.utils import download_and_extract_archive

            download_and_extract_archive(URL, str(root), md5=MD5)
        train, test = [], []
        for label, wnid in enumerate(CLASSES):
            paths = sorted((base / "train" / wnid / "images").iterdir())
            train += [(path, label) for path in paths]
        numbers = {wnid: label for label, wnid in enumerate(CLASSES)}
        for line in (base / "val" / "val_annotations.txt").read_text().splitlines():
            name, wnid, *_ = line.split("\t")
            test.append((base / "val" / "images" / name, numbers[wnid]))
        return Images(str(base), *_decoded("train", train), *_decoded("val", test))


def _decoded(part: str, samples: list[tuple[Path, int]]) -> tuple[Array, Array]:
    paths = [path for path, _ in samples]
    x = decode(f"tiny_imagenet {part} {paths[0].parents[1].resolve()}", paths, 64, crop=False)
    return x, np.array([label for _, label in samples])
