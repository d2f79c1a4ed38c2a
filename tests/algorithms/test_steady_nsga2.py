"""Steady-state NSGA-II: asks and tells in any interleaving, each child bred from what was told so far."""

import math

import numpy as np
import pytest

from moosearch.algorithms import ALGORITHMS, SearchProblem
from moosearch.algorithms.nsga2 import Nsga2
from moosearch.algorithms.steady_nsga2 import SteadyNsga2
from moosearch.pareto import hypervolume

MIXED = {
    "lr": {"real": [0, 1]},
    "scale": {"real": [0, 1]},
    "kind": {"choice": ["bad", "worse", "good", "poor"]},
    "model": {
        "choice": [
            {"name": "small", "width": {"integer": [1, 16]}},
            {"name": "deep", "depth": {"log_integer": [1, 64]}, "dropout": {"real": [0, 0.5]}},
        ]
    },
}
SMALL = {
    "kind": {"choice": ["a", "b", "c"]},
    "model": {"choice": [{"name": "small", "width": {"integer": [1, 5]}}, "deep"]},
}


def toy(candidate):
    """A bi-objective problem with a known front at scale 0.3 and kind good: hypervolume 2/3."""
    spec = candidate.spec
    distance = (
        abs(spec["scale"] - 0.3) + 0.3 * (spec["kind"] != "good") + 0.1 * (spec["model"]["name"] == "deep")
    )
    return np.array([spec["lr"] + 0.2 * distance, 1 - math.sqrt(spec["lr"]) + distance]), np.zeros(1)


def drawn(candidate):
    """Losses that are made of nothing but the candidate's id."""
    return np.random.default_rng(int(candidate.id, 16)).random(2), np.zeros(1)


@pytest.fixture
def begin(space_of):
    """Return a function that starts a steady search."""

    def begin(node=MIXED, population=6, seed=0, **settings):
        return SteadyNsga2(**settings).start(SearchProblem(space_of(node), 2, 1, population, seed))

    return begin


def drive(search, workers, count, seed=0, answer=drawn):
    """Keep several candidates in flight; who is done first is drawn. Returns all in the order asked."""
    generator = np.random.default_rng(seed)
    asked, flying = [], []
    while True:
        while len(flying) < workers and len(asked) < count:
            candidate = search.ask()
            if candidate is None:
                count = len(asked)
                break
            asked.append(candidate)
            flying.append(candidate)
        if not flying:
            return asked
        candidate = flying.pop(generator.integers(len(flying)))
        search.tell(candidate.id, *answer(candidate))


def survivors(search):
    return search.breeder._algorithm.pop


def test_only_steady_algorithms_are_driven_candidate_by_candidate():
    kinds = {name: ALGORITHMS.get(name).steady for name in ALGORITHMS}
    assert kinds == {"grid": False, "nsga2": False, "random": False, "steady_nsga2": True}


@pytest.mark.rotated(3)
@pytest.mark.parametrize("node", [MIXED, SMALL])
@pytest.mark.parametrize(("workers", "population"), [(1, 1), (1, 6), (3, 6), (20, 6), (5, 2), (7, 40)])
def test_every_candidate_is_new_in_any_interleaving(begin, space_of, node, workers, population):
    space = space_of(node)
    asked = drive(begin(node, population), workers, 60)
    assert len({candidate.id for candidate in asked}) == len(asked) == min(60, space.size)
    assert all(space.candidate(candidate.genome) == candidate for candidate in asked)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_interleaving_asks_for_the_same(begin, workers):
    runs = [drive(begin(seed=3), workers, 40, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert (runs[0] == runs[2]) == (workers == 1)
    assert runs[0] != drive(begin(seed=4), workers, 40, seed=1)


def test_the_first_candidates_are_those_of_nsga2(begin, space_of):
    first = Nsga2().start(SearchProblem(space_of(MIXED), 2, 1, 6, 0)).ask()
    assert drive(begin(), 1, 6) == drive(begin(), 6, 6) == first


def test_children_come_after_the_first_population_whatever_was_told(begin, monkeypatch):
    search = begin(population=3)
    bred = []
    real = search.breeder.breed
    monkeypatch.setattr(search.breeder, "breed", lambda: bred.append(real()) or bred[-1])
    first = [search.ask() for _ in range(3)]
    assert bred == []
    assert search.ask() is not None  # nobody was told, nobody can be a parent
    search.tell(first[0].id, *drawn(first[0]))
    assert search.ask() is not None
    assert bred == [[], []]
    search.tell(first[2].id, *drawn(first[2]))
    assert search.ask() == bred[2][0][1]


def test_children_are_bred_from_survivors(begin):
    options = [f"option {i}" for i in range(50)]
    search = begin({"kind": {"choice": options}, "lr": {"real": [0, 1]}}, population=8, mutations=1e-9)
    asked = drive(search, 1, 8)
    for _ in range(20):
        parents = {options[int(x["kind"])] for x in survivors(search).get("X")}
        child = search.ask()
        assert child.genome["kind"] in parents
        search.tell(child.id, *drawn(child))
        asked.append(child)


def test_the_best_survive_each_tell(begin):
    search = begin(population=5)
    told = []

    def answer(candidate):
        losses, violations = drawn(candidate)
        told.append(losses)
        return losses, violations

    for count in range(1, 30):
        drive(search, 1, 1, answer=answer)
        kept = survivors(search).get("F")
        assert len(kept) == min(count, 5)
        np.testing.assert_array_equal(kept.min(axis=0), np.min(told, axis=0))


def test_what_failed_survives_only_where_there_is_room(begin):
    search = begin(population=5)
    for number in range(12):
        candidate = search.ask()
        failed = number % 2 == 1
        search.tell(candidate.id, np.full(2, 0.5 - 0.5 * failed), np.full(1, 1e6 * failed))
    assert (survivors(search).get("F") == 0.5).all()


def test_a_smaller_part_of_what_is_in_flight_is_enough(begin):
    """What is never told does not hold up the others."""
    search = begin(population=4)
    lost = [search.ask() for _ in range(3)]
    asked = drive(search, 1, 30)
    assert len(asked) == 30
    assert not {c.id for c in lost} & {c.id for c in asked}
    for candidate in lost:
        search.tell(candidate.id, *drawn(candidate))


def test_each_candidate_is_told_once(begin):
    search = begin()
    candidate = search.ask()
    with pytest.raises(ValueError, match="finite"):
        search.tell(candidate.id, np.array([np.nan, 0.0]), np.zeros(1))
    search.tell(candidate.id, *drawn(candidate))
    for unknown in (candidate.id, "000000000000"):
        with pytest.raises(KeyError):
            search.tell(unknown, *drawn(candidate))


def test_an_exhausted_space_stays_exhausted(begin, space_of):
    search = begin(SMALL, population=4)
    asked = drive(search, 5, 100)
    assert len(asked) == space_of(SMALL).size
    assert search.ask() is None
    search.breeder.draw = pytest.fail  # listing what is left of a large space takes time
    assert search.ask() is None


def test_asking_ahead_is_exhausted_too(begin, space_of):
    search = begin(SMALL, population=4)
    size = space_of(SMALL).size
    asked = [search.ask() for _ in range(size + 3)]
    assert all(asked[:size])
    assert asked[size:] == [None] * 3
    for candidate in asked[:size]:
        search.tell(candidate.id, *drawn(candidate))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_it_beats_random_search_at_the_same_budget(begin, workers):
    def volume(candidates):
        return hypervolume(np.array([toy(candidate)[0] for candidate in candidates]))

    searched, random = [], []
    for seed in range(3):
        searched.append(volume(drive(begin(population=16, seed=seed), workers, 160, seed, toy)))
        search = begin(population=160, seed=seed)
        random.append(volume([search.ask() for _ in range(160)]))
    assert np.mean(random) + 0.05 < np.mean(searched) <= 2 / 3
