"""What is known of a candidate: constraints, feasibility, reasons."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import Place, SpecError
from moosearch.evaluation import Candidate, Constraint, Evaluation

CANDIDATE = Candidate("0123456789ab", {}, {})
NUMBERS = st.floats(-1e6, 1e6)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(value=NUMBERS, bound=NUMBERS)
def test_violation_is_positive_exactly_beyond_the_bound(value, bound):
    beyond = value - bound
    if beyond == 0 or abs(beyond) > 1e-300:
        assert (Constraint("flops", "<=", bound).violation(value) > 0) == (value > bound)
        assert (Constraint("flops", ">=", bound).violation(value) > 0) == (value < bound)


@pytest.mark.parametrize(
    ("relation", "bound", "value", "violation"),
    [
        ("<=", 2.0, 3.0, 0.5),
        ("<=", 2.0, 1.0, -0.5),
        (">=", 2.0, 1.0, 0.5),
        (">=", 0.8, 0.8, 0.0),
        ("<=", -2.0, -1.0, 0.5),
        ("<=", 0.0, 3.0, 3.0),
    ],
)
def test_violation_is_relative_to_the_bound_and_absolute_at_zero(relation, bound, value, violation):
    assert Constraint("flops", relation, bound).violation(value) == pytest.approx(violation)


def test_constraint_is_written_as_in_a_file():
    assert str(Constraint("flops", "<=", 2e6)) == "flops <= 2000000"
    assert str(Constraint("clean_accuracy", ">=", 0.5)) == "clean_accuracy >= 0.5"


@pytest.mark.parametrize(
    ("status", "violations", "feasible"),
    [
        ("complete", {}, True),
        ("complete", {"a": 0.0, "b": -1.0}, True),
        ("complete", {"a": -1.0, "b": 1e-9}, False),
        ("complete", {"a": math.nan}, False),
        ("failed", {}, False),
        ("failed", {"a": -1.0}, False),
    ],
)
def test_feasible_means_complete_and_within_every_constraint(status, violations, feasible):
    assert Evaluation(CANDIDATE, status, violations=violations).feasible is feasible


def test_reason_is_the_last_line_of_the_traceback():
    error = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: loss is nan\n\n'
    assert Evaluation(CANDIDATE, "failed", error=error).reason == "ValueError: loss is nan"


@pytest.mark.parametrize("error", ["", "\n", "   \n "])
def test_reason_of_no_error_is_empty(error):
    assert Evaluation(CANDIDATE, "complete", error=error).reason == ""


def test_an_evaluation_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Evaluation(CANDIDATE, "complete").status = "failed"


@pytest.mark.parametrize("text", ["flops<=2e6", " flops  <= 2000000", "flops <= 4000000/2"])
def test_constraints_are_read_as_files_and_options_have_them(text):
    assert Constraint.parse(text, Place()) == Constraint("flops", "<=", 2e6)
    assert Constraint.parse(str(Constraint("a-b.c", ">=", 0.5)), Place()) == Constraint("a-b.c", ">=", 0.5)


@pytest.mark.parametrize(
    "text", ["", "flops", "flops < 2", "flops = 2", "<= 2", "flops <= two", "flops <= nan"]
)
def test_what_is_no_constraint_is_refused_where_it_stands(text):
    with pytest.raises(SpecError, match=r"^where: got '.*', expected "):
        Constraint.parse(text, Place(shown=("where",)))
