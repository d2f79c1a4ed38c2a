import numpy as np
import pytest
import torch
from PIL import Image

from moosearch.data.image_folder import ImageFolder
from moosearch.errors import DataUnavailableError, SpecError
from moosearch.registry import build

COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


def write(folder, each, size=(12, 9)):
    """A folder a color with ``each`` images of it, each darker than the one before."""
    for color, rgb in COLORS.items():
        (folder / color).mkdir(parents=True)
        for number in range(each):
            image = Image.new("RGB", size, tuple(max(value - number, 0) for value in rgb))
            image.save(folder / color / f"{number:03}.png")


def colors(split):
    """The color of each image, by its brightest channel in a corner."""
    return [("red", "green", "blue")[channel] for channel in split.x[:, :, 0, 0].argmax(1)]


@pytest.mark.parametrize("second", ["test", "val"])
def test_two_trees(tmp_path, second):
    write(tmp_path / "train", each=10)
    write(tmp_path / second, each=2)
    dataset = ImageFolder(path=str(tmp_path), size=8)
    assert dataset.shape == (3, 8, 8)
    assert dataset.tasks[0].groups == ("blue", "green", "red")
    dataset.prepare()
    splits = dataset.load()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (24, 6, 6)
    for split in (splits.train, splits.val, splits.test):
        assert split.x.shape == (len(split), *dataset.shape)
        assert split.x.dtype == torch.uint8
        assert colors(split) == [dataset.tasks[0].groups[label] for label in split.y]


def test_test_goes_before_val(tmp_path):
    for name, each in (("train", 10), ("val", 1), ("test", 3)):
        write(tmp_path / name, each)
    assert len(ImageFolder(path=str(tmp_path), size=8).load().test) == 9


@pytest.mark.parametrize(("fields", "sizes"), [({}, (36, 12, 12)), ({"test_size": 6}, (42, 12, 6))])
def test_one_tree_is_split(tmp_path, fields, sizes):
    write(tmp_path, each=20)
    dataset = ImageFolder(path=str(tmp_path), size=8, val_size=12, **fields)
    dataset.prepare()
    splits = dataset.load()
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
    seen = [
        {image.numpy().tobytes() for image in split.x} for split in (splits.train, splits.val, splits.test)
    ]
    assert len(seen[0] | seen[1] | seen[2]) == 60
    for split in (splits.train, splits.val, splits.test):
        assert set(torch.bincount(split.y).tolist()) == {len(split) // 3}


def test_images_are_resized_by_the_shorter_side_and_cut_in_the_middle(tmp_path):
    for number in range(12):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            image = np.zeros((10, 30, 3), np.uint8)
            image[:, 10:20] = 100 + number  # the middle third
            image[:, :10] = 255
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
    x = ImageFolder(path=str(tmp_path), size=10).load().train.x
    assert x.min() >= 100
    assert x.max() < 112


def test_gray_images_and_those_with_alpha_become_rgb(tmp_path):
    for name, mode in (("gray", "L"), ("alpha", "RGBA")):
        (tmp_path / name).mkdir()
        for number in range(12):
            color = 7 * number if mode == "L" else (7 * number, 0, 0, 255)
            Image.new(mode, (8, 8), color).save(tmp_path / name / f"{number}.png")
    splits = ImageFolder(path=str(tmp_path), size=8).load()
    assert splits.train.x.shape[1:] == (3, 8, 8)


def test_size_is_required():
    with pytest.raises(SpecError, match="`size` is missing"):
        build(ImageFolder, {"path": "x"})
    with pytest.raises(SpecError, match="size: got 0, expected at least 1"):
        build(ImageFolder, {"path": "x", "size": 0})


@pytest.mark.parametrize("use", [lambda d: d.tasks, ImageFolder.prepare, ImageFolder.load])
def test_folders_that_are_not_there(tmp_path, use):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataUnavailableError, match="found no folders here, expected one for each class"):
            use(ImageFolder(path=str(path), size=8))


def test_training_images_alone(tmp_path):
    write(tmp_path / "train", each=2)
    with pytest.raises(DataUnavailableError, match=r"found train/, expected test/ or val/ beside it"):
        ImageFolder(path=str(tmp_path), size=8).prepare()


def test_a_folder_without_images(tmp_path):
    write(tmp_path, each=10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataUnavailableError, match="Found no valid file for the classes empty"):
        ImageFolder(path=str(tmp_path), size=8).prepare()


def test_classes_of_both_trees_must_be_the_same(tmp_path):
    write(tmp_path / "train", each=10)
    write(tmp_path / "test", each=2)
    (tmp_path / "test/red").rename(tmp_path / "test/rouge")
    with pytest.raises(SpecError, match=r"found red, rouge in one of train/ and test/ alone"):
        ImageFolder(path=str(tmp_path), size=8).prepare()
