import numpy as np
import pytest

from moosearch.pareto.indicators import coverage, igd_plus


def brute_igd_plus(losses, reference):
    distances = [
        min(sum(max(a - z, 0.0) ** 2 for a, z in zip(row, target, strict=True)) ** 0.5 for row in losses)
        for target in reference
    ]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_igd_plus_is_the_mean_shortfall(objectives):
    generator = np.random.default_rng(objectives)
    for _ in range(20):
        losses = generator.random((generator.integers(1, 8), objectives))
        reference = generator.random((generator.integers(1, 8), objectives))
        assert igd_plus(losses, reference) == pytest.approx(brute_igd_plus(losses, reference), abs=1e-12)


def test_what_dominates_the_reference_has_no_shortfall():
    assert igd_plus(np.array([[0.1, 0.1]]), np.array([[0.2, 0.3], [0.1, 0.9]])) == 0


def test_an_empty_front_stands_at_the_reference_point():
    reference = np.array([[0.2, 0.3], [0.1, 0.9]])
    assert igd_plus(np.zeros((0, 2)), reference) == brute_igd_plus([[1, 1]], reference)
    with pytest.raises(ValueError, match="reference front is empty"):
        igd_plus(reference, np.zeros((0, 2)))


def test_coverage_counts_pairs():
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.integers(0, 4, (5, 3)) / 4, generator.integers(0, 4, (6, 3)) / 4
        expected = sum(any(all(p <= q for p, q in zip(x, y, strict=True)) for x in a) for y in b) / len(b)
        assert coverage(a, b) == pytest.approx(expected)


def test_coverage_of_and_by_nothing():
    some = np.array([[0.5, 0.5]])
    assert coverage(np.zeros((0, 2)), some) == 0
    assert np.isnan(coverage(some, np.zeros((0, 2))))
    assert coverage(some, some) == 1
