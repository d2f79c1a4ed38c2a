"""Noise on fronts: against closed forms, brute force, and properties that any answer must have."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from moosearch.pareto import non_dominated
from moosearch.pareto.uncertainty import Replicates, student_quantile

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
LOSS = st.sampled_from([0.1, 0.25, 0.5, 1.0]) | st.floats(
    0, 1
)  # ties are frequent, and 0.1 is no binary number


def arrays(draw, *shape):
    flat = draw(st.lists(LOSS, min_size=math.prod(shape), max_size=math.prod(shape)))
    return np.array(flat).reshape(shape)


@st.composite
def replicates(draw, least=1):
    members, repetitions, objectives = (draw(st.integers(low, 4)) for low in (1, least, 1))
    exact = draw(st.lists(st.booleans(), min_size=objectives, max_size=objectives))
    losses = arrays(draw, members, repetitions, objectives)
    losses[:, :, exact] = losses[:, :1, exact]
    return Replicates(losses, exact)


def probabilities(given, draws=300, seed=0):
    return given.probabilities(np.random.default_rng(seed), draws)


def spread(means, noise, repetitions=3):
    """Replicates with given means and the same standard deviation everywhere."""
    means = np.asarray(means, dtype=float)
    around = np.linspace(-1, 1, repetitions) / np.std(np.linspace(-1, 1, repetitions), ddof=1)
    return means[:, None] + around[None, :, None] * np.asarray(noise, dtype=float)


@SETTINGS
@given(replicates(least=2))
def test_means_and_deviations_are_those_of_numpy(given):
    losses = given.losses
    np.testing.assert_allclose(given.means, losses.mean(axis=1))
    np.testing.assert_allclose(given.deviations, losses.std(axis=1, ddof=1), atol=1e-12)
    pooled = np.sqrt(losses.var(axis=1, ddof=1).mean(axis=0))
    np.testing.assert_allclose(given.errors, pooled / np.sqrt(losses.shape[1]), atol=1e-12)
    assert given.degrees == losses.shape[0] * (losses.shape[1] - 1)


def test_of_a_single_repetition_no_noise_is_known():
    given = Replicates(np.array([[[0.1, 0.5]], [[0.9, 0.5]]]), [False, True])
    np.testing.assert_array_equal(given.errors, [np.nan, 0])
    np.testing.assert_array_equal(given.deviations, [[np.nan, 0], [np.nan, 0]])
    assert given.degrees == 0
    assert np.isnan(probabilities(given)).all()
    assert given.stays().all(), "the second may be as good as the first"


def test_a_single_repetition_of_exact_objectives_says_all():
    given = Replicates(np.array([[[0.1, 0.5]], [[0.9, 0.5]], [[0.9, 0.1]]]), [True, True])
    assert given.stays().tolist() == [True, False, True]
    assert probabilities(given).tolist() == [1, 0, 1]


@SETTINGS
@given(st.data(), st.integers(1, 6), st.integers(2, 4), st.integers(1, 3))
def test_without_noise_the_front_is_the_front(data, members, repetitions, objectives):
    losses = arrays(data.draw, members, 1, objectives).repeat(repetitions, axis=1)
    exact = data.draw(st.lists(st.booleans(), min_size=objectives, max_size=objectives))
    given, front = Replicates(losses, exact), non_dominated(losses[:, 0])
    np.testing.assert_array_equal(given.means, losses[:, 0])
    np.testing.assert_array_equal(given.stays(), front)
    np.testing.assert_array_equal(probabilities(given, draws=3), front)


@SETTINGS
@given(replicates())
def test_who_is_non_dominated_by_the_means_stays(given):
    assert given.stays()[non_dominated(given.means)].all()


@SETTINGS
@given(replicates(least=2))
def test_probabilities_are_probabilities_and_some_front_is_drawn(given):
    found = probabilities(given)
    assert ((found >= 0) & (found <= 1)).all()
    assert found.sum() >= 1 - 1e-9


@SETTINGS
@given(replicates(least=2), st.randoms(use_true_random=False))
def test_order_of_members_and_of_repetitions_does_not_matter(given, random):
    order = random.sample(range(len(given.losses)), len(given.losses))
    mixed = np.stack([row[random.sample(range(len(row)), len(row))] for row in given.losses])[order]
    other = Replicates(mixed, given.exact)
    decided = np.abs(np.diff(given.means, axis=0)).min(initial=1) > 1e-9  # ties of means may round apart
    if decided:
        np.testing.assert_array_equal(other.stays(), given.stays()[order])
        found = probabilities(other, draws=800)
        np.testing.assert_allclose(found, probabilities(given, draws=800)[order], atol=0.12)


@SETTINGS
@given(replicates(least=2), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_a_stricter_level_lets_more_stay(given, one, other):
    strict, lenient = (given.stays(level) for level in sorted((one, other)))
    assert (strict | ~lenient).all()


@SETTINGS
@given(st.data(), st.integers(2, 5), st.floats(0, 1), st.floats(0, 1))
def test_more_noise_lets_more_stay(data, members, one, other):
    means, (less, more) = arrays(data.draw, members, 2), sorted((one, other))
    quiet, loud = (Replicates(spread(means, [noise, noise / 2]), [False, False]) for noise in (less, more))
    if np.abs(quiet.means - loud.means).max() == 0:
        assert (loud.stays() | ~quiet.stays()).all()


def test_noise_moves_probabilities_away_from_certainty_and_never_past_a_half():
    """Two members, one objective: the worse mean is at most as probable as the better one."""
    found = np.array(
        [
            probabilities(Replicates(spread([[0.4], [0.5]], [noise]), [False]), draws=4000)
            for noise in (0.0, 0.01, 0.05, 0.2, 1.0, 100.0)
        ]
    )
    assert found[0].tolist() == [1, 0]
    assert (np.diff(found[:, 1]) >= -0.01).all()
    assert (found[:, 1] <= 0.52).all()
    assert found[-1] == pytest.approx([0.5, 0.5], abs=0.03)
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("repetitions", [2, 3, 5])
@pytest.mark.parametrize("gap", [0.0, 0.05, 0.1, 0.3])
def test_probability_of_one_of_two_is_that_of_student(repetitions, gap):
    given = Replicates(spread([[0.5], [0.5 - gap]], [0.1], repetitions), [False])
    error = 0.1 * math.sqrt(2 / repetitions)
    expected = stats.t.cdf(-gap / error, df=2 * (repetitions - 1))
    assert probabilities(given, draws=20_000)[0] == pytest.approx(expected, abs=0.015)


def test_exact_ties_leave_the_decision_to_the_noisy_objective():
    """Equal FLOPs: the better accuracy decides; fewer FLOPs: nothing can dominate."""
    equal = Replicates(spread([[0.1, 0.5], [0.2, 0.5]], [0.01, 0]), [False, True])
    assert equal.stays().tolist() == [True, False]
    assert probabilities(equal)[1] < 0.01
    fewer = Replicates(spread([[0.1, 0.5], [0.2, 0.5 - 1e-12]], [0.01, 0]), [False, True])
    assert fewer.stays().tolist() == [True, True]
    assert probabilities(fewer).tolist() == [1, 1]


def test_identical_members_all_stay_and_share_their_chance():
    given = Replicates(spread([[0.3, 0.3]] * 3, [0.05, 0.05]), [False, False])
    assert given.stays().all()
    found = probabilities(given, draws=4000)
    assert found == pytest.approx([found.mean()] * 3, abs=0.05)


def test_objectives_that_vary_together_are_drawn_together():
    """Whoever is better in one is better in the other, or never is: then one of two, or both, stay."""
    together = spread([[0.3, 0.3], [0.3, 0.3]], [0.1, 0.1])
    apart = spread([[0.3, 0.3], [0.3, 0.3]], [0.1, -0.1])
    assert probabilities(Replicates(together, [False] * 2), draws=2000) == pytest.approx([0.5] * 2, abs=0.05)
    assert probabilities(Replicates(apart, [False] * 2)).tolist() == [1, 1]


def brute_force(given, draws):
    """One front after the other: covariance from residuals, a normal vector a member, pairwise dominance."""
    rng = np.random.default_rng(7)
    members, repetitions, objectives = given.losses.shape
    residuals = (given.losses - given.losses.mean(axis=1, keepdims=True)).reshape(-1, objectives)
    covariance = residuals.T @ residuals / given.degrees / repetitions
    hits = np.zeros(members)
    for _ in range(draws):
        scale = math.sqrt(given.degrees / rng.chisquare(given.degrees))
        noise = rng.multivariate_normal(np.zeros(objectives), covariance, size=members) * scale
        front = given.losses.mean(axis=1) + noise
        hits += [not any((other <= row).all() and (other < row).any() for other in front) for row in front]
    return hits / draws


def test_probabilities_are_those_of_brute_force():
    losses = np.random.default_rng(3).uniform(0.3, 0.6, size=(5, 3, 2))
    given = Replicates(losses, [False, False])
    assert probabilities(given, draws=8000) == pytest.approx(brute_force(given, 8000), abs=0.03)


def stays_by_pairs(given, level):
    members, repetitions, objectives = given.losses.shape
    variances = given.losses.var(axis=1, ddof=1).mean(axis=0)
    marks = []
    for i in range(members):
        beaten = False
        for k in set(range(members)) - {i}:
            gaps = given.means[i] - given.means[k]
            clear = []
            for j in range(objectives):
                if given.exact[j]:
                    clear.append(gaps[j] >= 0)
                    continue
                t = gaps[j] / math.sqrt(2 * variances[j] / repetitions)
                p = stats.t.sf(t, df=members * (repetitions - 1))
                clear.append(p <= level / (members - 1))
            beaten |= all(clear) and any(gaps > 0)
        marks.append(not beaten)
    return marks


@pytest.mark.parametrize("seed", range(20))
def test_who_stays_is_decided_by_students_test_of_every_pair(seed):
    rng = np.random.default_rng(seed)
    losses = rng.uniform(size=(6, 1, 3)) + rng.normal(scale=0.04, size=(6, 3, 3))
    losses[:, :, 2] = rng.integers(3, size=(6, 1))
    given = Replicates(losses, [False, False, True])
    for level in (0.01, 0.05, 0.3):
        assert given.stays(level).tolist() == stays_by_pairs(given, level)


def test_a_member_of_the_true_front_is_rarely_called_dominated():
    """The level is kept: here all members are equally good, so every call is a false one."""
    rng = np.random.default_rng(0)
    calls = [
        not Replicates(rng.normal(0.5, 0.05, size=(8, 3, 1)), [False]).stays(level=0.05)[0]
        for _ in range(2000)
    ]
    assert 0.01 < np.mean(calls) < 0.06


def test_alone_is_on_the_front():
    given = Replicates(spread([[0.5, 0.5]], [0.1, 0.1]), [False, False])
    assert given.stays().tolist() == [True]
    assert probabilities(given).tolist() == [1]


def test_nobody_is_on_no_front():
    given = Replicates(np.zeros((0, 3, 2)), [False, False])
    assert given.stays().shape == probabilities(given).shape == (0,)


def test_the_generator_decides_and_the_losses_stay_as_they_are():
    losses = spread([[0.4, 0.5], [0.5, 0.4], [0.48, 0.48]], [0.05, 0.05])
    before, given = losses.copy(), Replicates(losses, [False, False])
    first, again, other = (probabilities(given, seed=seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    np.testing.assert_array_equal(losses, before)


@pytest.mark.parametrize(
    ("losses", "exact", "message"),
    [
        (np.zeros((2, 2)), [False, False], "shape"),
        (np.zeros((2, 0, 1)), [False], "R >= 1"),
        (np.zeros((2, 3, 2)), [False], r"\(N, R, 1\)"),
        (np.array([[[np.nan]]]), [False], "finite"),
        (np.array([[[0.1], [0.2]]]), [True], "exact"),
    ],
)
def test_what_makes_no_sense_is_refused(losses, exact, message):
    with pytest.raises(ValueError, match=message):
        Replicates(losses, exact)


@pytest.mark.parametrize("degrees", [*range(1, 9), 33, 34, 500])
def test_quantiles_of_student_are_those_of_scipy(degrees):
    for probability in (0.5, 0.501, 0.9, 0.975, 0.9999):
        expected = stats.t.ppf(probability, degrees)
        assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)
