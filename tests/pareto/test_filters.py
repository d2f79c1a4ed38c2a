"""Bounds and thinning of a front."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import SpecError
from moosearch.pareto import Front

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
VALUES = st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(0, 10)), max_size=15)


@pytest.fixture(scope="module")
def front(objectives, evaluated):
    points = {"a": (0.9, 9.0), "b": (0.8, 3.0), "c": (0.79, 2.5), "d": (0.1, 1.0)}
    return Front.of(
        [evaluated(i, *point, metrics={"size": 10 * point[1]}) for i, point in points.items()], objectives
    )


def ids(front):
    return "".join(member.candidate.id for member in front)


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ("accuracy>=0.8", "ab"),
        (" cost <= 3 ", "bcd"),
        ("accuracy >= 79/100, cost<=3", "bc"),
        ("size<=25", "cd"),
        ("cost>=2.5,size<=30", "bc"),
        ("accuracy<=1", "abcd"),
    ],
)
def test_members_that_keep_all_bounds_are_left_in_their_order(front, bounds, left):
    found = front.where(bounds)
    assert ids(found) == left
    assert found.objectives == front.objectives


@SETTINGS
@given(VALUES, st.integers(0, 20).map(lambda n: n / 20), st.integers(0, 10))
def test_bounds_on_the_worse_side_may_be_asked_before_or_after(objectives, evaluated, values, least, most):
    """The front of the candidates that keep them is what they leave of the front."""
    evaluations = [evaluated(f"{n:02x}", *value) for n, value in enumerate(values)]
    kept = [e for e in evaluations if e.objectives["accuracy"] >= least and e.objectives["cost"] <= most]
    expected = Front.of(kept, objectives)
    bounds = f"accuracy>={least},cost<={most}"
    if len(expected) or not evaluations:
        assert Front.of(evaluations, objectives).where(bounds) == expected
    else:
        with pytest.raises(SpecError, match="no member of the front keeps"):
            Front.of(evaluations, objectives).where(bounds)


def test_a_rule_chooses_among_those_that_are_left(front):
    assert front.pick("best:accuracy").candidate.id == "a"
    assert front.where("cost<=5").pick("best:accuracy").candidate.id == "b"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ("", "where: got '', expected NAME <= NUMBER or NAME >= NUMBER."),
        ("accuracy>0.5", "where: got 'accuracy>0.5', expected"),
        ("accuracy>=0.5,", "where: got '', expected"),
        ("accuracy>=high", "where: got 'high', expected a number"),
        (
            "acuracy>=0.5",
            "where: nothing is measured as 'acuracy'. Did you mean 'accuracy'? Known: accuracy, cost, size.",
        ),
        (
            "accuracy >= 0.95, cost<=5",
            "no member of the front keeps accuracy >= 0.95 (reached: 0.9) and cost <= 5 (reached: 1).",
        ),
    ],
)
def test_what_are_no_bounds_or_leave_nobody_is_refused(front, bounds, message):
    with pytest.raises(SpecError) as caught:
        front.where(bounds)
    assert message in str(caught.value)


def test_of_an_empty_front_nothing_is_left(objectives):
    empty = Front((), objectives)
    assert empty.where("cost<=1") == empty == empty.thin(0.1)
    with pytest.raises(SpecError, match="nothing is measured as 'size'"):
        empty.where("size<=1")


@pytest.mark.parametrize(
    ("epsilons", "left"),
    [
        (0, "abcd"),
        (0.01, "abcd"),
        (0.02, "acd"),
        (0.1, "acd"),
        ("10%", "acd"),
        ("0.1", "acd"),
        ("accuracy=0.02,cost=1", "acd"),
        ("accuracy=2.5%,cost=12.5%", "acd"),
        ("accuracy=0.02", "acd"),
        ("cost=1", "abcd"),
        ("accuracy=0,cost=0", "abcd"),
        (1.5, "c"),
    ],
)
def test_one_of_those_that_are_nearly_alike_is_kept(front, epsilons, left):
    assert ids(front.thin(epsilons)) == left


@SETTINGS
@given(VALUES, st.sampled_from([0.05, 0.2, 0.5]), st.randoms(use_true_random=False))
def test_thinning_leaves_a_part_within_epsilon_whatever_the_order(
    objectives, evaluated, values, share, random
):
    evaluations = [evaluated(f"{n:02x}", *value) for n, value in enumerate(values)]
    whole = Front.of(evaluations, objectives)
    random.shuffle(evaluations)
    thin = whole.thin(share)
    assert thin == Front.of(evaluations, objectives).thin(share)
    assert [member for member in whole if member in thin.members] == list(thin)
    if len(whole):
        reach = share * np.ptp(whole.losses, axis=0) + 1e-9
        for row in whole.losses:
            assert (thin.losses <= row + reach).all(axis=1).any()


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [
        (-0.1, "thin: got '-0.1', expected at least 0."),
        ("x", "thin: got 'x', expected a number"),
        ("", "thin: got '', expected a number"),
        ("cots=1", "thin: no objective is called 'cots'. Did you mean 'cost'?"),
        ("cost=1,accuracy", "thin: got 'accuracy', expected OBJECTIVE=AMOUNT."),
        ("cost=1,cost=1", "thin: 'cost' is named twice."),
        ("cost=", "thin.cost: got '', expected a number"),
        ("cost=-1", "thin.cost: got '-1', expected at least 0."),
    ],
)
def test_what_are_no_epsilons_is_refused(front, epsilons, message):
    with pytest.raises(SpecError) as caught:
        front.thin(epsilons)
    assert message in str(caught.value)
