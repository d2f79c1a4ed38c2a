"""What every registered search algorithm keeps, on spaces of every kind."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from moosearch.algorithms import ALGORITHMS

LONG = "a label that is far longer than the strings that numpy makes of it, number "
FINITE = {
    "one": {},
    "two": {"flip": {"choice": [False, True]}},
    "constant": {
        "lr": {"real": [0.1, 0.1]},
        "kind": {"choice": ["only"]},
        "model": {"name": "small", "width": 3},
    },
    "integers": {"model": {"name": "small", "width": {"integer": [4, 29, 3]}}},
    "labels": {
        "kind": {"choice": [f"{LONG}{i}" for i in range(3)]},
        "scale": {"choice": ["8/255", 0.5, 1]},
        "flip": {"choice": [True, False]},
    },
    "nested": {
        "model": {
            "choice": [
                {"name": "small", "width": {"choice": [4, 8]}},
                {
                    "name": "deep",
                    "depth": {"integer": [1, 3]},
                    "inner": {"choice": ["small", {"name": "deep", "depth": {"log_integer": [2, 4]}}]},
                },
            ]
        },
        "lr": {"choice": [0.1, 0.01]},
    },
}
INFINITE = {
    "reals": {"lr": {"log_real": [1e-4, 1]}, "scale": {"real": [-1, 1]}},
    "mixed": {
        "model": {
            "choice": [
                {"name": "small", "width": {"integer": [4, 32, 4]}},
                {
                    "name": "deep",
                    "depth": {"log_integer": [1, 100]},
                    "dropout": {"real": [0, 0.5]},
                    "inner": {"choice": ["small", {"name": "small", "label": "wide", "width": 64}]},
                },
            ]
        },
        "lr": {"log_real": [1e-4, 1]},
        "kind": {"choice": ["plain", f"{LONG}1"]},
    },
    "rounding": {"lr": {"real": [0.5, 0.51]}, "kind": {"choice": ["plain", "other"]}},
}
ONLY_FINITE = {"grid"}

on_finite = pytest.mark.parametrize(
    ("name", "node"), [(name, node) for name in ALGORITHMS for node in FINITE]
)
on_all = pytest.mark.parametrize(
    ("name", "node"),
    [
        (name, node)
        for name in ALGORITHMS
        for node in FINITE | INFINITE
        if name not in ONLY_FINITE or node in FINITE
    ],
)


def ids(generations):
    return [[candidate.id for candidate in candidates] for candidates in generations]


def flat(generations):
    return [candidate for candidates in generations for candidate in candidates]


def failures(candidates):
    return np.ones((len(candidates), 2)), np.ones((len(candidates), 1))


@pytest.mark.rotated(3)
@on_all
def test_every_candidate_is_in_the_space_and_new(name, node, space_of, start, drive, random_answer):
    space = space_of((FINITE | INFINITE)[node])
    genes = space.genes()
    generations = drive(start(name, space), random_answer, 5)
    for candidate in flat(generations):
        assert space.candidate(candidate.genome) == candidate
        assert all(genes[path].contains(value) for path, value in candidate.genome.items())
    asked = [candidate.id for candidate in flat(generations)]
    assert len(set(asked)) == len(asked) == min(30, space.size)


@pytest.mark.rotated(3)
@on_all
def test_genomes_are_plain_types_that_survive_json(name, node, space_of, start, drive, random_answer):
    space = space_of((FINITE | INFINITE)[node])
    for candidate in flat(drive(start(name, space), random_answer, 4)):
        assert all(type(value) in {str, int, float, bool} for value in candidate.genome.values())
        assert json.loads(json.dumps(candidate.genome)) == candidate.genome


@pytest.mark.rotated(3)
@on_all
def test_the_same_answers_ask_for_the_same_candidates(name, node, space_of, start, drive, random_answer):
    space = space_of((FINITE | INFINITE)[node])
    first = drive(start(name, space, seed=3), random_answer, 5)
    np.random.seed(1)  # noqa: NPY002  a replay may not depend on numpy's global state
    assert ids(drive(start(name, space, seed=3), random_answer, 5)) == ids(first)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_numpys_global_state_is_not_touched(name, space_of, start, drive, random_answer):
    np.random.seed(7)  # noqa: NPY002
    drive(start(name, space_of(FINITE["nested"])), random_answer, 3)
    after = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ONLY_FINITE])
def test_another_seed_asks_for_other_candidates(name, space_of, start, drive, random_answer):
    space = space_of(INFINITE["mixed"])
    runs = [flat(drive(start(name, space, seed=seed), random_answer, 3)) for seed in (0, 1)]
    assert not {candidate.id for candidate in runs[0]} & {candidate.id for candidate in runs[1]}


@pytest.mark.rotated(3)
@on_all
def test_a_first_generation_of_failures_is_survived(name, node, space_of, start, drive, random_answer):
    space = space_of((FINITE | INFINITE)[node])
    search = start(name, space)
    asked = drive(search, failures, 1) + drive(search, random_answer, 4)
    assert len(flat(asked)) == min(30, space.size)


@pytest.mark.rotated(3)
@on_all
def test_nothing_but_failures_is_survived(name, node, space_of, start, drive):
    space = space_of((FINITE | INFINITE)[node])
    asked = [candidate.id for candidate in flat(drive(start(name, space), failures, 5))]
    assert len(set(asked)) == len(asked) == min(30, space.size)


@pytest.mark.rotated(4)
@on_finite
@pytest.mark.parametrize("population", [1, 2, 3, 7, 100])
def test_a_finite_space_is_asked_for_once_each_and_then_the_search_ends(
    name, node, population, space_of, start, drive, random_answer, time_limit
):
    space = space_of(FINITE[node])
    search = start(name, space, population=population)
    with time_limit(20):
        generations = drive(search, random_answer, 200)
        assert search.ask() == []
        assert search.ask() == []
    asked = [candidate.id for candidate in flat(generations)]
    assert len(asked) == len(set(asked)) == space.size
    assert set(asked) == {space.candidate(genome).id for genome in space.enumerate()}
    assert [len(candidates) for candidates in generations[:-1]] == [population] * (len(generations) - 1)


@on_all
def test_a_population_of_one_goes_on(name, node, space_of, start, drive, random_answer):
    space = space_of((FINITE | INFINITE)[node])
    generations = drive(start(name, space, population=1), random_answer, 5)
    assert [len(candidates) for candidates in generations] == [1] * min(5, space.size)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_space_whose_options_overlap_is_exhausted(name, space_of, start, drive, random_answer, time_limit):
    options = [
        {"name": "small", "width": {"integer": [1, 4]}},
        {"name": "small", "label": "wide", "width": {"integer": [3, 6]}},
    ]
    space = space_of({"model": {"choice": options}})
    with time_limit(3):
        generations = drive(start(name, space, population=4), random_answer, 20)
    assert sorted(candidate.spec["model"]["width"] for candidate in flat(generations)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("violations", [0, 1, 3])
@pytest.mark.parametrize("objectives", [1, 2, 4])
def test_any_number_of_objectives_and_constraints(name, violations, objectives, space_of, start, drive):
    def answer(candidates):
        generator = np.random.default_rng(len(candidates))
        losses = generator.random((len(candidates), objectives))
        return losses, generator.normal(size=(len(candidates), violations))

    search = start(name, space_of(FINITE["nested"]), 5, violations=violations, objectives=objectives)
    assert len(flat(drive(search, answer, 3))) == 15


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_answers_are_not_changed(name, space_of, start):
    search = start(name, space_of(FINITE["nested"]))
    losses, violations = np.random.default_rng(0).random((6, 2)), np.full((6, 1), -1.0)
    search.ask()
    told = losses.copy(), violations.copy()
    search.tell(*told)
    search.ask()
    np.testing.assert_array_equal(told[0], losses)
    np.testing.assert_array_equal(told[1], violations)


@pytest.mark.parametrize("node", INFINITE)
@pytest.mark.parametrize("name", sorted(ONLY_FINITE))
def test_an_infinite_space_has_infinitely_many_candidates(name, node, space_of):
    assert name in ALGORITHMS
    assert math.isinf(space_of(INFINITE[node]).size)


def test_searching_imports_no_torch():
    code = "import sys, moosearch.algorithms, moosearch.pareto; print({'torch', 'ray'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
