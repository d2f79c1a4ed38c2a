"""Files of a user's own whose images have several labels."""

from pathlib import Path

import numpy as np
import pytest

from moosearch.data import Task, own_images
from moosearch.data.npz import Npz
from moosearch.errors import SpecError

CLASSES = ("ant", "bee", "cow", "dog")


def members(top=2, train=40, test=8):
    generator = np.random.default_rng(0)
    found = {"class_names": np.array(CLASSES)}
    for part, count in (("train", train), ("test", test)):
        found[f"x_{part}"] = generator.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        rows = np.zeros((count, 4), dtype=np.int64)
        np.put_along_axis(rows, np.argsort(generator.random((count, 4)), axis=1)[:, :top], 1, axis=1)
        found[f"y_{part}"] = rows
    found["regions_test"] = generator.integers(0, 5, (test, 6, 6), dtype=np.uint8)
    return found


@pytest.fixture
def saved(tmp_path):
    def save(**changes):
        np.savez(tmp_path / "own.npz", **(members() | changes))
        return str(tmp_path / "own.npz")

    return save


@pytest.mark.parametrize("top", [2, 3])
def test_rows_of_ones_are_labels(saved, top):
    given = members(top)
    dataset = Npz(path=saved(**given), val_size=8)
    dataset.prepare()
    (task,) = dataset.tasks
    assert (task.groups, task.top) == (CLASSES, top)
    splits = dataset.load()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (32, 8, 8)
    np.testing.assert_array_equal(splits.test.y.numpy(), given["y_test"])
    np.testing.assert_array_equal(dataset.test_regions(), given["regions_test"])


def test_regions_are_not_asked_for(tmp_path):
    given = members()
    del given["regions_test"]
    np.savez(tmp_path / "own.npz", **given)
    assert Npz(path=str(tmp_path / "own.npz"), val_size=8).test_regions() is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": 2 * members()["y_train"]}, "y_train: found labels"),
        (
            {"y_train": np.eye(4, dtype=int)[np.arange(40) % 4]},
            "y_train: found int64 of shape .*: one an image",
        ),
        ({"y_test": members(3)["y_test"]}, "y_test: expected 2 ones in every row"),
        ({"y_test": members()["y_test"][:, :3]}, r"y_test: found int64 of shape \(8, 3\)"),
        ({"y_test": np.arange(8) % 4}, r"y_test: found int64 of shape \(8,\)"),
        ({"regions_test": np.zeros((8, 6, 5), np.uint8)}, r"regions_test: found uint8 of shape \(8, 6, 5\)"),
        ({"regions_test": np.full((8, 6, 6), 5, np.uint8)}, "from 0 to 4: a class plus 1"),
        ({"regions_test": np.zeros((8, 6, 6))}, "regions_test: found float64"),
    ],
)
def test_wrong_files_are_refused(saved, changes, words):
    with pytest.raises(SpecError, match=words):
        Npz(path=saved(**changes), val_size=8).prepare()


def test_own_images_to_judge_with(saved, tmp_path):
    images = own_images(Path(saved()), (1, 6, 6), Task.main(CLASSES, 2))
    np.testing.assert_array_equal(images.y.numpy(), members()["y_test"])
    with pytest.raises(SpecError, match="expected integers of shape"):
        own_images(Path(saved()), (1, 6, 6), Task.main(CLASSES))
    with pytest.raises(SpecError, match="folders of classes give one label an image, expected 2"):
        own_images(tmp_path, (1, 6, 6), Task.main(CLASSES, 2))
