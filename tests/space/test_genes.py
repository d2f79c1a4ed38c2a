"""Genes: parsing, sampling, and the scale that search operators work on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import Place, SpecError
from moosearch.space import Choice, Integer, Real
from moosearch.space.genes import SIGNIFICANT_DIGITS, choice_labels, parse_bounds, tag_of

SETTINGS = settings(deadline=None, derandomize=True, max_examples=100)
SEEDS = st.integers(0, 2**32)


@st.composite
def reals(draw):
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3))
    return Real(low, low + draw(st.just(0.0) | st.floats(1e-6, 1e3)), log)


@st.composite
def integers(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -50, 50))
    return Integer(low, low + draw(st.integers(0, 500)), 1 if log else draw(st.integers(1, 7)), log)


@pytest.mark.parametrize(
    ("node", "gene"),
    [
        ({"real": [0, 1]}, Real(0.0, 1.0)),
        ({"real": ["1/255", "8/255"]}, Real(1 / 255, 8 / 255)),
        ({"log_real": [1e-4, 0.1]}, Real(1e-4, 0.1, log=True)),
        ({"integer": [4, 32]}, Integer(4, 32)),
        ({"integer": [4, 32, 4]}, Integer(4, 32, 4)),
        ({"log_integer": [1, 100]}, Integer(1, 100, log=True)),
        ({"real": [2, 2]}, Real(2.0, 2.0)),
    ],
)
def test_bounds_are_parsed(node, gene):
    assert parse_bounds(node, Place()) == gene


def reachable(gene):
    """The same integers, with a high bound that is one of them."""
    return Integer(gene.low, gene.low + gene.step * (gene.size - 1), gene.step, gene.log)


@SETTINGS
@given(reals() | integers().map(reachable))
def test_a_gene_is_written_as_it_is_read(gene):
    assert parse_bounds(gene.to_tree(), Place()) == gene


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"real": [1, 0]}, "lr: got real: [1, 0], expected low <= high."),
        ({"log_real": [0, 1]}, "lr: got log_real: [0, 1], expected low > 0 on a logarithmic scale."),
        ({"log_integer": [0, 9]}, "lr: got log_integer: [0, 9], expected low > 0 on a logarithmic scale."),
        ({"integer": [0, 9, 0]}, "lr: got integer: [0, 9, 0], expected a step of at least 1."),
        ({"integer": [0, 9, -1]}, "lr: got integer: [0, 9, -1], expected a step of at least 1."),
        ({"real": [0]}, "lr: got real: [0], expected real: [low, high]."),
        ({"real": [0, 1, 0.1]}, "lr: got real: [0, 1, 0.1], expected real: [low, high]."),
        ({"log_integer": [1, 9, 2]}, "lr: got log_integer: [1, 9, 2], expected log_integer: [low, high]."),
        ({"integer": 3}, "lr: got integer: 3, expected integer: [low, high, step]."),
        ({"integer": "4, 8"}, "lr: got integer: '4, 8', expected integer: [low, high, step]."),
        ({"integer": [1.5, 3]}, "lr.integer: got 1.5, expected a valid integer."),
        ({"integer": [True, 3]}, "lr.integer: got True, expected a valid integer."),
        ({"real": ["x", 1]}, "lr.real: got 'x', expected a number or a fraction such as 8/255."),
        ({"real": [math.nan, 1]}, "lr.real: got nan, expected a finite number."),
        ({"real": [0, math.inf]}, "lr.real: got inf, expected a finite number."),
        ({"real": [None, 1]}, "lr.real: got None, expected a valid number."),
    ],
)
def test_wrong_bounds_are_refused(node, message):
    with pytest.raises(SpecError) as caught:
        parse_bounds(node, Place().child("lr"))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("node", "tag"),
    [
        ({"real": [0, 1]}, "real"),
        ({"choice": []}, "choice"),
        ({"choice": [], "name": "x"}, None),
        ({"name": "x"}, None),
        ({}, None),
        ("choice", None),
        (None, None),
    ],
)
def test_a_gene_is_a_mapping_with_one_key_that_is_a_tag(node, tag):
    assert tag_of(node) == tag


@SETTINGS
@given(reals() | integers(), SEEDS)
def test_samples_are_values_of_the_gene_in_plain_types(gene, seed):
    value = gene.sample(np.random.default_rng(seed))
    assert gene.contains(value)
    assert type(value) is (float if isinstance(gene, Real) else int)


@SETTINGS
@given(reals() | integers(), SEEDS)
def test_decoding_the_code_of_a_value_returns_it(gene, seed):
    value = gene.sample(np.random.default_rng(seed))
    assert gene.decode(gene.encode(value)) == value


@SETTINGS
@given(reals() | integers(), st.floats(-1.0, 2.0))
def test_every_code_decodes_to_a_value_of_the_gene(gene, share):
    low, high = gene.encode(gene.low), gene.encode(gene.high)
    assert gene.contains(gene.decode(low + share * (high - low)))


@SETTINGS
@given(reals(), SEEDS)
def test_reals_have_4_significant_digits_or_are_a_bound(gene, seed):
    value = gene.sample(np.random.default_rng(seed))
    assert value in (gene.low, gene.high) or value == float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    assert SIGNIFICANT_DIGITS == 4


def test_a_real_is_rounded_and_then_clipped():
    assert Real(0.0, 1.0).decode(0.123456) == 0.1235
    assert Real(0.12346, 1.0).decode(0.12346) == 0.1235
    assert Real(0.12341, 1.0).decode(0.12341) == 0.12341
    assert Real(0.0, 1.0).decode(7.0) == 1.0


@pytest.mark.parametrize(
    ("gene", "middle"),
    [
        (Real(1e-4, 1e-2, log=True), 1e-3),
        (Real(0.0, 2.0), 1.0),
        (Integer(1, 101), 51),
        (Integer(1, 100, log=True), 10),
    ],
)
def test_half_of_the_samples_lie_on_each_side_of_the_middle_of_the_scale(gene, middle):
    generator = np.random.default_rng(0)
    below = np.mean([gene.sample(generator) < middle for _ in range(2000)])
    assert below == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("gene", [Integer(4, 11, 3), Integer(-2, 3), Integer(1, 6, log=True), Integer(5, 5)])
def test_an_integer_takes_each_of_its_values_and_no_other(gene):
    generator = np.random.default_rng(0)
    expected = set(range(gene.low, gene.high + 1, gene.step))
    assert {gene.sample(generator) for _ in range(300)} == expected
    assert gene.size == len(expected)
    assert {n for n in range(-20, 20) if gene.contains(n)} == expected


def test_steps_are_drawn_evenly():
    generator = np.random.default_rng(0)
    values = [Integer(4, 10, 2).sample(generator) for _ in range(4000)]
    counts = np.unique(values, return_counts=True)[1]
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)


def test_neighbouring_steps_have_codes_one_apart():
    gene = Integer(4, 16, 4)
    assert [gene.encode(value) for value in (4, 8, 12, 16)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("gene", "size"), [(Real(0, 1), math.inf), (Real(1, 1), 1), (Integer(4, 11, 3), 3)])
def test_size_is_the_number_of_values(gene, size):
    assert gene.size == size


@pytest.mark.parametrize("value", ["0.5", True, -0.1, 1.1, math.nan])
def test_a_real_does_not_contain_what_is_no_number_within_its_bounds(value):
    assert not Real(0.0, 1.0).contains(value)


@pytest.mark.parametrize("value", ["4", True, 5, 4.5, 0, 12])
def test_an_integer_does_not_contain_what_is_off_its_steps(value):
    assert not Integer(4, 8, 2).contains(value)


def test_a_choice_gives_the_option_of_a_label():
    gene = Choice(("a", 2), ({"name": "a"}, 2))
    assert gene.option("a") == {"name": "a"}
    assert gene.option(2) == 2
    assert gene.contains("a")
    assert not gene.contains("b")


def test_a_choice_draws_every_label_evenly():
    gene = Choice(("a", 2, 0.5), ("a", 2, 0.5))
    generator = np.random.default_rng(0)
    draws = [gene.sample(generator) for _ in range(3000)]
    for label in gene.labels:
        assert draws.count(label) / 3000 == pytest.approx(1 / 3, abs=0.04)


def test_labels_are_scalars_names_or_labels():
    options = ["a", 2, 0.5, True, {"name": "pgd"}, {"name": "pgd", "label": "weak"}, ["x", "y"], []]
    assert choice_labels(options, Place()) == ("a", 2, 0.5, True, "pgd", "weak", "x+y", "none")


@pytest.mark.parametrize("options", [["a", "a"], [2, "2"], [{"name": "pgd"}, "pgd"], [{"name": "a"}] * 2])
def test_two_options_with_the_same_label_are_refused(options):
    with pytest.raises(SpecError, match=r"^attack: two options are called '.*'\. Give each a `label:`"):
        choice_labels(options, Place().child("attack"))


@pytest.mark.parametrize("options", [[], None, "pgd", {"name": "pgd"}, 3])
def test_a_choice_needs_a_list_of_options(options):
    with pytest.raises(SpecError, match=r"^attack: got choice: .*expected a list of options\."):
        choice_labels(options, Place().child("attack"))
