"""What every dataset promises. A new plug-in is covered as soon as it is registered."""

import pytest
import torch

from moosearch.data import DATASETS, labels_of
from moosearch.errors import DataUnavailableError, Place, SpecError
from moosearch.registry import split_name


def known_tasks(cls):
    """Names of a dataset's auxiliary tasks: its message for an unknown one lists them."""
    with pytest.raises(SpecError) as caught:
        cls(auxiliary=("no such task",))
    known = str(caught.value).rpartition("Known: ")[2].rstrip(".")
    return () if known == "none" else tuple(known.split(", "))


@pytest.fixture(scope="module", params=list(DATASETS))
def dataset(request):
    cls = DATASETS.get(request.param)
    return cls(auxiliary=known_tasks(cls))


@pytest.fixture(scope="module")
def loaded(dataset):
    try:
        splits = dataset.load()
    except DataUnavailableError as error:
        pytest.skip(str(error))
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def test_images_are_float32_in_the_unit_range_and_of_the_announced_shape(dataset, loaded):
    for split in loaded.values():
        assert split.x.dtype == torch.float32
        assert split.x.shape == (len(split), *dataset.shape)
        assert 0 <= split.x.min() < split.x.max() <= 1


def test_labels_are_int64_and_every_class_occurs_in_every_split(dataset, loaded):
    for split in loaded.values():
        assert split.y.dtype == torch.int64
        assert split.y.shape == (len(split.x),)
        assert split.y.unique().tolist() == list(range(dataset.tasks[0].size))


def test_no_image_is_in_two_splits(loaded):
    seen = [{image.numpy().tobytes() for image in split.x} for split in loaded.values()]
    assert len(seen[0] | seen[1] | seen[2]) == sum(len(images) for images in seen)


def test_loading_twice_gives_the_same(dataset, loaded):
    again = dataset.load()
    for name, split in loaded.items():
        assert torch.equal(split.x, getattr(again, name).x)
        assert torch.equal(split.y, getattr(again, name).y)


def test_loading_leaves_the_global_generator_alone(dataset, loaded):
    before = torch.get_rng_state()
    dataset.load()
    assert torch.equal(torch.get_rng_state(), before)


def test_main_task_is_the_identity_and_comes_first(dataset):
    main = dataset.tasks[0]
    assert main.group_of == tuple(range(main.size))
    assert [task.name for task in dataset.tasks[1:]] == list(dataset.auxiliary)


def test_auxiliary_labels_are_functions_of_the_main_label(dataset, loaded):
    y = loaded["train"].y
    for task, labels in zip(dataset.tasks, labels_of(dataset.tasks, y), strict=True):
        assert len(task.group_of) == dataset.tasks[0].size
        assert labels.dtype == torch.int64
        pairs = set(zip(y.tolist(), labels.tolist(), strict=True))
        assert len(pairs) == dataset.tasks[0].size, "one group a class"
        assert {group for _, group in pairs} == set(range(task.size)), "no group is empty"


def test_without_auxiliary_tasks_there_is_the_main_one_alone(dataset):
    assert type(dataset)().auxiliary == ()
    assert type(dataset)().tasks == dataset.tasks[:1]


def test_equal_datasets_hash_alike(dataset):
    twin = type(dataset)(auxiliary=dataset.auxiliary)
    assert twin == dataset
    assert hash(twin) == hash(dataset)


def test_misspelt_name_of_a_dataset_names_the_nearest(dataset):
    name = DATASETS.name_of(dataset)
    with pytest.raises(SpecError, match=f"Did you mean '{name}'"):
        DATASETS.get(name + "x")


def test_a_bare_name_is_enough(dataset):
    assert split_name(DATASETS.name_of(dataset), DATASETS, Place()) == (type(dataset), {})
