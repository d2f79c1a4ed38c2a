"""First individuals: what every search asks for before anything is drawn, or refuses."""

import numpy as np
import pytest

from moosearch.algorithms import ALGORITHMS, SearchProblem
from moosearch.algorithms.algorithm import Proposals
from moosearch.errors import SpecError

NODE = {
    "model": {"choice": [{"name": "small", "width": {"integer": [1, 9]}}, "deep"]},
    "kind": {"choice": ["a", "b", "c"]},
}
TAKING = [name for name in ALGORITHMS if name != "grid"]


@pytest.fixture
def first(space_of):
    """Three genomes, as many candidates."""
    genomes = [
        {"model": "small", "model.small.width": 7, "kind": "c"},
        {"model": "deep", "model.small.width": 1, "kind": "b"},
        {"model": "small", "model.small.width": 2, "kind": "b"},
    ]
    return space_of(NODE), genomes


def begin(name, space, initial, population=6, seed=0):
    problem = SearchProblem(space, 2, 1, population, seed, tuple(initial))
    return ALGORITHMS.get(name)().start(problem)


def asked(name, search, population):
    return [search.ask() for _ in range(population)] if ALGORITHMS.get(name).steady else search.ask()


@pytest.mark.parametrize("name", TAKING)
@pytest.mark.parametrize("population", [3, 6])
def test_they_take_the_first_places_and_the_rest_is_drawn_as_without_them(name, first, population):
    space, genomes = first
    with_them = asked(name, begin(name, space, genomes, population), population)
    without = asked(name, begin(name, space, (), population), population)
    assert with_them[:3] == [space.candidate(genome) for genome in genomes]
    drawn = [candidate for candidate in without if candidate not in with_them[:3]]
    assert with_them[3:] == drawn[: population - 3]


@pytest.mark.parametrize("name", TAKING)
def test_what_comes_twice_is_asked_for_once(name, first):
    space, genomes = first
    twice = [*genomes[:2], genomes[1] | {"model.small.width": 5}]  # an inactive gene makes no other candidate
    candidates = asked(name, begin(name, space, twice), 6)
    assert len({candidate.id for candidate in candidates}) == 6
    assert candidates[:2] == [space.candidate(genome) for genome in genomes[:2]]


def test_children_are_bred_from_them(first):
    """What survives of a generation of recipes alone is theirs, inactive genes included."""
    space, genomes = first
    search = begin("nsga2", space, genomes, population=3)
    search.ask()
    search.tell(np.random.default_rng(0).random((3, 2)), np.zeros((3, 1)))
    parents = [parent.X for parent in search.breeder._algorithm.pop]
    widths = sorted(int(parent["model.small.width"]) + 1 for parent in parents)
    assert widths == [1, 2, 7]


def test_a_grid_refuses_them(first):
    space, genomes = first
    with pytest.raises(SpecError, match=r"campaign\.initial: grid lists"):
        begin("grid", space, genomes)


def test_they_are_given_out_over_several_draws(first):
    space, genomes = first
    proposals = Proposals(space, genomes)
    generator = np.random.default_rng(0)
    given = [genome for _ in range(3) for genome, _ in proposals.sample(1, generator)]
    assert given == genomes
