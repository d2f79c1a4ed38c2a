"""What every dataset promises. A new plug-in is covered as soon as it is registered."""

import dataclasses
from typing import Annotated

import numpy as np
import pytest
import torch
from PIL import Image

from moosearch.data import DATASETS, Dataset, ImageDataset, TaskSpec, labels_of
from moosearch.data.published import Published
from moosearch.errors import DataUnavailableError, Place, SpecError
from moosearch.registry import build, default_of, field_hints, split_name, to_tree

WNIDS = ["n01443537", "n02124075", "n04146614", "n07753592"]  # goldfish, cat, school bus, banana


def made_up(cls, folder):
    """Fields that give a dataset a few made-up images where it needs files."""
    generator = np.random.default_rng(0)
    if cls is DATASETS.get("image_folder"):
        for name in ("ant", "bee", "cow"):
            (folder / name).mkdir()
            for number in range(12):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number}.png")
        return {"path": str(folder), "size": 8}
    if cls is DATASETS.get("double_digits"):
        return {"source": "digits", "canvas": 18, "images": 600, "test_images": 120}
    if not issubclass(cls, ImageDataset) or cls is DATASETS.get("digits"):
        return {}
    members = {"wnids": np.array(WNIDS)} if cls is DATASETS.get("tiny_imagenet") else {}
    classes = len(cls.CLASSES) or len(WNIDS)
    channels = cls.SHAPE[0] if "SHAPE" in vars(cls) else 3
    for part, each in (("train", 12), ("test", 3)):
        members[f"y_{part}"] = np.tile(np.arange(classes), each)
        members[f"x_{part}"] = generator.integers(0, 256, (each * classes, 6, 6, channels), dtype=np.uint8)
    np.savez(folder / "images.npz", **members)
    return {"npz" if issubclass(cls, Published) else "path": str(folder / "images.npz")}


def known_tasks(cls, fields):
    """Names of a dataset's auxiliary tasks: its message for an unknown one lists them."""
    with pytest.raises(SpecError) as caught:
        cls(**fields, auxiliary=("no such task",))
    known = str(caught.value).rpartition("Known: ")[2].rstrip(".")
    return () if known == "none" else tuple(known.split(", "))


@pytest.fixture(scope="module", params=list(DATASETS))
def dataset(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        cls = DATASETS.get(request.param)
        fields = made_up(cls, tmp_path_factory.mktemp("images"))
        yield cls(**fields, auxiliary=known_tasks(cls, fields))


@pytest.fixture(scope="module")
def loaded(dataset):
    try:
        splits = dataset.load()
    except DataUnavailableError as error:
        pytest.skip(str(error))
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def test_images_are_bytes_or_floats_in_the_unit_range_and_of_the_announced_shape(dataset, loaded):
    for split in loaded.values():
        assert split.x.dtype in (torch.uint8, torch.float32)
        assert split.x.shape == (len(split), *dataset.shape)
        assert 0 <= split.pixels().min() < split.pixels().max() <= 1


def test_labels_are_int64_and_every_class_occurs_in_every_split(dataset, loaded):
    for split in loaded.values():
        assert split.y.dtype == torch.int64
        main = dataset.tasks[0]
        if main.top == 1:
            assert split.y.shape == (len(split.x),)
            assert split.y.unique().tolist() == list(range(main.size))
        else:
            assert split.y.shape == (len(split.x), main.size)
            assert split.y.unique().tolist() == [0, 1]
            assert set(split.y.sum(dim=1).tolist()) == {main.top}
            assert split.y.any(dim=0).all()


def test_no_image_is_in_two_splits(loaded):
    seen = [{image.numpy().tobytes() for image in split.x} for split in loaded.values()]
    assert len(seen[0] | seen[1] | seen[2]) == sum(len(images) for images in seen)


def test_loading_twice_gives_the_same(dataset, loaded):
    again = dataset.load()
    for name, split in loaded.items():
        assert torch.equal(split.x, getattr(again, name).x)
        assert torch.equal(split.y, getattr(again, name).y)


def test_loading_and_preparing_leave_the_global_generators_alone(dataset, loaded):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    dataset.prepare()
    dataset.load()
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_shape_and_tasks_are_known_without_images(dataset, monkeypatch):
    monkeypatch.setattr(type(dataset), "read", None, raising=False)
    monkeypatch.setattr(type(dataset), "load", None)
    assert len(dataset.shape) == 3
    assert dataset.tasks[0].size > 1


def test_main_task_is_the_identity_and_comes_first(dataset):
    main = dataset.tasks[0]
    assert main.group_of == tuple(range(main.size))
    assert len(set(main.groups)) == main.size
    assert [task.name for task in dataset.tasks[1:]] == list(dataset.auxiliary)


def test_auxiliary_labels_are_functions_of_the_main_label(dataset, loaded):
    y = loaded["train"].y
    if dataset.tasks[0].top > 1:
        (labels,) = labels_of(dataset.tasks, y)
        assert torch.equal(labels > 0, y > 0)
        assert torch.equal(labels.sum(dim=1), torch.ones(len(y)))
        return
    for task, labels in zip(dataset.tasks, labels_of(dataset.tasks, y), strict=True):
        assert len(task.group_of) == dataset.tasks[0].size
        assert labels.dtype == torch.int64
        pairs = set(zip(y.tolist(), labels.tolist(), strict=True))
        assert len(pairs) == dataset.tasks[0].size, "one group a class"
        assert {group for _, group in pairs} == set(range(task.size)), "no group is empty"


def test_without_auxiliary_tasks_there_is_the_main_one_alone(dataset):
    assert default_of(type(dataset), "auxiliary") == ()
    assert dataclasses.replace(dataset, auxiliary=()).tasks == dataset.tasks[:1]


def test_own_tasks_stand_beside_the_shipped_ones(dataset):
    classes = dataset.tasks[0].groups
    if dataset.tasks[0].top > 1:
        own = TaskSpec("own", {"first": [classes[0]], "others": list(range(1, len(classes)))})
        with pytest.raises(SpecError, match="auxiliary: images with 2 labels have no groups"):
            dataclasses.replace(dataset, own_tasks=(own,), auxiliary=("own",)).tasks  # noqa: B018
        return
    own = TaskSpec("own", {"first": [classes[0], 1], "others": list(range(2, len(classes)))})
    names = ("own", *dataset.auxiliary)
    tasks = dataclasses.replace(dataset, own_tasks=(own,), auxiliary=names).tasks
    assert [task.name for task in tasks] == ["main", *names]
    assert tasks[1].group_of == (0, 0, *[1] * (len(classes) - 2))
    assert tasks[2:] == dataset.tasks[1:]
    for taken in dataset.auxiliary:
        clash = dataclasses.replace(own, name=taken)
        with pytest.raises(SpecError, match=f"own_tasks: there is a task '{taken}' already"):
            dataclasses.replace(dataset, own_tasks=(clash,))


def test_splits_have_the_sizes_asked_for(dataset):
    classes = dataset.tasks[0].size
    sizes = {"train_size": 4 * classes, "val_size": 2 * classes, "test_size": classes}
    splits = dataclasses.replace(dataset, **sizes).load()
    for name, size in sizes.items():
        split = getattr(splits, name.removesuffix("_size"))
        assert len(split) == size
        if dataset.tasks[0].top == 1:
            assert split.y.unique().tolist() == list(range(classes))


def test_images_are_resized(dataset, loaded):
    small = dataclasses.replace(dataset, size=5)
    assert small.shape == (dataset.shape[0], 5, 5)
    x = small.load().val.x
    assert x.shape == (len(loaded["val"]), *small.shape)
    assert x.dtype == loaded["val"].x.dtype


def test_equal_datasets_hash_alike(dataset):
    own = (TaskSpec("own", {"a": [0], "b": list(range(1, dataset.tasks[0].size))}),)
    for original in (dataset, dataclasses.replace(dataset, own_tasks=own)):
        twin = dataclasses.replace(original)
        assert twin == original
        assert hash(twin) == hash(original)
    assert dataclasses.replace(dataset, own_tasks=own) != dataset


def test_datasets_are_written_as_plain_data_and_built_again(dataset):
    own = TaskSpec("own", {"a": [0], "b": list(range(1, dataset.tasks[0].size))})
    original = dataclasses.replace(dataset, own_tasks=(own,))
    hint = Annotated[Dataset, DATASETS]
    assert build(hint, to_tree(original, hint)) == original


def test_common_fields_have_the_same_names_everywhere(dataset):
    common = {"auxiliary", "own_tasks", "size", "train_size", "val_size", "test_size"}
    assert common <= field_hints(type(dataset)).keys()
    if isinstance(dataset, Published):
        assert {"root", "download", "npz"} <= field_hints(type(dataset)).keys()


def test_misspelt_name_of_a_dataset_names_the_nearest(dataset):
    name = DATASETS.name_of(dataset)
    with pytest.raises(SpecError, match=f"Did you mean '{name}'"):
        DATASETS.get(name + "x")


def test_a_bare_name_is_enough_to_find_it(dataset):
    assert split_name(DATASETS.name_of(dataset), DATASETS, Place()) == (type(dataset), {})
