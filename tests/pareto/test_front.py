"""The front of a campaign, and the rules that pick one of its members."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import SpecError
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto import Front

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
VALUES = st.lists(st.tuples(st.integers(0, 4).map(lambda n: n / 4), st.integers(0, 10)), max_size=10)


@pytest.fixture
def front(objectives, evaluated):
    """Return a front whose knee is b; d is dominated."""
    return Front.of(
        [
            evaluated("c3", 0.1, 1.0, genome={"width": 4}),
            evaluated("a1", 0.9, 9.0, genome={"width": 16, "loss": "trades"}, metrics={"size": 7.0}),
            evaluated("d4", 0.5, 9.5, genome={"depth": 2}),
            evaluated("a2", 0.8, 2.0, genome={"width": 8}),
        ],
        objectives,
    )


def ids(front):
    return [member.candidate.id for member in front]


def test_front_is_sorted_by_the_first_objective_best_first(front):
    assert ids(front) == ["a1", "a2", "c3"]
    assert len(front) == 3


@SETTINGS
@given(values=VALUES, random=st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order_of_evaluations(objectives, evaluated, values, random):
    evaluations = [evaluated(f"{n:02x}", *value) for n, value in enumerate(values)]
    shuffled = list(evaluations)
    random.shuffle(shuffled)
    assert Front.of(shuffled, objectives) == Front.of(evaluations, objectives)


@SETTINGS
@given(values=VALUES)
def test_front_members_are_those_that_nothing_beats(objectives, evaluated, values):
    front = Front.of([evaluated(f"{n:02x}", *value) for n, value in enumerate(values)], objectives)
    expected = {
        f"{n:02x}"
        for n, (accuracy, cost) in enumerate(values)
        if not any(a >= accuracy and c <= cost and (a, c) != (accuracy, cost) for a, c in values)
    }
    assert set(ids(front)) == expected


def test_failed_and_infeasible_candidates_have_no_place(objectives, evaluated, failed):
    broken = evaluated("bb", 1.0, 0.0, violations={"cost <= 5": 0.1})
    kept = evaluated("aa", 0.2, 5.0, violations={"cost <= 5": 0.0})
    assert ids(Front.of([failed("ff"), broken, kept], objectives)) == ["aa"]


def test_equal_members_are_all_kept_in_order_of_id(objectives, evaluated):
    assert ids(Front.of([evaluated(i, 0.5, 5.0) for i in ("b", "c", "a")], objectives)) == ["a", "b", "c"]


def test_losses_and_hypervolume_are_of_the_members(front):
    np.testing.assert_allclose(front.losses, [[0.1, 0.9], [0.2, 0.2], [0.9, 0.1]])
    # columns: 0.1 to 0.2 under 0.9, 0.2 to 0.9 under 0.2, 0.9 to 1 under 0.1
    assert front.hypervolume() == pytest.approx(0.1 * 0.1 + 0.7 * 0.8 + 0.1 * 0.9)


def test_an_empty_front_has_no_hypervolume(objectives):
    assert Front.of([], objectives).hypervolume() == 0.0


def test_knee_gives_most_in_all_objectives_at_once(front):
    assert front.knee().candidate.id == "a2"


def test_knee_does_not_depend_on_the_units(evaluated):
    def knee(scale):
        objectives = (
            ObjectiveInfo("accuracy", "maximize", "", ideal=1.0, reference=0.0),
            ObjectiveInfo("cost", "minimize", "", ideal=0.0, reference=1e9),
        )
        points = {"a": (0.9, 9.0), "b": (0.8, 4.0), "c": (0.5, 3.9), "d": (0.1, 1.0)}
        evaluations = [evaluated(i, accuracy, scale * cost) for i, (accuracy, cost) in points.items()]
        return Front.of(evaluations, objectives).knee().candidate.id

    assert knee(1.0) == knee(1e-3) == knee(1e6) == "b"


def test_knee_of_one_member_and_of_equal_members(objectives, evaluated):
    assert Front.of([evaluated("a", 0.5, 5.0)], objectives).knee().candidate.id == "a"
    assert Front.of([evaluated(i, 0.5, 5.0) for i in "ba"], objectives).knee().candidate.id == "a"


def test_best_is_the_extreme_of_an_objective(front):
    assert front.best("accuracy").candidate.id == "a1"
    assert front.best("cost").candidate.id == "c3"


def test_best_of_an_unknown_objective_names_the_nearest(front):
    with pytest.raises(SpecError, match=r"'acuracy'. Did you mean 'accuracy'\? Known: accuracy, cost\."):
        front.best("acuracy")


@pytest.mark.parametrize(
    ("rule", "identity"),
    [("knee", "a2"), ("best:accuracy", "a1"), ("best:cost", "c3"), ("a1", "a1"), ("c", "c3")],
)
def test_pick_by_rule_or_id_or_its_beginning(front, rule, identity):
    assert front.pick(rule).candidate.id == identity


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("a", "'a' fits 2 members of the front"),
        ("d4", "'d4' is neither a rule nor a member's id"),
        ("", "'' is neither a rule"),
        ("kne", "Did you mean 'knee'"),
        ("best", "Known: asf, best:accuracy, best:cost, compromise, knee"),
        ("best:accurcy", "Did you mean 'accuracy'"),
        ("best:", "no objective is called ''"),
    ],
)
def test_pick_refuses_what_fits_none_or_several(front, rule, message):
    with pytest.raises(SpecError) as caught:
        front.pick(rule)
    assert message in str(caught.value)


@pytest.mark.parametrize("rule", ["knee", "best:cost"])
def test_nothing_can_be_picked_from_an_empty_front(objectives, failed, rule):
    with pytest.raises(SpecError, match="the front is empty"):
        Front.of([failed("a")], objectives).pick(rule)


def test_frame_has_a_row_a_member_and_genes_in_the_last_columns(front):
    frame = front.to_frame()
    assert list(frame.columns) == ["id", "accuracy", "cost", "size", "loss", "width"]
    assert frame["id"].tolist() == ["a1", "a2", "c3"]
    assert frame["width"].tolist() == [16, 8, 4]
    assert frame["loss"].isna().tolist() == [False, True, True]


def test_frame_of_an_empty_front_is_empty(objectives):
    assert len(Front.of([], objectives).to_frame()) == 0


def test_a_notebook_shows_objectives_differing_genes_and_the_knee(front):
    title, table = ElementTree.fromstring(f"<div>{front._repr_html_()}</div>")
    assert title.text == f"front of 3 members, hypervolume {front.hypervolume():.4f}"
    assert [[cell.text or "" for cell in row] for row in table.iter("tr")] == [
        ["id", "", "accuracy", "cost", "genes that differ"],
        ["a1", "", "0.9", "9", "width=16, trades"],
        ["a2", "knee", "0.8", "2", "width=8"],
        ["c3", "", "0.1", "1", "width=4"],
    ]
    assert repr(front) == "Front(a1, a2, c3)"


def test_what_a_notebook_shows_is_escaped_and_whole(objectives, evaluated):
    recipe = {"loss": "<script>" + "long" * 30, "same": 1}
    shown = Front.of([evaluated("a", 0.5, 5.0, genome=recipe)], objectives)._repr_html_()
    assert "<script>" not in shown
    assert f"&lt;script&gt;{'long' * 30}, same=1" in shown


def test_a_long_front_is_cut_in_a_notebook_and_an_empty_one_is_said(objectives, evaluated):
    front = Front.of([evaluated(f"{n:03d}", n / 100, 0.1 * n) for n in range(100)], objectives)
    assert len(front) == 100
    assert front._repr_html_().count("<tr") < 40
    assert Front((), objectives)._repr_html_() == "<p>front of 0 members, hypervolume 0.0000</p>"


def test_genes_differ_where_one_has_another_value_or_none(objectives, evaluated):
    genomes = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 3, "c": True}]
    several = [evaluated(f"{n}", n / 10, n, genome=genome) for n, genome in enumerate(genomes)]
    assert sorted(Front.of(several, objectives).differing_genes) == ["b", "c"]
    assert Front.of(several[:1], objectives).differing_genes == ["a", "b"]
