"""Maths of the decision aids, against brute force, pymoo and moocore."""

import importlib
import itertools
import math
import warnings

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.pareto import non_dominated
from moosearch.pareto.decision import (
    AUGMENTATION,
    achievements,
    distances,
    heights,
    lexicographic,
    mismatches,
    pseudo_weights,
    scaled,
    thinned,
    tradeoffs,
)

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
NUMBER = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 2).map(
    lambda x: round(x, 6)
)  # ties are frequent


@st.composite
def fronts(draw, most=12, least=1):
    """Losses of non-dominated rows."""
    count = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[NUMBER] * count), min_size=least, max_size=most))
    losses = np.array(rows)
    return losses[non_dominated(losses)]


@st.composite
def weighted(draw, **kwargs):
    losses = draw(fronts(**kwargs))
    weights = draw(
        st.lists(st.integers(0, 5), min_size=losses.shape[1], max_size=losses.shape[1]).filter(any)
    )
    return losses, weights


@SETTINGS
@given(fronts())
def test_scaled_losses_span_0_to_1_where_rows_differ(losses):
    rows = scaled(losses)
    differ = np.ptp(losses, axis=0) > 0
    assert rows.min(axis=0).tolist() == [0.0] * losses.shape[1]
    assert rows.max(axis=0).tolist() == differ.astype(float).tolist()


@SETTINGS
@given(fronts())
def test_heights_order_rows_by_distance_to_the_plane_through_the_extremes(losses):
    rows, many = scaled(losses), losses.shape[1]
    normal = np.ones(many) / math.sqrt(many)
    beyond = (np.eye(many)[0] - rows) @ normal  # towards the ideal; the plane holds all unit vectors
    np.testing.assert_allclose(heights(losses), 1 - math.sqrt(many) * beyond, atol=1e-12)


def tradeoff_brute(rows, i):
    ratios = []
    for other in rows:
        lost = sum(max(0, b - a) for a, b in zip(rows[i], other, strict=True))
        gained = sum(max(0, a - b) for a, b in zip(rows[i], other, strict=True))
        if gained > 0:
            ratios.append(lost / gained)
    return min(ratios, default=math.inf)


@SETTINGS
@given(fronts())
def test_tradeoffs_are_those_of_brute_force(losses):
    rows = scaled(losses).tolist()
    np.testing.assert_allclose(tradeoffs(losses), [tradeoff_brute(rows, i) for i in range(len(rows))])


def pymoo(module, name):
    """A class of pymoo; its modules import what SciPy moved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(f"pymoo.mcdm.{module}"), name)


@pytest.mark.parametrize("seed", range(20))
def test_the_highest_tradeoff_is_among_pymoos(seed):
    """Of so few rows, all are neighbors to pymoo."""
    rng = np.random.default_rng(seed)
    losses = rng.dirichlet(np.ones(3), size=7) ** rng.uniform(0.3, 3)
    losses = losses[non_dominated(losses)]
    with warnings.catch_warnings():  # it sets a filter for the whole process
        found = pymoo("high_tradeoff", "HighTradeoffPoints")().do(scaled(losses))
    if found is not None:
        assert int(np.argmax(tradeoffs(losses))) in np.atleast_1d(found)
    assert seed or found is not None


@SETTINGS
@given(weighted())
def test_achievements_are_those_of_brute_force(case):
    losses, weights = case
    shares = [w / sum(weights) for w in weights]
    expected = []
    for row in scaled(losses).tolist():
        terms = [share * loss for share, loss in zip(shares, row, strict=True)]
        expected.append(max(terms) + AUGMENTATION * sum(terms))
    np.testing.assert_allclose(achievements(losses, weights), expected, atol=1e-12)


@SETTINGS
@given(weighted())
def test_distances_are_those_of_brute_force(case):
    losses, weights = case
    shares = [w / sum(weights) for w in weights]
    expected = [math.dist([0] * len(row), np.multiply(shares, row)) for row in scaled(losses).tolist()]
    np.testing.assert_allclose(distances(losses, weights), expected, atol=1e-12)


@SETTINGS
@given(weighted())
def test_pseudo_weights_are_pymoos_where_it_has_some(case):
    losses, weights = case
    differ = np.ptp(losses, axis=0) > 0
    found = pseudo_weights(losses)
    assert not found[:, ~differ].any()
    target = np.array(weights)[differ] / (sum(np.array(weights)[differ]) or 1)
    if differ.any():
        theirs = pymoo("pseudo_weights", "PseudoWeights")
        index, expected = theirs(target).do(losses[:, differ], return_pseudo_weights=True)
        np.testing.assert_allclose(found[:, differ], expected, atol=1e-12)
        apart = mismatches(losses, weights)
        assert apart[index] == pytest.approx(apart.min(), abs=1e-12)


@SETTINGS
@given(weighted(), st.sampled_from([achievements, distances, mismatches]), st.floats(0.01, 1e300))
def test_weights_count_by_their_ratios(case, measure, factor):
    losses, weights = case
    large = np.array(weights) * min(factor, 3e307)
    np.testing.assert_allclose(measure(losses, large), measure(losses, weights), atol=1e-12)


@SETTINGS
@given(fronts(least=2), st.data(), st.floats(0.01, 1e6))
def test_no_result_depends_on_units(losses, data, factor):
    column = data.draw(st.integers(0, losses.shape[1] - 1))
    other = losses.copy()
    other[:, column] = 3 + factor * other[:, column]
    ones = np.ones(losses.shape[1])
    for measure in (heights, tradeoffs, pseudo_weights):
        np.testing.assert_allclose(measure(other), measure(losses), rtol=1e-6, atol=1e-6)
    for weigh in (achievements, distances, mismatches):
        np.testing.assert_allclose(weigh(other, ones), weigh(losses, ones), atol=1e-6)


@SETTINGS
@given(weighted(), st.data())
def test_who_weighs_an_objective_more_does_not_get_less_of_it(case, data):
    losses, weights = case
    column = data.draw(st.integers(0, losses.shape[1] - 1))
    more = list(weights)
    more[column] += data.draw(st.integers(1, 20))
    before, after = (scaled(losses)[np.argmin(distances(losses, w)), column] for w in (weights, more))
    assert after <= before + 1e-6


@pytest.mark.parametrize("measure", [achievements, distances])
def test_an_objective_without_weight_does_not_count(measure):
    losses = np.array([[0.0, 0.3, 1.0], [0.5, 0.1, 0.5], [1.0, 0.2, 0.0]])
    np.testing.assert_allclose(measure(losses, [1, 0, 2]), measure(losses[:, [0, 2]], [1, 2]))
    np.testing.assert_allclose(measure(losses, [1, 1e-320, 2]), measure(losses[:, [0, 2]], [1, 2]))


def lexicographic_brute(losses, order, tolerances):
    left = list(range(len(losses)))
    for column, tolerance in zip(order, tolerances, strict=True):
        best = min(losses[i][column] for i in left)
        left = [i for i in left if losses[i][column] <= best + tolerance + 1e-12]
    return left


@SETTINGS
@given(fronts(), st.data())
def test_lexicographic_keeps_those_of_brute_force(losses, data):
    order = data.draw(st.permutations(range(losses.shape[1])))
    tolerances = data.draw(
        st.lists(st.sampled_from([0, 0.25, 0.5]), min_size=len(order), max_size=len(order))
    )
    stages = lexicographic(losses, order, tolerances)
    assert stages[-1].tolist() == lexicographic_brute(losses.tolist(), order, tolerances)
    for before, after in itertools.pairwise(stages):
        assert set(after) <= set(before)


def test_a_tolerance_includes_its_end_whatever_rounding_says():
    assert 0.81 - 0.8 > 0.01
    (left,) = lexicographic(np.array([[0.8], [0.81], [0.8101]]), [0], [0.01])
    assert left.tolist() == [0, 1]


SIZE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0.001, 3)


@SETTINGS
@given(fronts(most=20), st.data())
def test_whoever_is_thinned_out_is_epsilon_dominated_by_one_kept(losses, data):
    sizes = data.draw(st.lists(SIZE, min_size=losses.shape[1], max_size=losses.shape[1]))
    kept = thinned(losses, sizes).tolist()
    assert kept == sorted(set(kept))
    for row in losses:
        assert any(np.all(losses[k] <= row + np.array(sizes) + 1e-9) for k in kept)


@SETTINGS
@given(fronts(most=20), st.floats(0.02, 1))
def test_thinning_keeps_within_epsilon_by_moocore_and_one_a_box(losses, size):
    """The additive epsilon indicator is how far the kept ones must be moved to dominate all."""
    rows = scaled(losses)
    kept = thinned(rows, [size] * rows.shape[1])
    assert moocore.epsilon_additive(rows[kept], ref=rows) <= size + 1e-9
    boxes = np.floor(rows[kept] / size + 1e-9)
    assert non_dominated(boxes).all()
    assert len({tuple(box) for box in boxes}) == len(kept)


@SETTINGS
@given(fronts(most=20))
def test_boxes_of_no_size_keep_all_that_differ(losses):
    kept = thinned(losses, [0.0] * losses.shape[1])
    assert {tuple(row) for row in losses[kept]} == {tuple(row) for row in losses}
    assert len(kept) == len({tuple(row) for row in losses})


def test_of_a_box_the_nearest_to_its_corner_is_kept_and_the_first_of_equals():
    losses = np.array([[0.0, 1.0], [0.2, 0.29], [0.24, 0.21], [0.24, 0.21], [1.0, 0.0]])
    assert thinned(losses, [0.2, 0.2]).tolist() == [0, 2, 4]


def test_of_boxes_only_those_are_kept_that_no_other_dominates():
    losses = np.array([[0.0, 1.0], [0.31, 0.3], [0.39, 0.28], [0.41, 0.27], [1.0, 0.0]])
    assert thinned(losses, [0.1, 0.1]).tolist() == [0, 2, 4]  # of (3, 3), (3, 2) and (4, 2)
    assert thinned(losses, [0.1, 0.2]).tolist() == [0, 1, 4]  # of (3, 1), twice, and (4, 1)


def test_one_box_keeps_one():
    losses = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]])
    assert thinned(losses, [1.5, 1.5]).tolist() == [1]


def test_nothing_is_thinned_to_nothing():
    assert thinned(np.zeros((0, 3)), [0.1] * 3).tolist() == []


@pytest.mark.parametrize(
    "losses", [np.zeros((1, 1)), np.zeros((1, 3)), np.ones((4, 2)), np.full((2, 1), 0.3)]
)
def test_rows_that_are_all_equal_are_equally_good(losses):
    ones = [1.0] * losses.shape[1]
    for values in (
        heights(losses),
        achievements(losses, ones),
        distances(losses, ones),
        mismatches(losses, ones),
    ):
        assert values.tolist() == [0.0] * len(losses)
    assert tradeoffs(losses).tolist() == [math.inf] * len(losses)
    assert lexicographic(losses, [0], [0.0])[-1].tolist() == list(range(len(losses)))
    assert thinned(losses, ones).tolist() == [0]
