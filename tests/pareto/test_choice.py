"""Rules as text: whom they choose, what they say of it, and what they refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import SpecError
from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo
from moosearch.pareto import Front
from moosearch.pareto.choice import RULES, default_rules, to_frame

SETTINGS = settings(deadline=None, derandomize=True, max_examples=50)
VALUES = st.lists(
    st.tuples(st.integers(0, 4).map(lambda n: n / 4), st.integers(0, 10)), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def front(objectives, evaluated):
    """Return a front of four; losses scaled to its range: (0, 1), (1/8, 1/4), (1/2, 1/8), (1, 0)."""
    points = {"a1": (0.9, 9.0), "a2": (0.8, 3.0), "b3": (0.5, 2.0), "c4": (0.1, 1.0)}
    return Front.of([evaluated(i, *point) for i, point in points.items()], objectives)


@pytest.mark.parametrize(
    ("rule", "identity", "why"),
    [
        (
            "knee",
            "a2",
            "on average 81% of the way from the front's worst to its best (the mean member 62%); "
            "0.1 below the highest accuracy, 3 times the lowest cost",
        ),
        (
            "tradeoff",
            "a2",
            "every other member loses at least 3 times what it gains, in shares of ranges; "
            "0.1 below the highest accuracy, 3 times the lowest cost",
        ),
        ("best:accuracy", "a1", "the highest accuracy, 0.9, before 0.8 of a2; 9 times the lowest cost"),
        ("best: cost ", "c4", "the lowest cost, 1, before 2 of b3; 0.8 below the highest accuracy"),
        (
            "asf",
            "a2",
            "largest weighted shortfall 0.125 of a range, in cost (next 0.25); "
            "0.1 below the highest accuracy, 3 times the lowest cost",
        ),
        (
            "asf:accuracy=1,cost=1/9",
            "a1",
            "largest weighted shortfall 0.1 of a range, in cost (next 0.113); highest accuracy, "
            "9 times the lowest cost",
        ),
        (
            "asf:cost=7",
            "c4",
            "the best in all that counts (next 0.125); 0.8 below the highest accuracy, lowest cost",
        ),
        (
            "pseudo_weights:accuracy=1,cost=3",
            "b3",
            "its strengths are accuracy 36%, cost 64%; asked for accuracy 25%, cost 75%; "
            "0.4 below the highest accuracy, 2 times the lowest cost",
        ),
        (
            "compromise:accuracy=1,cost=4",
            "b3",
            "nearest to the best of each, at 0.141 of the ranges (next 0.2); "
            "0.4 below the highest accuracy, 2 times the lowest cost",
        ),
        (
            "lexicographic:accuracy~0.1",
            "a2",
            "accuracy within 0.1 of 0.9 leaves 2 of 4, cost at 3 leaves 1 of 2; "
            "0.1 below the highest accuracy, 3 times the lowest cost",
        ),
        (
            "lexicographic: cost ~ 25 % , accuracy",
            "a2",
            "cost within 2 of 1 leaves 3 of 4, accuracy at 0.8 leaves 1 of 3; "
            "0.1 below the highest accuracy, 3 times the lowest cost",
        ),
        ("b", "b3", "asked for by its id; 0.4 below the highest accuracy, 2 times the lowest cost"),
    ],
)
def test_a_rule_chooses_and_says_why(front, rule, identity, why):
    choice = front.choose(rule)
    assert (choice.rule, choice.evaluation.candidate.id, choice.why) == (rule.strip(), identity, why)
    assert front.pick(rule) is choice.evaluation
    assert str(choice) == f"{rule.strip()}: {identity}: {why}"


def test_the_exact_compromise_is_what_the_text_rounds(front):
    """(1/5 * 1/2)^2 + (4/5 * 1/8)^2 = 0.02."""
    assert "0.141" in front.choose("compromise:accuracy=1,cost=4").why


def test_decisions_are_all_that_need_no_weights(front):
    rules = [choice.rule for choice in front.decisions()]
    assert rules == default_rules(front.objectives)
    assert rules == [
        "knee",
        "tradeoff",
        "best:accuracy",
        "best:cost",
        "asf",
        "pseudo_weights",
        "compromise",
        "lexicographic",
    ]
    assert {rule.partition(":")[0] for rule in RULES} == {rule.partition(":")[0] for rule in rules} | {"ID"}


def test_without_objectives_all_weigh_the_same_or_come_in_order(front):
    for name in ("asf", "pseudo_weights", "compromise"):
        assert front.pick(name) is front.pick(f"{name}:accuracy=2,cost=2")
        assert front.choose(name).why == front.choose(f"{name}:accuracy=1e308,cost=1e308").why
    assert front.choose("lexicographic").why == front.choose("lexicographic:accuracy~1%,cost~1%").why


@SETTINGS
@given(VALUES, st.sampled_from([1, 2]))
def test_every_rule_works_on_every_front(objectives, evaluated, values, count):
    """Few members, equal ones and a single objective included: a member is chosen, in one line."""
    front = Front.of([evaluated(f"{n:02x}", *value) for n, value in enumerate(values)], objectives[:count])
    keys = [info.key for info in front.objectives]
    weights = [f"{name}:{key}=1" for name in ("asf", "pseudo_weights", "compromise") for key in keys]
    for choice in front.decisions() + [front.choose(rule) for rule in weights]:
        assert any(choice.evaluation is member for member in front)
        assert choice.why
        assert not {"nan", "inf", "\n"} & {*choice.why.replace(",", " ").split(), *choice.why}
    for key in keys:
        for name in ("asf", "compromise", "lexicographic"):
            rule = f"{name}:{key}" + ("" if name == "lexicographic" else "=1")
            best = min(front.losses[:, keys.index(key)])
            assert front.losses[front.members.index(front.pick(rule)), keys.index(key)] == best


def test_a_single_member_is_chosen_by_every_rule(objectives, evaluated):
    front = Front.of([evaluated("a", 0.5, 5.0)], objectives)
    assert {choice.evaluation.candidate.id for choice in front.decisions()} == {"a"}
    assert front.choose("lexicographic").why == "the only member; highest accuracy, lowest cost"
    assert front.choose("best:cost").why == "the lowest cost, 5; highest accuracy"
    assert front.choose("tradeoff").why.startswith("no other member gains anything; ")


def test_ties_are_said(objectives, evaluated):
    front = Front.of([evaluated(i, 0.5, 5.0) for i in "ab"], objectives)
    assert front.choose("best:cost").why == "the lowest cost, 5, as has b; highest accuracy"


def test_values_that_may_be_negative_are_compared_by_difference():
    info = ObjectiveInfo("margin", "minimize", "nat", ideal=-10.0, reference=10.0)
    other = ObjectiveInfo("speed", "maximize", "Hz", ideal=100.0, reference=0.0)
    points = {"a": (-2.0, 50.0), "b": (-4.0, 20.0)}
    evaluations = [
        Evaluation(Candidate(i, {}, {}), "complete", dict(zip(("margin", "speed"), point, strict=True)))
        for i, point in points.items()
    ]
    front = Front.of(evaluations, (info, other))
    assert front.choose("a").why.endswith("2 above the lowest margin, highest speed")
    assert front.choose("b").why.endswith("lowest margin, 30 below the highest speed")


@pytest.mark.parametrize(
    "rule", ["knee", "tradeoff", "asf", "compromise:cost=1", "lexicographic", "best:cost"]
)
def test_of_an_empty_front_nothing_is_chosen(objectives, rule):
    with pytest.raises(SpecError, match="the front is empty"):
        Front((), objectives).choose(rule)
    assert Front((), objectives).decisions() == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "asf:acuracy=1",
            "asf: no objective is called 'acuracy'. Did you mean 'accuracy'? Known: accuracy, cost.",
        ),
        ("asf:accuracy", "asf: got 'accuracy', expected OBJECTIVE=WEIGHT."),
        ("asf:", "asf: no objective is called ''"),
        ("asf:accuracy=1,", "asf: no objective is called ''"),
        ("pseudo_weights:cost=x", "pseudo_weights.cost: got 'x', expected a number"),
        ("pseudo_weights:cost=nan", "pseudo_weights.cost: got 'nan', expected a number"),
        ("compromise:cost=-1", "compromise.cost: got '-1', expected at least 0."),
        ("compromise:cost=0,accuracy=0", "compromise: expected a weight > 0."),
        ("compromise:cost=1,cost=2", "compromise: 'cost' is named twice."),
        ("lexicographic:cots", "lexicographic: no objective is called 'cots'. Did you mean 'cost'?"),
        ("lexicographic:cost~", "lexicographic.cost: got '', expected a number"),
        ("lexicographic:cost~-1%", "lexicographic.cost: got '-1', expected at least 0."),
        ("tradeof", "Did you mean 'tradeoff'?"),
        (
            "knee:cost=1",
            "'knee:cost=1' is neither a rule nor a member's id of the front. Did you mean 'knee'?",
        ),
    ],
)
def test_what_is_no_rule_is_refused_by_name(front, rule, message):
    with pytest.raises(SpecError) as caught:
        front.choose(rule)
    assert message in str(caught.value)


def test_a_table_of_choices_has_their_objectives(front):
    frame = to_frame(front.decisions(), front.objectives)
    assert list(frame.columns) == ["rule", "id", "accuracy", "cost", "why"]
    assert frame.loc[frame["rule"] == "knee", ["id", "accuracy", "cost"]].to_numpy().tolist() == [
        ["a2", 0.8, 3.0]
    ]
    assert list(to_frame([], front.objectives).columns) == list(frame.columns)


def test_a_choice_is_escaped_where_it_is_rendered(objectives, evaluated):
    front = Front.of([evaluated("<b>", 0.5, 5.0)], objectives)
    shown = front.choose("<b>")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b><b>" not in shown
