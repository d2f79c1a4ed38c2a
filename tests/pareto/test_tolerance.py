"""Boxes of values that count as equal, against what an order must be and a front by brute force."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.pareto import Front, non_dominated, to_losses
from moosearch.pareto.dominance import boxed, exact

SETTINGS = settings(deadline=None, derandomize=True, max_examples=100)
TIME = st.floats(1e-6, 1e6)
TOLERANCE = st.sampled_from([0.01, 0.05, 0.3, 1.0])
OBJECTIVES = (
    ObjectiveInfo("accuracy", "maximize", "fraction", 1.0, 0.0),
    ObjectiveInfo("latency", "minimize", "ms", 0.0, 10.0, tolerance=0.05),
)


def measured(identity, accuracy, latency):
    return Evaluation(
        Candidate(str(identity), {}, {}), "complete", {"accuracy": accuracy, "latency": latency}
    )


@SETTINGS
@given(TIME, TOLERANCE)
def test_a_box_holds_what_stands_for_it_and_is_as_wide_as_the_tolerance(value, tolerance):
    middle = boxed(value, tolerance)
    assert boxed(middle, tolerance) == pytest.approx(middle, rel=1e-12)
    assert abs(math.log(value / middle)) <= math.log1p(tolerance) / 2 * (1 + 1e-9)


@SETTINGS
@given(st.tuples(TIME, TIME), TOLERANCE)
def test_boxes_keep_the_order_and_the_distant_apart(pair, tolerance):
    low, high = sorted(pair)
    assert boxed(low, tolerance) <= boxed(high, tolerance)
    if high > low * (1 + tolerance) * (1 + 1e-9):
        assert boxed(low, tolerance) < boxed(high, tolerance)


@pytest.mark.parametrize("value", [0.0, -3.0, math.inf])
def test_what_has_no_logarithm_stays(value):
    assert boxed(value, 0.05) == value


@SETTINGS
@given(st.floats(-1e6, 1e6))
def test_without_tolerance_nothing_is_changed(value):
    assert boxed(value, 0.0) == value


POINTS = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8]), st.floats(0.5, 1.5)), min_size=1, max_size=10
)


def box_number(latency):
    """The box, counted out: no logarithm."""
    number, edge = 0, 1.0
    while latency >= edge * 1.05:
        number, edge = number + 1, edge * 1.05
    while latency < edge:
        number, edge = number - 1, edge / 1.05
    return number


@SETTINGS
@given(POINTS, st.randoms(use_true_random=False))
def test_the_front_is_that_of_boxes_by_brute_force_in_any_order(points, random):
    rows = [(-accuracy, box_number(latency)) for accuracy, latency in points]
    expected = {
        str(index)
        for index, row in enumerate(rows)
        if not any(other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in rows)
    }
    evaluations = [measured(index, *point) for index, point in enumerate(points)]
    random.shuffle(evaluations)
    front = Front.of(evaluations, OBJECTIVES)
    assert {e.candidate.id for e in front} == expected


@SETTINGS
@given(st.tuples(*[st.tuples(st.sampled_from([0.5, 0.6]), st.floats(0.8, 1.2))] * 3))
def test_being_alike_and_being_dominated_are_transitive(points):
    losses = to_losses([measured(index, *point) for index, point in enumerate(points)], OBJECTIVES)
    alike = {(i, j): (losses[i] == losses[j]).all() for i, j in itertools.product(range(3), repeat=2)}
    if alike[0, 1] and alike[1, 2]:
        assert alike[0, 2]
    beats = {pair: not non_dominated(losses[list(pair)])[1] for pair in itertools.permutations(range(3), 2)}
    if beats[0, 1] and beats[1, 2]:
        assert beats[0, 2]


def test_a_little_faster_is_not_better_and_alike_members_all_stay():
    slow, fast, faster = measured("slow", 0.9, 1.04), measured("fast", 0.9, 1.01), measured("far", 0.8, 0.99)
    front = Front.of([slow, fast, faster], OBJECTIVES)
    assert [e.candidate.id for e in front] == ["fast", "slow", "far"]
    sharp = Front.of([slow, fast, faster], exact(OBJECTIVES))
    assert [e.candidate.id for e in sharp] == ["fast", "far"]


def test_a_rule_goes_by_what_was_measured():
    front = Front.of([measured("a", 0.9, 1.04), measured("b", 0.9, 1.01)], OBJECTIVES)
    assert front.best("latency").candidate.id == "b"
    assert "lowest latency" in front.choose("knee").why
    assert front.exact_losses[:, 1].tolist() == pytest.approx([0.104, 0.101])
    assert front.losses[0].tolist() == front.losses[1].tolist()


def test_hypervolume_is_that_of_the_boxes():
    two = Front.of([measured("a", 0.9, 1.04), measured("b", 0.9, 1.01)], OBJECTIVES)
    one = Front.of([measured("a", 0.9, 1.04)], OBJECTIVES)
    assert two.hypervolume() == one.hypervolume() == pytest.approx(0.9 * (1 - boxed(1.02, 0.05) / 10))


def test_a_failed_candidate_lies_at_the_reference_whatever_the_tolerance():
    failed = Evaluation(Candidate("0", {}, {}), "failed")
    assert to_losses([failed], OBJECTIVES).tolist() == [[1.0, 1.0]]
