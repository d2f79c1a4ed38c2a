"""Losses, violations and dominance, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.pareto import non_dominated, to_losses, to_violations
from moosearch.pareto.dominance import FAILURE

SETTINGS = settings(deadline=None, derandomize=True, max_examples=100)
LOSS = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(-1, 2)  # ties are frequent


def rows(count):
    return st.integers(1, 4).flatmap(lambda j: st.lists(st.tuples(*[LOSS] * j), min_size=1, max_size=count))


def dominates_brute(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def dominates(a, b):
    """What `non_dominated` says of a pair."""
    return not non_dominated(np.array([a, b]))[1]


@SETTINGS
@given(rows(12))
def test_non_dominated_rows_are_those_of_brute_force(losses):
    expected = [not any(dominates_brute(other, row) for other in losses) for row in losses]
    assert non_dominated(np.array(losses)).tolist() == expected


@SETTINGS
@given(rows(1))
def test_no_row_dominates_itself(losses):
    assert not dominates(losses[0], losses[0])


@SETTINGS
@given(st.integers(1, 4).flatmap(lambda j: st.tuples(*[st.tuples(*[LOSS] * j)] * 2)))
def test_dominance_is_asymmetric(pair):
    a, b = pair
    assert not (dominates(a, b) and dominates(b, a))


@SETTINGS
@given(st.integers(1, 3).flatmap(lambda j: st.tuples(*[st.tuples(*[LOSS] * j)] * 3)))
def test_dominance_is_transitive(triple):
    a, b, c = triple
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@SETTINGS
@given(rows(12))
def test_every_row_left_out_is_dominated_by_a_row_kept(losses):
    losses = np.array(losses)
    keep = non_dominated(losses)
    assert keep.any()
    for row in losses[~keep]:
        assert any(dominates_brute(other, row) for other in losses[keep])


@SETTINGS
@given(rows(8), st.randoms(use_true_random=False))
def test_order_does_not_matter(losses, random):
    order = list(range(len(losses)))
    random.shuffle(order)
    losses = np.array(losses)
    np.testing.assert_array_equal(non_dominated(losses[order]), non_dominated(losses)[order])


def test_equal_rows_are_all_kept():
    assert non_dominated(np.array([[0.5, 0.5]] * 3)).all()


def test_no_rows_have_no_front():
    keep = non_dominated(np.zeros((0, 2)))
    assert keep.shape == (0,)
    assert keep.dtype == np.bool_


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        non_dominated(np.array([[0.0, np.nan], [1.0, 1.0]]))


def test_infinite_losses_are_ordered_like_numbers():
    assert non_dominated(np.array([[np.inf, 0.0], [1.0, 0.0], [0.0, np.inf]])).tolist() == [False, True, True]


def test_losses_are_0_at_the_ideal_and_1_at_the_reference(objectives, evaluated):
    evaluations = [evaluated("a", 1.0, 0.0), evaluated("b", 0.0, 10.0), evaluated("c", 0.75, 2.0)]
    np.testing.assert_allclose(to_losses(evaluations, objectives), [[0, 0], [1, 1], [0.25, 0.2]])


def test_losses_beyond_the_reference_are_above_1(objectives, evaluated):
    np.testing.assert_allclose(to_losses([evaluated("a", -0.5, 20.0)], objectives), [[1.5, 2.0]])


def test_a_failed_candidate_lies_at_the_reference(objectives, failed):
    np.testing.assert_array_equal(to_losses([failed("a")], objectives), [[1.0, 1.0]])


@SETTINGS
@given(
    values=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
    ideal=st.floats(-1e3, 1e3),
    distance=st.floats(1e-2, 1e3),
    sense=st.sampled_from(["maximize", "minimize"]),
)
def test_the_better_value_has_the_smaller_loss(values, ideal, distance, sense):
    reference = ideal - distance if sense == "maximize" else ideal + distance
    info = ObjectiveInfo("value", sense, "", ideal, reference)
    evaluations = [Evaluation(Candidate("0", {}, {}), "complete", {"value": v}) for v in sorted(values)]
    low, high = to_losses(evaluations, [info])[:, 0]
    assert low >= high if sense == "maximize" else low <= high


def test_losses_of_nothing_keep_their_columns(objectives):
    assert to_losses([], objectives).shape == (0, 2)


def test_violations_have_a_last_column_for_failures(evaluated, failed):
    kept = evaluated("a", 1.0, 0.0, violations={"cost <= 5": -1.0, "size <= 1": 0.0})
    broken = evaluated("b", 1.0, 9.0, violations={"cost <= 5": 0.8, "size <= 1": -0.5})
    violations = to_violations([kept, broken, failed("c")], ["cost <= 5", "size <= 1"])
    np.testing.assert_array_equal(violations, [[-1.0, 0.0, 0.0], [0.8, -0.5, 0.0], [1.0, 1.0, FAILURE]])


def test_without_constraints_only_failures_violate(evaluated, failed):
    np.testing.assert_array_equal(to_violations([evaluated("a", 1, 1), failed("b")], []), [[0.0], [FAILURE]])


def test_violations_of_nothing_keep_their_columns():
    assert to_violations([], ["cost <= 5"]).shape == (0, 2)


def test_violations_agree_with_feasible(evaluated, failed):
    evaluations = [
        evaluated("a", 1.0, 0.0, violations={"cost <= 5": 0.0}),
        evaluated("b", 1.0, 0.0, violations={"cost <= 5": 1e-12}),
        failed("c"),
    ]
    kept = (to_violations(evaluations, ["cost <= 5"]) <= 0).all(axis=1)
    assert kept.tolist() == [e.feasible for e in evaluations] == [True, False, False]
