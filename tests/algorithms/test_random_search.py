"""Random search: uniform, without repetition."""

import numpy as np
import pytest

from moosearch.algorithms.algorithm import Proposals


def values(generations, path):
    return [candidate.genome[path] for candidates in generations for candidate in candidates]


def test_real_genes_are_uniform_on_their_scale(space_of, start, drive, random_answer):
    space = space_of({"lr": {"log_real": [1e-4, 1]}, "scale": {"real": [-1, 1]}})
    generations = drive(start("random", space, population=500), random_answer, 2)
    shares = np.histogram(np.log10(values(generations, "lr")), bins=4, range=(-4, 0))[0] / 1000
    np.testing.assert_allclose(shares, 0.25, atol=0.05)
    shares = np.histogram(values(generations, "scale"), bins=4, range=(-1, 1))[0] / 1000
    np.testing.assert_allclose(shares, 0.25, atol=0.05)


def test_options_are_drawn_evenly(space_of, start, drive, random_answer):
    space = space_of({"kind": {"choice": ["a", "b", "c"]}, "lr": {"real": [0, 1]}})
    kinds = values(drive(start("random", space, population=900), random_answer, 1), "kind")
    for kind in "abc":
        assert kinds.count(kind) / 900 == pytest.approx(1 / 3, abs=0.05)


def test_losses_do_not_matter(space_of, start, drive, random_answer):
    space = space_of({"lr": {"real": [0, 1]}})
    silent = start("random", space)
    told = drive(start("random", space), random_answer, 4)
    assert [silent.ask() for _ in told] == told


def test_the_last_candidates_of_a_large_space_are_found(space_of, start):
    space = space_of({"model": {"name": "small", "width": {"integer": [1, 2000]}}})
    search = start("random", space, population=1998)
    seen = {candidate.genome["model.width"] for candidate in search.ask()}
    rest = {candidate.genome["model.width"] for candidate in search.ask()}
    assert len(seen) == 1998
    assert rest == set(range(1, 2001)) - seen
    assert search.ask() == []


def test_the_order_of_an_exhausted_space_depends_on_the_seed(space_of, start):
    space = space_of({"model": {"name": "small", "width": {"integer": [1, 20]}}})
    orders = [[c.id for c in start("random", space, population=20, seed=seed).ask()] for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


@pytest.mark.slow
def test_what_is_left_of_a_space_is_drawn_in_random_order_too(space_of):
    space = space_of({"model": {"name": "small", "width": {"integer": [1, 3000]}}})
    ends = []
    for seed in range(5):
        proposals = Proposals(space)
        for width in range(1, 2997):
            proposals.take({"model.width": width})
        drawn = proposals.sample(4, np.random.default_rng(seed))
        ends.append([genome["model.width"] for genome, _ in drawn])
    assert all(set(end) == {2997, 2998, 2999, 3000} for end in ends)
    assert sum(end == sorted(end) for end in ends) < 3
