import math

import numpy as np
import pytest

from moosearch.pareto.attainment import attainment_surface, staircase


def attained_by(fronts, point):
    return sum(any((row <= point).all() for row in front) for front in fronts)


def brute_surface(fronts, needed):
    """The minimal points of the grid of all coordinates that enough runs attain."""
    points = np.concatenate(fronts)
    grid = [np.array([x, y]) for x in np.unique(points[:, 0]) for y in np.unique(points[:, 1])]
    enough = [point for point in grid if attained_by(fronts, point) >= needed]
    return [tuple(p) for p in enough if not any((q <= p).all() and (q < p).any() for q in enough)]


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 7, 11])
def test_surfaces_are_those_of_counting(runs):
    generator = np.random.default_rng(runs)
    fronts = [generator.integers(0, 9, (generator.integers(1, 5), 2)) / 9 for _ in range(runs)]
    for share in (0.01, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.0):
        surface = attainment_surface(fronts, share)
        expected = brute_surface(fronts, math.ceil(share * runs - 1e-9))
        assert surface == pytest.approx(np.array(sorted(expected)))
        assert (np.diff(surface[:, 0]) > 0).all()
        assert (np.diff(surface[:, 1]) < 0).all()


def test_runs_that_attain_nothing_count():
    fronts = [np.array([[0.5, 0.5]]), np.zeros((0, 2)), np.array([[0.2, 0.7]]), np.zeros((0, 2))]
    assert attainment_surface(fronts, 0.25).tolist() == [[0.2, 0.7], [0.5, 0.5]]
    assert attainment_surface(fronts, 0.5).tolist() == [[0.5, 0.7]]
    assert attainment_surface(fronts, 0.75).shape == (0, 2)
    assert attainment_surface([np.zeros((0, 2))], 0.5).shape == (0, 2)


@pytest.mark.parametrize(
    ("fronts", "share"), [([], 0.5), ([np.zeros((1, 3))], 0.5), ([np.zeros((1, 2))], 0.0)]
)
def test_what_makes_no_sense_is_refused(fronts, share):
    with pytest.raises(ValueError, match="two objectives, and a share"):
        attainment_surface(fronts, share)


def test_a_staircase_borders_what_is_dominated():
    points = np.array([[0.2, 0.6], [0.5, 0.1]])
    line = staircase(points, np.ones(2))
    for x, y in line:
        just_inside, just_outside = np.array([x, y]) + 1e-6, np.array([x, y]) - 1e-6
        assert any((p <= just_inside).all() for p in points)
        assert not any((p <= just_outside).all() for p in points)
    assert staircase(np.zeros((0, 2)), np.ones(2)).shape == (0, 2)
