"""Hypervolume against closed forms and two independent twins: counted cells, inclusion and exclusion."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.pareto import contributions, hypervolume, non_dominated

SETTINGS = settings(deadline=None, derandomize=True, max_examples=80)
QUARTERS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.25])
LOSS = QUARTERS | st.floats(0, 1.5)


def rows(loss, most=6, objectives=(2, 3, 4)):
    return st.sampled_from(objectives).flatmap(
        lambda j: st.lists(st.tuples(*[loss] * j), min_size=1, max_size=most).map(np.array)
    )


def counted(losses, cells=4):
    """The share of grid cells whose lower corner is weakly dominated: exact for rows on the grid."""
    corners = itertools.product(np.arange(cells) / cells, repeat=losses.shape[1])
    return sum((losses <= corner).all(axis=1).any() for corner in corners) / cells ** losses.shape[1]


def summed(losses):
    """Inclusion and exclusion over the boxes between each row and the reference point."""
    total = 0.0
    for size in range(1, len(losses) + 1):
        for subset in itertools.combinations(losses, size):
            total -= (-1) ** size * np.clip(1 - np.max(subset, axis=0), 0, None).prod()
    return total


@SETTINGS
@given(rows(QUARTERS))
def test_the_twins_agree_with_each_other(losses):
    assert summed(losses) == pytest.approx(counted(losses), abs=1e-12)


@SETTINGS
@given(rows(QUARTERS, most=10))
def test_hypervolume_is_the_share_of_counted_cells(losses):
    assert hypervolume(losses) == pytest.approx(counted(losses), abs=1e-12)


@SETTINGS
@given(rows(LOSS))
def test_hypervolume_is_the_inclusion_exclusion_sum(losses):
    assert hypervolume(losses) == pytest.approx(summed(losses), abs=1e-12)


@pytest.mark.parametrize("row", [[0.3], [0.5, 0.5], [0.0, 0.9], [0.1, 0.2, 0.3], [0.2] * 5])
def test_one_row_dominates_a_box(row):
    assert hypervolume(np.array([row])) == pytest.approx(math.prod(1 - x for x in row))


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_a_staircase_has_its_closed_form(steps):
    i = np.arange(steps)
    losses = np.stack([i, steps - 1 - i], axis=1) / steps
    assert hypervolume(losses) == pytest.approx((steps + 1) / (2 * steps))


def test_the_ideal_point_dominates_everything():
    assert hypervolume(np.zeros((1, 3))) == 1.0


@pytest.mark.parametrize("shape", [(0, 2), (0, 3)])
def test_no_rows_have_no_hypervolume(shape):
    assert hypervolume(np.zeros(shape)) == 0.0
    assert contributions(np.zeros(shape)).shape == (0,)


@SETTINGS
@given(rows(LOSS, most=8))
def test_hypervolume_grows_with_every_row_and_stays_within_0_and_1(losses):
    growing = [hypervolume(losses[:count]) for count in range(len(losses) + 1)]
    assert growing[0] == 0
    assert all(after >= before - 1e-12 for before, after in itertools.pairwise(growing))
    assert growing[-1] <= 1 + 1e-12


@SETTINGS
@given(rows(LOSS), st.floats(1, 100) | st.just(math.inf), st.data())
def test_rows_beyond_the_reference_contribute_nothing(losses, far, data):
    beyond = np.zeros((1, losses.shape[1]))
    beyond[0, data.draw(st.integers(0, losses.shape[1] - 1))] = far
    assert hypervolume(np.concatenate([losses, beyond])) == hypervolume(losses)
    assert hypervolume(beyond) == 0.0


@SETTINGS
@given(rows(LOSS))
def test_dominated_and_repeated_rows_contribute_nothing(losses):
    more = np.concatenate([losses, losses + 0.01, losses])
    assert hypervolume(more) == pytest.approx(hypervolume(losses), abs=1e-12)


@SETTINGS
@given(rows(LOSS))
def test_the_losses_are_not_changed(losses):
    before = losses.copy()
    hypervolume(losses)
    contributions(losses)
    np.testing.assert_array_equal(losses, before)


@SETTINGS
@given(rows(LOSS))
def test_contributions_to_a_front_are_differences_of_hypervolumes(losses):
    losses = losses[non_dominated(losses)]
    expected = [summed(losses) - summed(np.delete(losses, i, axis=0)) for i in range(len(losses))]
    np.testing.assert_allclose(contributions(losses), expected, atol=1e-12)


def test_equal_rows_contribute_0_each():
    np.testing.assert_allclose(contributions(np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 0.9]])), [0, 0, 0.05])


def test_contributions_with_one_objective():
    # A campaign may have one objective: what the best row has over the second best.
    np.testing.assert_allclose(contributions(np.array([[0.3], [0.1], [0.9]])), [0.0, 0.2, 0.0])
