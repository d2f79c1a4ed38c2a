import numpy as np
import pytest
import torch
from PIL import Image

from moosearch.data import Task, own_images
from moosearch.errors import DataUnavailableError, SpecError

CLASSES = ("ant", "bee", "cat")
TASK = Task.main(CLASSES)
BYTES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 1, 0, 2])


def saved(path, **members):
    np.savez(path, **members)
    return path


@pytest.mark.parametrize("names", [("x", "y"), ("x_test", "y_test")])
@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.uint8), LABELS.astype(np.int32)])
def test_images_of_a_file(tmp_path, names, labels):
    path = saved(tmp_path / "own.npz", **dict(zip(names, (BYTES, labels), strict=True)))
    images = own_images(path, (1, 4, 5), TASK)
    torch.testing.assert_close(images.pixels(), torch.from_numpy(BYTES / np.float32(255)).unsqueeze(1))
    assert images.y.tolist() == LABELS.tolist()
    assert images.y.dtype == torch.int64


def test_test_images_come_first_and_training_images_are_not_touched(tmp_path):
    path = saved(
        tmp_path / "own.npz",
        x_train=np.zeros((1, 9, 9)),
        y_train=LABELS,
        x=BYTES,
        y=LABELS,
        x_test=BYTES[:2],
        y_test=LABELS[:2],
    )
    assert len(own_images(path, (1, 4, 5), TASK)) == 2


def test_images_in_color_and_in_float(tmp_path):
    x = np.random.default_rng(0).random((6, 4, 5, 3), dtype=np.float32)
    images = own_images(saved(tmp_path / "own.npz", x=x, y=LABELS), (3, 4, 5), TASK)
    assert torch.equal(images.x, torch.from_numpy(x).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"x": BYTES}, ["found the members x", "x_test and y_test, or x and y"]),
        ({}, ["found the members (none)"]),
        ({"x": BYTES, "y_test": LABELS}, ["found the members x, y_test"]),
        ({"x": BYTES, "y": LABELS[:5]}, ["own.npz: y: found int64 of shape (5,)", "(6,)"]),
        ({"x": BYTES, "y": LABELS + 1}, ["labels from 1 to 3", "expected 0 to 2"]),
        ({"x": BYTES, "y": LABELS - 1}, ["labels from -1 to 1"]),
        ({"x": BYTES, "y": LABELS.astype(float)}, ["float64", "expected integers"]),
        ({"x": BYTES[:0], "y": LABELS[:0]}, ["own.npz: x: found uint8 of shape (0, 4, 5)"]),
        ({"x": BYTES.astype(np.float32), "y": LABELS}, ["found values from", "[0, 1]"]),
        ({"x": np.full((6, 4, 5), np.nan, np.float32), "y": LABELS}, ["nan"]),
        ({"x": BYTES.astype(int), "y": LABELS}, ["found int64", "expected uint8"]),
        ({"x_test": BYTES[:, :3], "y_test": LABELS}, ["x_test: found images of 1 x 3 x 5", "1 x 4 x 5"]),
        ({"x": np.stack([BYTES] * 3, axis=3), "y": LABELS}, ["found images of 3 x 4 x 5"]),
        ({"x": BYTES.transpose(0, 2, 1), "y": LABELS}, ["found images of 1 x 5 x 4"]),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, members, words):
    with pytest.raises(SpecError) as caught:
        own_images(saved(tmp_path / "own.npz", **members), (1, 4, 5), TASK)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(SpecError, match=r"own\.npz: this is no \.npz file"):
        own_images(tmp_path / "own.npz", (1, 4, 5), TASK)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataUnavailableError, match=r"nowhere.npz: there is no such file.*x_test, y_test"):
        own_images(tmp_path / "nowhere.npz", (1, 4, 5), TASK)


def test_folders_are_classes_by_name(tmp_path):
    """Labels are those of the network, also where some of its classes have no images."""
    for name, value in (("cat", 200), ("bee", 100)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9), (value, 0, 0)).save(tmp_path / name / "one.png")
    images = own_images(tmp_path, (3, 6, 6), TASK)
    assert images.x[:, 0, 0, 0].tolist() == [100, 200]
    assert images.y.tolist() == [1, 2]
    with pytest.raises(SpecError, match=r"found images of 3 x 6 x 6.*expected 1 x 6 x 6"):
        own_images(tmp_path, (1, 6, 6), TASK)
    (tmp_path / "cat").rename(tmp_path / "cats")
    with pytest.raises(SpecError, match=r"no class 'cats'\. Did you mean 'cat'"):
        own_images(tmp_path, (3, 6, 6), TASK)


def test_folders_without_images_are_named(tmp_path):
    with pytest.raises(DataUnavailableError, match="found no folders"):
        own_images(tmp_path, (3, 6, 6), TASK)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataUnavailableError, match="cat"):
        own_images(tmp_path, (3, 6, 6), TASK)
