import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.seeding import torch_generator


@pytest.fixture(scope="module")
def splits():
    return Digits().load()


def rows_in_source(x):
    """Row of each image in scikit-learn's file, found by its pixels."""
    source = {image.tobytes(): row for row, image in enumerate(load_digits().images.astype(np.uint8))}
    assert len(source) == 1797, "scikit-learn's images are all different"
    pixels = (x[:, 0] * 16).round().to(torch.uint8).numpy()
    return [source[image.tobytes()] for image in pixels]


def test_splits_have_the_documented_sizes(splits):
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [1077, 360, 360]


def test_splits_are_a_partition_of_the_source_and_labels_stay_with_their_images(splits):
    target = load_digits().target
    rows = []
    for split in (splits.train, splits.val, splits.test):
        here = rows_in_source(split.x)
        assert split.y.tolist() == target[here].tolist()
        rows += here
    assert sorted(rows) == list(range(1797))


def test_splits_are_stratified(splits):
    share = np.bincount(load_digits().target) / 1797
    for split in (splits.train, splits.val, splits.test):
        counts = torch.bincount(split.y, minlength=10).numpy()
        assert np.abs(counts - share * len(split)).max() <= 1.5


def test_pixels_are_sixteenths_in_the_unit_range(splits):
    x = splits.train.x
    assert x.shape == (1077, 1, 8, 8)
    assert x.min() == 0
    assert x.max() == 1
    assert torch.equal(x * 16, (x * 16).round())


def test_loading_again_gives_the_same_images_whatever_the_global_generators_did(splits):
    np.random.seed(123)  # noqa: NPY002
    torch.manual_seed(123)
    again = Digits(auxiliary=("odd_even",)).load()
    for first, second in zip(
        (splits.train, splits.val, splits.test), (again.train, again.val, again.test), strict=True
    ):
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.y, second.y)


def test_tasks_start_with_the_main_one_and_keep_the_order_of_the_names():
    tasks = Digits(auxiliary=("prime_composite", "odd_even")).tasks
    assert [task.name for task in tasks] == ["main", "prime_composite", "odd_even"]
    assert tasks[0].groups == tuple("0123456789")


def test_unknown_auxiliary_task_is_refused_when_the_dataset_is_named():
    with pytest.raises(SpecError, match="Did you mean 'odd_even'"):
        Digits(auxiliary=("odd_evn",))


def test_batches_in_order_cover_everything(splits):
    batches = list(splits.val.batches(100))
    assert [len(b) for b in batches] == [100, 100, 100, 60]
    assert torch.equal(torch.cat([b.x for b in batches]), splits.val.x)
    assert torch.equal(torch.cat([b.y for b in batches]), splits.val.y)


def test_shuffled_batches_are_a_permutation_that_the_generator_decides(splits):
    def passes(seed):
        batches = list(splits.val.batches(100, torch_generator(seed)))
        return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])

    x, y = passes(1)
    order = rows_in_source(x)
    assert sorted(order) == sorted(rows_in_source(splits.val.x))
    assert order != rows_in_source(splits.val.x)
    assert y.tolist() == load_digits().target[order].tolist()
    assert torch.equal(x, passes(1)[0])
    assert not torch.equal(x, passes(2)[0])


def test_one_generator_gives_another_order_each_pass(splits):
    generator = torch_generator(0)
    first, second = (torch.cat([b.y for b in splits.val.batches(64, generator)]) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("images", "shuffled", "expected"),
    [(9, True, [4, 4]), (9, False, [4, 4, 1]), (10, True, [4, 4, 2]), (1, True, [1])],
)
def test_only_a_shuffled_pass_leaves_out_a_last_batch_of_one(images, shuffled, expected):
    split = Split(torch.zeros(images, 1, 2, 2), torch.zeros(images, dtype=torch.int64))
    generator = torch_generator(0) if shuffled else None
    assert [len(b) for b in split.batches(4, generator)] == expected
