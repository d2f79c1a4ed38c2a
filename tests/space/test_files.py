"""Search space files: numbers as people write them, lines in messages, `--set`."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import SpecError
from moosearch.space.files import dump, is_whole, load, option_label, override, parse

SETTINGS = settings(deadline=None, derandomize=True, max_examples=200)


def value_of(text):
    return parse(f"a: {text}").data["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2e6", 2e6),
        ("1E+2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5", -1.5),
        ("3", 3),
        ("8/255", "8/255"),  # becomes a number where a number is expected
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("n", "n"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("[1, 2e1]", [1, 20.0]),
        ("{b: x}", {"b": "x"}),
        (".inf", math.inf),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_values_are_read_as_people_mean_them(text, value):
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


def test_keys_are_text():
    assert parse("{1: a, null: b, true: c, 1e3: d}").data == {"1": "a", "null": "b", "true": "c", "1e3": "d"}


def test_an_anchor_repeats_a_node():
    assert parse("a: &x {b: 1}\nc: *x").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_merged_key_can_be_overridden():
    text = "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}"
    assert parse(text).data["d"] == {"b": 1, "c": 3}
    assert parse(f"{text}\ne: [&y {{<<: *x, c: 4}}, *y]").data["e"] == [{"b": 1, "c": 4}] * 2


def test_a_key_that_occurs_twice_beside_a_merge_is_refused():
    with pytest.raises(SpecError, match=r"^f\.yaml:3: d\.c: this key occurs twice\.$"):
        parse("a: &x {b: 1}\nd: {<<: *x, c: 3,\n  c: 4}", "f.yaml")


TEXT = """\
campaign:
  seed: 1

candidate:
  widths: [4,
           8]
  loss:
    choice:
    - mart
    - name: trades
      beta: 6
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("campaign", "seed"), 2),
        (("candidate",), 4),
        (("candidate", "widths"), 5),
        (("candidate", "widths", 1), 6),
        (("candidate", "loss", "choice", 0), 9),
        (("candidate", "loss", "choice", 1, "beta"), 11),
        (("candidate", "unknown"), 4),
    ],
)
def test_an_error_names_the_line_of_the_key(path, line):
    place = parse(TEXT, "a.yaml").place
    for key in path:
        place = place.child(key)
    assert str(place.error("no.")).startswith(f"a.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml:2: a: this key occurs twice."),
        ("a:\n  b: {c: 1,\n   c: 1}", "f.yaml:3: a.b.c: this key occurs twice."),
        ("1: a\n'1': b", "f.yaml:2: 1: this key occurs twice."),
        ("a: [\nb", "f.yaml:2: this is not YAML:"),
        ("a: b: c", "f.yaml:1: this is not YAML:"),
        ("a: 1\n---\nb: 2", "f.yaml:2: this is not YAML:"),
        ("a: *x", "f.yaml:1: this is not YAML: found undefined alias"),
        ("a: &x [*x]", "f.yaml:1: this is not YAML:"),
        ("a: !!python/object:os.system x", "f.yaml:1: this is not YAML: could not determine a constructor"),
        ("\n\n\ta: 1", "f.yaml:3: this is not YAML:"),
        ("", "f.yaml: expected a mapping"),
        ("- a", "f.yaml:1: expected a mapping"),
        ("a", "f.yaml:1: expected a mapping"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text, message):
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "value",
    [
        "2024-13-45",
        "0b_",
        "0x_",
        "!!int x",
        "!!float x",
        "!!bool x",
        "!!timestamp x",
        pytest.param("9" * 5000, id="a number of 5000 digits"),
        "'\x00'",
        "'\ud800'",
    ],
)
def test_a_value_that_yaml_cannot_construct_is_a_spec_error(value):
    with pytest.raises(SpecError, match=r"^f\.yaml"):
        parse(f"a: {value}", "f.yaml")


def test_deep_nesting_is_a_spec_error():
    with pytest.raises(SpecError, match="not YAML"):
        parse("a: " + "[" * 3000)


TOKENS = [
    *"ab:-,[]{}?#|>'\"&*!%@ \n\t\\<~=",
    *[
        "a: ",
        "b: ",
        "- ",
        "  ",
        "\n",
        "\n  ",
        "&x ",
        "*x",
        "<<: ",
        "---\n",
        "...",
        "!!int ",
        "!!bool ",
        "!!set ",
    ],
    *[
        "1e-3",
        "8/255",
        "2024-13-45",
        "0b_",
        "12:30",
        "null",
        "true",
        "é",
        "\x00",
        "\ufeff",
        "\u2028",
        "\ud800",
    ],
]


@SETTINGS
@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join) | st.text(max_size=30))
def test_broken_text_only_ever_raises_spec_errors(text):
    with contextlib.suppress(SpecError):
        assert isinstance(parse(text, "f.yaml").data, dict)


@SETTINGS
@given(st.integers(0, len(TEXT)), st.integers(0, 4), st.sampled_from(TOKENS))
def test_a_damaged_file_only_ever_raises_spec_errors(start, cut, token):
    with contextlib.suppress(SpecError):
        parse(TEXT[:start] + token + TEXT[start + cut :])


def test_a_file_is_read_with_its_name(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: é\n", encoding="utf-8")
    document = load(path)
    assert document.data == {"a": "é"}
    assert str(document.place.child("a").error("no.")) == f"{path}:1: a: no."


def test_a_file_that_cannot_be_read_is_a_spec_error(tmp_path):
    with pytest.raises(SpecError, match=r"none\.yaml: cannot read the search space file: No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="cannot read the search space file: Is a directory"):
        load(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(SpecError, match=r"b\.yaml: cannot read .*not UTF-8"):
        load(tmp_path / "b.yaml")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.floats(allow_nan=False)
    | st.text("ab1e-3._ :#'\"/~\n", max_size=6)
    | st.sampled_from(
        ["yes", "no", "null", "true", "1e-3", "2e6", "8/255", "012345e78901", "12:30", "0x1f", ""]
    )
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abyn", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@SETTINGS
@given(st.dictionaries(st.text("abyn", min_size=1), TREES, max_size=4))
def test_what_is_dumped_is_read_back(data):
    assert parse(dump(data)).data == data


def test_dumped_text_that_looks_like_a_number_stays_text():
    assert parse(dump({"id": "012345e78901", "label": "1e-3"})).data == {
        "id": "012345e78901",
        "label": "1e-3",
    }


def test_dump_keeps_the_order_of_keys_and_writes_no_anchors():
    shared = {"x": 1}
    text = dump({"b": shared, "a": shared})
    assert text == "b: {x: 1}\na: {x: 1}\n...\n"


def test_a_file_that_was_cut_off_is_told_from_a_whole_one(tmp_path):
    text, path = dump({"a": 1, "b": [0.5, {"c": "..."}]}), tmp_path / "f.yaml"
    assert not is_whole(path)
    for length in range(len(text)):
        path.write_text(text[:length])
        assert is_whole(path) == (length == len(text) - 1)  # which is without the end of the last line
    path.write_text(text)
    assert is_whole(path)


DOCUMENT = """\
campaign: {seed: 0, objectives: [{name: accuracy}, {name: flops}]}
candidate:
  attack:
    choice:
    - pgd
    - {name: mixed, eps: 0.1, start: {choice: [zero, uniform]}}
    - {name: pgd, label: weak}
  widths: {choice: [4, 8]}
  loss: trades
  epochs:
"""


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("campaign.seed=3", ("campaign", "seed"), 3),
        ("campaign.seed = 3", ("campaign", "seed"), 3),
        ("campaign.lr=1e-3", ("campaign", "lr"), 0.001),
        ("campaign.new.key=x", ("campaign", "new", "key"), "x"),
        ("campaign.seed=", ("campaign", "seed"), None),
        ("campaign.note=a=b", ("campaign", "note"), "a=b"),
        ("campaign.objectives.1.name=size", ("campaign", "objectives", 1, "name"), "size"),
        ("candidate.epochs={integer: [1, 5]}", ("candidate", "epochs"), {"integer": [1, 5]}),
        ("candidate.epochs.x=1", ("candidate", "epochs", "x"), 1),
        ("candidate.loss={choice: [trades, mart]}", ("candidate", "loss"), {"choice": ["trades", "mart"]}),
        ("candidate.loss.beta=6", ("candidate", "loss"), {"name": "trades", "beta": 6}),
        ("candidate.attack.pgd.eps=0.2", ("candidate", "attack", "choice", 0), {"name": "pgd", "eps": 0.2}),
        ("candidate.attack.mixed.eps=0.2", ("candidate", "attack", "choice", 1, "eps"), 0.2),
        (
            "candidate.attack.weak.eps=0.2",
            ("candidate", "attack", "choice", 2),
            {"name": "pgd", "label": "weak", "eps": 0.2},
        ),
        (
            "candidate.attack.mixed.start.uniform.radius=2",
            ("candidate", "attack", "choice", 1, "start", "choice", 1),
            {"name": "uniform", "radius": 2},
        ),
        ("candidate.widths.8=16", ("candidate", "widths", "choice"), [4, 16]),
        ("candidate.attack=pgd", ("candidate", "attack"), "pgd"),
    ],
)
def test_an_assignment_sets_one_value(assignment, path, value):
    node = override(parse(DOCUMENT), [assignment]).data
    for key in path:
        node = node[key]
    assert node == value


def test_an_assignment_changes_nothing_else_and_not_the_document():
    document = parse(DOCUMENT)
    changed = override(document, ["candidate.attack.mixed.eps=0.2", "campaign.objectives.0.name=x"])
    assert document.data == parse(DOCUMENT).data
    assert changed.data["candidate"]["attack"]["choice"][1] == {
        "name": "mixed",
        "eps": 0.2,
        "start": {"choice": ["zero", "uniform"]},
    }
    assert changed.data["campaign"]["objectives"] == [{"name": "x"}, {"name": "flops"}]
    assert changed.data["candidate"]["loss"] == "trades"


def test_the_last_assignment_wins():
    assert override(parse(DOCUMENT), ["campaign.seed=1", "campaign.seed=2"]).data["campaign"]["seed"] == 2


def test_an_error_in_an_assigned_value_names_the_assignment_and_others_the_file():
    place = override(parse(DOCUMENT, "a.yaml"), ["candidate.attack.mixed={name: mixed, eps: -1}"]).place
    candidate = place.child("candidate")
    mixed = candidate.child("attack").option(1, "mixed").child("eps")
    assert str(mixed.error("no.")) == (
        "--set candidate.attack.mixed={name: mixed, eps: -1}: candidate.attack.mixed.eps: no."
    )
    assert str(candidate.child("loss").error("no.")) == "a.yaml:9: candidate.loss: no."


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("campaign.seed", "expected PATH=VALUE, such as campaign.seed=1."),
        ("=1", "expected PATH=VALUE"),
        ("campaign..seed=1", "expected PATH=VALUE"),
        ("campaign.seed.x=1", "'x' stands under the value 0, which has no keys."),
        ("candidate.attack.mix.eps=1", "no option 'mix' here. Known: pgd, mixed, weak."),
        ("campaign.objectives.2.name=x", "'2' is no index of a list of 2, from 0."),
        ("campaign.objectives.x.name=x", "'x' is no index of a list of 2, from 0."),
        ("campaign.objectives.-1.name=x", "'-1' is no index of a list of 2, from 0."),
        ("campaign.objectives.².name=x", "'²' is no index of a list of 2, from 0."),
        ("campaign.seed=[1", "this is not YAML: "),
        ("campaign.seed=2024-13-45", "this is not YAML: "),
        ("campaign.seed={a: 1, a: 2}", "this key occurs twice."),
    ],
)
def test_a_wrong_assignment_is_refused_with_its_origin(assignment, message):
    with pytest.raises(SpecError) as caught:
        override(parse(DOCUMENT, "a.yaml"), [assignment])
    assert str(caught.value).startswith(f"--set {assignment}: {message}")


@pytest.mark.parametrize("value", ["[1", "{a: b", "*x", "a: b: c", "'", "!!python/object:os.system x"])
def test_a_message_is_one_line(value):
    with pytest.raises(SpecError) as caught:
        override(parse(DOCUMENT), [f"campaign.seed={value}"])
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError) as caught:
        parse(f"a: {value}")
    assert "\n" not in str(caught.value)


@SETTINGS
@given(st.lists(st.sampled_from(TOKENS), max_size=12).map("".join))
def test_broken_assignments_only_ever_raise_spec_errors(text):
    with contextlib.suppress(SpecError):
        override(parse(DOCUMENT), [f"candidate.loss={text}"])


@pytest.mark.parametrize(
    ("option", "label"),
    [
        ({"name": "pgd"}, "pgd"),
        ({"name": "pgd", "label": "weak"}, "weak"),
        ({"real": [0, 1]}, "option"),
        (0.5, "0.5"),
        (None, "None"),
        (["a", {"name": "b"}], "a+b"),
        ([], "none"),
    ],
)
def test_option_label(option, label):
    assert option_label(option) == label
