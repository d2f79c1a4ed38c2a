import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.pareto.scalarization import conic_scalarization

NUMBERS = st.floats(-100, 100)
CASES = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        st.lists(NUMBERS, min_size=count, max_size=count),
        st.lists(st.floats(0.01, 10), min_size=count, max_size=count),
        st.lists(NUMBERS, min_size=count, max_size=count),
        st.floats(0, 0.99),
    )
)


def scalarized(losses, preference, reference, share):
    """With gamma as a share of its upper bound."""
    gamma = share * min(preference)
    return conic_scalarization(losses, preference=preference, reference=reference, gamma=gamma)


@given(CASES)
def test_it_is_the_formula(case):
    losses, preference, reference, share = case
    distance = np.array(losses) - reference
    expected = np.array(preference) @ distance + share * min(preference) * np.abs(distance).sum()
    assert scalarized(*case) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(CASES)
def test_without_augmentation_it_is_the_weighted_sum(case):
    losses, preference, reference, _ = case
    expected = np.dot(preference, losses) - np.dot(preference, reference)
    assert scalarized(losses, preference, reference, 0.0) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(CASES, st.integers(0, 3), st.floats(0.01, 10))
def test_it_grows_with_every_loss(case, index, step):
    losses, preference, reference, share = case
    worse = list(losses)
    worse[index % len(losses)] += step
    assert scalarized(worse, preference, reference, share) > scalarized(*case)


def test_augmentation_counts_for_both_sides_of_the_reference_point():
    above, below = ([5.0 + side, 5.0] for side in (1, -1))
    fixed = {"preference": [1.0, 1.0], "reference": [5.0, 5.0], "gamma": 0.25}
    assert conic_scalarization(above, **fixed) == 1.25
    assert conic_scalarization(below, **fixed) == -0.75


@pytest.mark.parametrize("kind", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_arrays_and_tensors_are_scalarized_element_by_element(kind):
    losses = [[0.5, 2.0, 1.0], [3.0, 0.25, 1.0]]
    fixed = {"preference": [0.25, 0.75], "reference": [1.0, 1.0], "gamma": 0.125}
    found = conic_scalarization([kind(values) for values in losses], **fixed)
    assert type(found) is type(kind(losses[0]))
    assert found.tolist() == [conic_scalarization(pair, **fixed) for pair in zip(*losses, strict=True)]


def test_gradient_is_the_preference_and_the_augmentation():
    losses = torch.tensor([3.0, 0.5], dtype=torch.float64, requires_grad=True)
    conic_scalarization(list(losses), preference=[0.1, 0.9], reference=[1.0, 1.0], gamma=0.05).backward()
    assert losses.grad.tolist() == pytest.approx([0.15, 0.85])


def test_the_losses_are_not_changed():
    losses = np.array([0.5, 2.0])
    conic_scalarization(losses, preference=[1.0, 1.0], reference=[1.0, 1.0], gamma=0.5)
    assert losses.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"losses": [1.0]}, "got 1 losses, 2 weights and 2 coordinates"),
        ({"preference": [1.0, 1.0, 1.0]}, "got 2 losses, 3 weights"),
        ({"reference": []}, "0 coordinates"),
        ({"losses": [], "preference": [], "reference": []}, "at least one"),
        ({"preference": [1.0, 0.0]}, r"preference: got \[1\.0, 0\.0\], expected weights > 0"),
        ({"preference": [1.0, -1.0]}, "expected weights > 0"),
        ({"preference": [float("nan"), 1.0]}, "expected weights > 0"),
        ({"preference": [1.0, float("nan")]}, "expected weights > 0"),
        ({"gamma": -1e-9}, "gamma: got -1e-09, expected at least 0"),
        ({"gamma": 0.5}, r"gamma: got 0\.5, expected at least 0 and less than 0\.5"),
        ({"gamma": float("nan")}, "gamma"),
    ],
    ids=str,
)
def test_what_is_no_conic_scalarization_is_refused(wrong, message):
    arguments = {"losses": [1.0, 2.0], "preference": [0.5, 1.0], "reference": [0.0, 0.0], "gamma": 0.1}
    with pytest.raises(ValueError, match=message):
        conic_scalarization(**(arguments | wrong))
