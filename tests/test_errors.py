"""Messages say where, and what was probably meant; the command line knows whose fault it was."""

import pytest

from moosearch.errors import (
    CampaignError,
    DataUnavailableError,
    EvaluationError,
    ExportError,
    MooSearchError,
    Place,
    SpecError,
    nearest,
)


def test_nearest_names_the_closest_name_and_lists_all_sorted():
    assert nearest("treads", ["trades", "mart"]) == "Did you mean 'trades'? Known: mart, trades."


def test_nearest_knows_what_is_meant_by_a_name_that_is_spelled_like_another():
    assert nearest("gpu", ["auto", "cpu", "cuda"]) == "Did you mean 'cuda'? Known: auto, cpu, cuda."
    assert nearest("gpu", ["gpt", "auto"]) == "Did you mean 'gpt'? Known: auto, gpt."


def test_nearest_does_not_guess_where_nothing_is_close():
    assert nearest("zzz", ["trades", "mart"]) == "Known: mart, trades."


def test_nearest_says_none_where_nothing_is_known():
    assert nearest("trades", []) == "Known: none."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError, 2),
        (DataUnavailableError, 2),
        (CampaignError, 2),
        (EvaluationError, 1),
        (ExportError, 1),
    ],
)
def test_exit_code_tells_the_users_input_from_our_fault(error, code):
    assert issubclass(error, MooSearchError)
    assert error.exit_code == code


def test_spec_error_is_a_value_error_too():
    assert issubclass(SpecError, ValueError)


LINES = {
    (): 1,
    ("candidate",): 3,
    ("candidate", "width"): 4,
    ("candidate", "depth"): "--set candidate.depth=x",
}


def test_error_starts_with_file_line_and_dotted_path():
    place = Place("a.yaml", LINES).child("candidate").child("width")
    assert str(place.error("too wide.")) == "a.yaml:4: candidate.width: too wide."


def test_error_under_an_unknown_path_has_the_line_of_the_nearest_parent():
    place = Place("a.yaml", LINES).child("candidate").child("width").child(0)
    assert str(place.error("no.")) == "a.yaml:4: candidate.width.0: no."


def test_error_from_another_origin_names_it_instead_of_the_file():
    place = Place("a.yaml", LINES).child("candidate").child("depth")
    assert str(place.error("no.")) == "--set candidate.depth=x: candidate.depth: no."


def test_error_without_a_file_has_only_the_path():
    assert str(Place().child("width").error("no.")) == "width: no."


def test_error_at_a_bare_root_is_the_message_alone():
    assert str(Place().error("no.")) == "no."


def test_option_is_shown_by_label_but_found_by_its_index_in_the_file():
    lines = {("loss",): 1, ("loss", "choice", 1): 7}
    place = Place("a.yaml", lines).child("loss").option(1, "trades").child("beta")
    assert str(place.error("no.")) == "a.yaml:7: loss.trades.beta: no."


def test_error_is_returned_and_not_raised():
    assert isinstance(Place().error("no."), SpecError)
