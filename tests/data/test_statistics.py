import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.data import Task, inter_class_variance, similar_classes, statistics
from moosearch.data.digits import Digits


def brute_force(x, y):
    """Equation 8 by loops, in float64."""
    x, y = x.double().numpy(), y.numpy()
    means = []
    for k, j in itertools.permutations(np.unique(y), 2):
        distances = [np.sqrt(((a - b) ** 2).sum()) for a, b in itertools.product(x[y == k], x[y == j])]
        means.append(np.mean(distances))
    return np.mean(means)


@given(st.integers(0, 50), st.integers(2, 4), st.integers(1, 7))
def test_inter_class_variance_is_equation_8(seed, classes, chunk):
    generator = torch.Generator().manual_seed(seed)
    # Classes of different sizes count alike.
    y = torch.cat([torch.full((label + 1,), label) for label in range(classes)])
    x = torch.rand(len(y), 2, 3, 3, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "CHUNK", chunk)
        assert inter_class_variance(x, y) == pytest.approx(brute_force(x, y), rel=1e-5)


def test_inter_class_variance_of_points_on_a_line():
    x = torch.tensor([0.0, 0.0, 0.25, 1.0]).reshape(4, 1, 1, 1)
    y = torch.tensor([0, 0, 5, 9])
    assert inter_class_variance(x, y) == pytest.approx((0.25 + 1.0 + 0.75) / 3)


def test_inter_class_variance_of_digits():
    images = Digits().load().val
    assert inter_class_variance(images.x, images.y) == pytest.approx(
        brute_force(images.x, images.y), rel=1e-5
    )


def clouds():
    """Five classes: 0 and 3 dark, 1 bright, 2 and 4 in between."""
    centers = torch.tensor([0.0, 1.0, 0.5, 0.05, 0.52])
    y = torch.arange(5).repeat(6)
    noise = torch.rand(30, 1, 2, 2, generator=torch.Generator().manual_seed(0)) / 50
    return centers[y].reshape(-1, 1, 1, 1) + noise, y


def test_similar_classes_are_grouped():
    x, y = clouds()
    task = similar_classes(x, y, 3)
    assert task.groups == {"group_1": [0, 3], "group_2": [1], "group_3": [2, 4]}
    named = similar_classes(x, y, 3, classes="abcde", name="shade")
    assert named.groups == {"group_1": ["a", "d"], "group_2": ["b"], "group_3": ["c", "e"]}
    assert named.task("abcde") == Task("shade", ("group_1", "group_2", "group_3"), (0, 1, 2, 0, 2))


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_similar_classes_make_the_number_of_groups_asked_for_whatever_the_order_of_images(groups):
    x, y = clouds()
    task = similar_classes(x, y, groups)
    assert task.task("abcde").size == groups
    assert similar_classes(x.flip(0), y.flip(0), groups) == task


@pytest.mark.parametrize("groups", [0, 1, 6])
def test_impossible_numbers_of_groups_are_refused(groups):
    with pytest.raises(ValueError, match=rf"groups: got {groups}, expected 2 to 5"):
        similar_classes(*clouds(), groups)
