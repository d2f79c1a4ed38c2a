"""What all image datasets share, on made-up files of the dataset `npz`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from moosearch.data import TaskSpec
from moosearch.data.images import check, hold_out, resized
from moosearch.data.npz import Npz, read_npz
from moosearch.errors import SpecError
from moosearch.registry import build

WARM = TaskSpec("warm", {"yes": [0, 1], "no": [2]})


@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.data())
def test_hold_out_is_a_partition_by_class(counts, data):
    y = np.repeat(np.arange(len(counts)), counts)
    size = data.draw(st.integers(len(counts), len(y) - len(counts)))
    left, held = hold_out("val_size", size, y)
    assert sorted([*left, *held]) == list(range(len(y)))
    assert len(held) == size
    share = np.array(counts) * size / len(y)
    assert np.abs(np.bincount(y[held], minlength=len(counts)) - share).max() < 1
    assert all(np.array_equal(a, b) for a, b in zip((left, held), hold_out("", size, y), strict=True))


@given(st.integers(0, 20))
def test_hold_out_takes_whole_tracks(seed):
    generator = np.random.default_rng(seed)
    frames = generator.integers(1, 8, 40)
    tracks = np.repeat([f"sign {n}" for n in range(40)], frames)
    y = np.repeat(np.arange(40) % 4, frames)
    order = generator.permutation(len(y))
    left, held = hold_out("val_size", len(y) // 4, y[order], tracks[order])
    assert sorted([*left, *held]) == list(range(len(y)))
    kept, gone = {*tracks[order][left]}, {*tracks[order][held]}
    assert not kept & gone
    assert len(gone) == 8
    assert np.bincount(y[order][held]).min() > 0, "every class is held out in part"


def test_hold_out_refuses_classes_of_one_track():
    with pytest.raises(SpecError, match="val_size: nothing can be held out"):
        hold_out("val_size", 5, np.repeat([0, 1], 10), np.repeat(["a", "b"], 10))


@pytest.mark.parametrize("size", [2, 58, 60, 99])
def test_hold_out_refuses_what_leaves_a_class_out(size):
    with pytest.raises(SpecError, match=rf"val_size: {size} of 60 in 3 classes cannot be taken by class"):
        hold_out("val_size", size, np.arange(60) % 3)


def test_sizes_of_splits(npz):
    path = npz(classes=3, train=20, test=10)
    for fields, sizes in (
        ({}, (48, 12, 30)),
        ({"val_size": 9}, (51, 9, 30)),
        ({"val_size": 9, "train_size": 30, "test_size": 6}, (30, 9, 6)),
        ({"train_size": 48, "test_size": 30}, (48, 12, 30)),
    ):
        splits = Npz(path=path, **fields).load()
        assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
        for split in (splits.train, splits.val, splits.test):
            assert set(torch.bincount(split.y, minlength=3).tolist()) == {len(split) // 3}


def test_validation_is_a_thousand_images_of_many(npz):
    splits = Npz(path=npz(classes=2, train=3000, shape=(1, 1))).load()
    assert (len(splits.train), len(splits.val)) == (5000, 1000)


def test_validation_has_an_image_of_every_class(npz):
    splits = Npz(path=npz(classes=20, train=3)).load()
    assert (len(splits.train), len(splits.val)) == (40, 20)


def test_validation_is_the_same_whatever_else_is_asked_for(npz):
    path = npz()
    plain = Npz(path=path, val_size=12).load()
    other = Npz(path=path, val_size=12, train_size=24, test_size=6, own_tasks=(WARM,)).load()
    assert torch.equal(plain.val.x, other.val.x)
    rows = {image.numpy().tobytes() for image in plain.train.x}
    assert {image.numpy().tobytes() for image in other.train.x} < rows


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"val_size": 2}, "val_size: 2 of 60 in 3 classes"),
        ({"val_size": 60}, "val_size: 60 of 60 in 3 classes"),
        ({"val_size": 12, "train_size": 49}, "train_size: 49 of 48 in 3 classes"),
        ({"test_size": 13}, "test_size: 13 of 12 in 3 classes"),
    ],
)
@pytest.mark.parametrize("method", ["prepare", "load"])
def test_sizes_that_do_not_fit_are_refused(npz, fields, message, method):
    with pytest.raises(SpecError) as caught:
        getattr(Npz(path=npz(), **fields), method)()
    assert message in str(caught.value)


@pytest.mark.parametrize("field", ["size", "train_size", "val_size", "test_size"])
def test_negative_sizes_are_refused(field):
    with pytest.raises(SpecError, match=f"{field}: got -1, expected at least 0"):
        build(Npz, {"path": "x.npz", field: -1})


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3)])
def test_images_are_channel_first_and_stay_bytes(npz, shape):
    path = npz(shape=shape)
    dataset = Npz(path=path)
    images, split = read_npz(path), dataset.load().test
    assert dataset.shape == (shape[2] if len(shape) == 3 else 1, 6, 8)
    assert split.x.dtype == torch.uint8
    assert split.x.is_contiguous()
    stored = images.x_test.reshape(len(images.x_test), 6, 8, -1)
    assert np.array_equal(split.x.numpy(), stored.transpose(0, 3, 1, 2))
    assert split.y.tolist() == images.y_test.tolist()


def test_resizing_is_antialiased_and_keeps_bytes(npz):
    path = npz(shape=(9, 6, 3))
    plain, small = Npz(path=path).load(), Npz(path=path, size=4)
    assert small.shape == (3, 4, 4)
    for name in ("train", "val", "test"):
        x, whole = getattr(small.load(), name).x, getattr(plain, name).x
        assert x.dtype == torch.uint8
        exact = F.interpolate(whole.double(), (4, 4), mode="bilinear", antialias=True)
        assert (x - exact).abs().max() <= 1


def test_resizing_floats_stays_in_the_unit_range():
    x = torch.ones(300, 1, 28, 28)  # of which the sums of weights are a little more than 1
    x[:, :, 14:] = 0.1
    y = resized(x, 5)
    assert y.shape == (300, 1, 5, 5)
    assert torch.allclose(y[:, :, 0], torch.tensor(1.0))
    assert torch.allclose(y[:, :, 4], torch.tensor(0.1))
    assert y.max() <= 1
    assert resized(x, 0) is x
    assert resized(x, 28) is x


def test_own_tasks_are_used_by_name(npz):
    dataset = Npz(path=npz(), own_tasks=(WARM,), auxiliary=("warm",))
    assert [task.name for task in dataset.tasks] == ["main", "warm"]
    assert dataset.tasks[1].group_of == (0, 0, 1)
    dataset.prepare()


def test_own_tasks_of_files_are_checked_against_their_classes(npz):
    wrong = Npz(path=npz(classes=4), own_tasks=(WARM,))
    for use in (wrong.prepare, lambda: wrong.tasks):
        with pytest.raises(SpecError, match=r"the task 'warm' has no group for: 3"):
            use()


def test_own_tasks_need_names_of_their_own():
    with pytest.raises(SpecError, match=r"own_tasks: there is a task 'warm' already"):
        Npz(path="x.npz", own_tasks=(WARM, WARM))
    with pytest.raises(SpecError, match=r"no auxiliary task is called 'wram'. Did you mean 'warm'"):
        Npz(path="x.npz", own_tasks=(WARM,), auxiliary=("wram",))


GOOD = {"train": 4, "classes": 2, "shape": (5, 5, 3)}
ONE = np.zeros((8, 5, 5, 3))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x_train": ONE}, "x_train: found float64 of shape (8, 5, 5, 3), expected uint8"),
        ({"x_train": np.zeros((8, 3, 32, 32), np.uint8)}, "x_train: found uint8 of shape (8, 3, 32, 32)"),
        ({"x_test": np.zeros((8, 25), np.uint8)}, "x_test: found uint8 of shape (8, 25), expected"),
        (
            {"x_test": np.zeros((8, 5, 4, 3), np.uint8)},
            "x_test: found images of shape (5, 4, 3), expected (5, 5, 3)",
        ),
        ({"x_test": ONE[:0].astype(np.uint8)}, "x_test: found uint8 of shape (0, 5, 5, 3)"),
        ({"x_train": np.full_like(ONE, np.nan, np.float32)}, "x_train: found values from nan to nan"),
        ({"x_train": np.full_like(ONE, 255, np.float32)}, "x_train: found values from 255.0 to 255.0"),
        ({"x_train": np.full_like(ONE, -0.1, np.float32)}, "x_train: found values from -0.1"),
        (
            {"y_train": np.zeros(7, int)},
            "y_train: found int64 of shape (7,), expected integers of shape (8,)",
        ),
        ({"y_test": np.zeros((8, 1), int)}, "y_test: found int64 of shape (8, 1), expected integers"),
        ({"y_test": np.zeros(8)}, "y_test: found float64 of shape (8,), expected integers"),
        ({"y_test": np.arange(8) % 3}, "y_test: found labels from 0 to 2, expected 0 to 1"),
        ({"y_train": np.arange(8) % 2 - 1}, "y_train: found labels from -1 to 0, expected 0 to 1"),
        ({"y_train": np.array([0] + [1] * 7)}, "y_train: found 1 of class 0 (cold), expected at least two"),
        ({"tracks": np.arange(9)}, "found tracks of shape (9,), expected one a training image: (8,)"),
    ],
)
def test_wrong_arrays_are_refused_by_file_and_member(npz, members, message):
    path = npz(**GOOD, test=4, **{"tracks": np.arange(8)} | members)
    with pytest.raises(SpecError) as caught:
        check(read_npz(path, "tracks"), ["cold", "warm"])
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)


def test_right_arrays_pass(npz):
    check(read_npz(npz(**GOOD)), ["cold", "warm"])
    floats = {f"x_{part}": np.ones((8, 5, 5), np.float32) for part in ("train", "test")}
    check(read_npz(npz(**GOOD, test=4, **floats)), ["cold", "warm"])
