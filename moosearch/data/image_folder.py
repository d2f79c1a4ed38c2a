"""Any folder of images with a folder a class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moosearch.data.dataset import DATASETS
from moosearch.data.decoding import decode
from moosearch.data.images import Array, ImageDataset, Images, hold_out
from moosearch.errors import DataUnavailableError, SpecError
from moosearch.registry import Count


@DATASETS.register("image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageDataset):
    """Images of your own in folders: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*``, which is split.

    Images become RGB; the shorter side is resized to ``size``, and the middle is cut out. Without ``test/``,
    ``val/`` is tested on (where there are both, ``val/`` is not used). One tree is split: a fifth of its
    images, or ``test_size``, are drawn by class, always the same.

    Attributes:
        path: The folder.
        size: Height and width of the images.
    """

    path: str
    size: Count = field()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the folders, sorted."""
        return folders_of_classes(self._folders()[0])

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W): files are resized as they are decoded."""
        return (3, self.size, self.size)

    def read(self, *, download: bool) -> Images:
        """Decode the files."""
        train, *tests = self._folders()
        classes = folders_of_classes(train)
        x, y = read_folder(train, self.size)
        if not tests:
            left, held = hold_out("test", self.test_size or len(y) // 5, y)
            return Images(self.path, x[left], y[left], x[held], y[held])
        if folders_of_classes(tests[0]) != classes:
            different = sorted({*classes} ^ {*folders_of_classes(tests[0])})
            raise SpecError(
                f"{self.path}: found {', '.join(different)} in one of train/ and {tests[0].name}/ alone, "
                "expected the same folders in both."
            )
        return Images(self.path, x, y, *read_folder(tests[0], self.size))

    def _folders(self) -> Sequence[Path]:
        """Return the folder of training images, and that of test images where there is one."""
        path = Path(self.path).expanduser()
        train = path / "train"
        if not train.is_dir():
            return [path]
        for test in (path / "test", path / "val"):
            if test.is_dir():
                return [train, test]
        raise DataUnavailableError(
            f"{self.path}: found train/, expected test/ or val/ beside it. "
            "To have train/ split, name it as `path`."
        )


def read_folder(folder: Path, size: int) -> tuple[Array, Array]:
    """Decode a folder of images with a folder a class.

    Args:
        folder: The folder.
        size: Height and width to give.

    Returns:
        (N, size, size, 3) bytes, and (N,) numbers of the folders in the order of `folders_of_classes`.

    Raises:
        DataUnavailableError: A folder has no images, or a file is missing.
        SpecError: A file is no image.
    """
    from torchvision import datasets

    try:
        samples = datasets.ImageFolder(folder).samples
        paths = [Path(path) for path, _ in samples]
        x = decode(f"image_folder {folder.resolve()}", paths, size, crop=True)
    except OSError as error:
        raise DataUnavailableError(f"{folder}: {error}") from None
    return x, np.array([label for _, label in samples])


def folders_of_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted.

    Raises:
        DataUnavailableError: There are none.
    """
    from torchvision.datasets.folder import find_classes

    try:
        return tuple(find_classes(str(folder))[0])
    except OSError:
        raise DataUnavailableError(
            f"{folder}: found no folders here, expected one for each class, with its images in it."
        ) from None
