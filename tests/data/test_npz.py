import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from moosearch.data import cache as cache_module
from moosearch.data import npz as npz_module
from moosearch.data.npz import Npz, inspect_npz, read_npz
from moosearch.errors import DataUnavailableError, SpecError


def lzma_copy(path):
    """Rewrite an .npz file with members that LZMA compresses."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.fixture
def no_images(monkeypatch):
    """Make reading a member with images an error."""
    real = npz_module._member

    def small(archive, name):
        assert not name.startswith("x_"), "images were read"
        return real(archive, name)

    monkeypatch.setattr(npz_module, "_member", small)


def test_shape_classes_and_names_are_known_without_images(npz, no_images):
    path = npz(classes=4, shape=(7, 9, 3))
    lzma_copy(path)
    dataset = Npz(path=path)
    assert dataset.shape == (3, 7, 9)
    assert dataset.tasks[0].groups == ("0", "1", "2", "3")
    assert Npz(path=path, size=5).shape == (3, 5, 5)


def test_one_wrong_label_does_not_make_a_million_classes(npz):
    y = np.arange(60) % 3
    y[7] = 10**9
    with pytest.raises(SpecError, match=r"y_train: found labels .* to 1000000000, expected one class number"):
        Npz(path=npz(y_train=y)).tasks  # noqa: B018


def test_names_of_classes_are_those_given_then_those_of_the_file(npz):
    path = npz(class_names=np.array(["cat", "dog", "ox"]))
    assert Npz(path=path).tasks[0].groups == ("cat", "dog", "ox")
    assert Npz(path=path, classes=("a", "b", "c")).tasks[0].groups == ("a", "b", "c")


def test_too_few_names_are_refused(npz):
    with pytest.raises(SpecError, match=r"y_train: found labels from 0 to 2, expected 0 to 1"):
        Npz(path=npz(), classes=("a", "b")).prepare()


def test_names_that_occur_twice_are_refused(npz):
    with pytest.raises(SpecError, match=r"two classes are called 'a'"):
        Npz(path=npz(), classes=("a", "b", "a")).prepare()


def test_group_by_keeps_tracks_together(npz):
    tracks = np.repeat(np.arange(20), 3)
    dataset = Npz(
        path=npz(train=20, y_train=tracks % 2, classes=3, y_test=np.arange(12) % 2, sign=tracks),
        group_by="sign",
        val_size=18,
    )
    splits = dataset.load()
    images = read_npz(dataset.path)
    track_of = {image.tobytes(): track for image, track in zip(images.x_train, tracks, strict=True)}

    def seen(split):
        return {track_of[np.ascontiguousarray(x).tobytes()] for x in split.x.permute(0, 2, 3, 1).numpy()}

    assert not seen(splits.train) & seen(splits.val)
    assert len(seen(splits.val)) == 6


def test_unknown_member_to_group_by_is_refused(npz):
    with pytest.raises(SpecError, match=r"group_by: .* has no member 'sgin'. It has x_train, .*sign"):
        Npz(path=npz(sign=np.arange(60)), group_by="sgin").prepare()


@pytest.mark.parametrize("use", [lambda d: d.shape, lambda d: d.tasks, Npz.prepare, Npz.load])
def test_a_file_that_is_not_there(tmp_path, use):
    path = tmp_path / "none.npz"
    with pytest.raises(
        DataUnavailableError, match=r"there is no such file .*Expected an .npz file with x_train"
    ):
        use(Npz(path=str(path)))


@pytest.mark.parametrize("use", [lambda d: d.shape, Npz.load])
def test_files_that_are_no_npz(tmp_path, use):
    path = tmp_path / "text.npz"
    path.write_text("no images")
    with pytest.raises(SpecError, match=r"this is no .npz file that can be read"):
        use(Npz(path=str(path)))
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        use(Npz(path=str(tmp_path)))


def test_pickles_are_not_read(npz):
    path = npz(y_train=np.array([0, 1] * 30, dtype=object))
    with pytest.raises(SpecError, match=r"this is no .npz file that can be read"):
        Npz(path=path).load()


def test_missing_members_are_named(npz):
    with pytest.raises(SpecError, match="x_test, y_test are missing"):
        Npz(path=npz(without=("x_test", "y_test"))).prepare()


def test_loading_uses_the_copy_that_preparing_left(npz, cache, request):
    path = npz()
    lzma_copy(path)
    dataset = Npz(path=path)
    first = dataset.load()
    dataset.prepare()
    assert sorted(file.stem for file in cache.rglob("*.npy")) == sorted(npz_module.MEMBERS)
    request.getfixturevalue("no_images")
    again = dataset.load()
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(first, name).x, getattr(again, name).x)
        assert torch.equal(getattr(first, name).y, getattr(again, name).y)


def test_images_are_copies_that_may_be_written(npz):
    path = npz()
    for _ in range(2):  # the second time from the memory-mapped copy
        x = Npz(path=path).load().test.x
        x.zero_()
    assert Npz(path=path).load().test.x.max() > 0


@pytest.mark.parametrize("classes", [3, 4])
def test_a_file_that_changes_is_read_again(npz, cache, classes):
    path = npz(seed=0)
    before, size = Npz(path=path).load(), Path(path).stat().st_size
    npz(seed=1, classes=classes)
    os.utime(path, ns=(1, 1))
    assert (Path(path).stat().st_size == size) == (classes == 3)
    after = Npz(path=path)
    assert after.tasks[0].size == classes
    assert not torch.equal(after.load().test.x[:5], before.test.x[:5])
    assert len(list(cache.rglob("x_train.npy"))) == 1, "the copy of the old file is gone"


def test_a_cache_that_cannot_be_written_is_no_error(npz, cache, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    dataset = Npz(path=npz())
    dataset.prepare()
    assert len(dataset.load().test) == 12


def test_a_damaged_copy_is_replaced(npz, cache):
    dataset = Npz(path=npz())
    expected = dataset.load().train.x
    (copy,) = cache.rglob("x_train.npy")
    copy.write_bytes(copy.read_bytes()[:500])
    assert torch.equal(dataset.load().train.x, expected)
    assert np.load(copy).shape == (60, 6, 6, 3)


def test_a_copy_that_another_process_finished_first_stays(cache):
    def slower():
        cache_module.cached("images", "1", lambda: {"x": np.array([1])})
        return {"x": np.array([2])}

    assert cache_module.cached("images", "1", slower)["x"].tolist() == [2]
    assert cache_module.cached("images", "1", dict)["x"].tolist() == [1]
    assert not list(cache.rglob(".partial-*"))


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(cache_module.Path, "home", homeless)
    assert cache_module.cached("images", "1", lambda: {"x": np.array([1])})["x"].tolist() == [1]


def test_what_a_file_says_is_read_once(npz, monkeypatch):
    path = npz()
    inspect_npz(path)
    monkeypatch.setattr(npz_module, "ZipFile", None)
    assert inspect_npz(path).shape == (3, 6, 6)
