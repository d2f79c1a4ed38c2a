"""The mixed model against closed forms, and the corrections for several tests."""

import numpy as np
import pytest
from scipy import stats

from moosearch.analysis.gene_regression import Process, assess, fit, holm, unseen_r2


def made_up(n=40, genes=3, seed=0, noise=0.1):
    """A smooth function of the first gene alone; distances, values of variance 1."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((genes, n))
    y = np.sin(1.5 * x[0]) + noise * generator.standard_normal(n)
    return (x[:, :, None] - x[:, None, :]) ** 2, (y - y.mean()) / y.std()


START = Process(np.full(3, 0.1), 0.1)


def test_the_gene_that_matters_has_the_weight():
    distances, y = made_up()
    found = fit(distances, y, start=START, least=1e-4, iterations=60)
    assert found.weights[0] > 20 * found.weights[1:].max()
    assert 0.9 < unseen_r2(distances, y, found) < 1
    assert unseen_r2(distances[1:], y, Process(found.weights[1:], found.noise)) < 0.2


def test_what_is_known_of_the_noise_is_respected():
    distances, y = made_up(noise=0.0)
    assert fit(distances, y, start=START, least=1e-4, iterations=60).noise < 0.01
    assert fit(distances, y, start=START, least=0.3, iterations=60).noise == pytest.approx(0.3)


def test_left_out_one_at_a_time():
    distances, y = made_up(15)
    process = Process(np.array([0.5, 0.1, 0.0]), 0.2)
    covariance = process.covariance(distances)
    errors = []
    for i in range(15):
        rest = np.delete(np.arange(15), i)
        inverse = np.linalg.inv(covariance[np.ix_(rest, rest)])
        mean = inverse.sum(axis=0) @ y[rest] / inverse.sum()
        errors.append(y[i] - mean - covariance[i, rest] @ inverse @ (y[rest] - mean))
    expected = 1 - np.square(errors).sum() / np.square(y - y.mean()).sum()
    assert unseen_r2(distances, y, process) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("effect", [0.0, 0.35])
def test_a_gene_is_tested_by_generalized_least_squares(effect):
    generator = np.random.default_rng(3)
    basis = generator.standard_normal((60, 2))
    distances, _ = made_up(60, seed=4)
    covariance = Process(np.array([0.5, 0.2, 0.0]), 0.3).covariance(distances)
    y = np.linalg.cholesky(covariance) @ generator.standard_normal(60) + effect * basis[:, 0]
    found = assess(basis, y, covariance, generator)
    design, inverse = np.column_stack([np.ones(60), basis]), np.linalg.inv(covariance)
    information = np.linalg.inv(design.T @ inverse @ design)
    coefficients = information @ design.T @ inverse @ y
    residual = y - design @ coefficients
    variance = residual @ inverse @ residual / 57
    assert found.freedom == 57
    np.testing.assert_allclose(found.coefficients, coefficients[1:], rtol=1e-8)
    np.testing.assert_allclose(found.covariance, variance * information[1:, 1:], rtol=1e-8)
    # Permutations of normal residuals agree with the F test.
    b = coefficients[1:]
    f = b @ np.linalg.solve(found.covariance, b) / 2
    assert found.p == pytest.approx(stats.f.sf(f, 2, 57), abs=0.03)
    assert (found.p < 0.01) == (effect > 0)


def test_holm_keeps_the_order_and_multiplies_the_smallest_by_their_number():
    p = np.random.default_rng(0).random(9) ** 3
    order = np.argsort(p)
    adjusted = holm(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted[order[0]] == pytest.approx(9 * p[order[0]])
    assert (adjusted <= 1).all()
    assert len(holm(np.array([]))) == 0
