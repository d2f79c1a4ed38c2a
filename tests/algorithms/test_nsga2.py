"""NSGA-II: what pymoo gets wrong by default, what it must never do, and that it searches."""

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import binary_tournament
from pymoo.operators.selection.tournament import TournamentSelection

from moosearch.algorithms import SearchProblem
from moosearch.algorithms.nsga2 import Nsga2
from moosearch.errors import SpecError
from moosearch.pareto import hypervolume, non_dominated
from moosearch.registry import build
from moosearch.space import Choice, Integer, Real, SearchSpace

# The front is scale = 1 - sqrt(lr) at kind = good, width = 7 and dropout irrelevant: hypervolume 2/3.
NODE = {
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
BEST = 2 / 3


def toy(candidates):
    """A bi-objective problem on every kind of gene, with a known front."""
    rows = []
    for candidate in candidates:
        spec = candidate.spec
        distance = abs(spec["scale"] - 0.3) + 0.3 * (spec["kind"] != "good")
        if spec["model"]["name"] == "small":
            distance += abs(spec["model"]["width"] - 7) / 10
        else:
            distance += 0.1 + spec["model"]["dropout"]
        rows.append([spec["lr"] + 0.2 * distance, 1 - np.sqrt(spec["lr"]) + distance])
    return np.array(rows), np.zeros((len(rows), 1))


def trade_off(candidates):
    """One real gene in which every value is as good as every other."""
    return np.array([[c.genome["lr"], 1 - c.genome["lr"]] for c in candidates]), np.zeros(
        (len(candidates), 1)
    )


def survivors(search):
    """What pymoo has kept: losses and violations."""
    population = search.breeder._algorithm.pop
    return population.get("F"), population.get("G")


def record(answer):
    """Remember what was answered."""
    told = [], []

    def answering(candidates):
        losses, violations = answer(candidates)
        told[0].extend(losses)
        told[1].extend(violations)
        return losses, violations

    return told, answering


def test_the_toy_front_is_what_it_is_said_to_be(space_of):
    space = space_of(NODE)
    x = np.linspace(0, 1, 1001)
    model = {"model": "small", "model.small.width": 7}
    best = [space.candidate({"lr": v, "scale": 0.3, "kind": "good"} | model) for v in x.tolist()]
    losses = toy(best)[0]
    assert non_dominated(losses).all()
    assert hypervolume(losses) == pytest.approx(BEST, abs=2e-3)
    generator = np.random.default_rng(0)
    others = toy([space.candidate(space.sample(generator)) for _ in range(500)])[0]
    assert hypervolume(np.concatenate([losses, others])) == pytest.approx(hypervolume(losses), abs=1e-3)


def test_it_beats_random_search_at_the_same_budget(space_of, start, drive):
    space = space_of(NODE)
    means = {}
    for name in ("nsga2", "random"):
        volumes = []
        for seed in range(5):
            told, answer = record(toy)
            drive(start(name, space, population=20, seed=seed), answer, 12)
            assert len(told[0]) == 240
            volumes.append(hypervolume(np.array(told[0])))
        means[name] = np.mean(volumes)
    assert means["random"] + 0.05 < means["nsga2"] <= BEST


def test_parents_are_chosen_by_tournament_on_rank_and_crowding(space_of, start):
    selection = start("nsga2", space_of(NODE)).breeder._algorithm.mating.selection
    assert isinstance(selection, TournamentSelection)
    assert selection.func_comp is binary_tournament


def test_children_are_bred_from_survivors(space_of, start, drive):
    # With almost no mutation, a child's choices come from its parents: a lost option stays lost.
    options = [f"option {i}" for i in range(50)]
    space = space_of({"kind": {"choice": options}, "lr": {"real": [0, 1]}})

    def answer(candidates):
        losses = [[options.index(c.genome["kind"]) / 50, c.genome["lr"]] for c in candidates]
        return np.array(losses), np.zeros((len(losses), 1))

    generations = drive(start("nsga2", space, population=8, mutations=1e-9), answer, 3)
    known = [{candidate.genome["kind"] for candidate in candidates} for candidates in generations]
    assert known[1] <= known[0]
    assert known[2] <= known[0]


@pytest.mark.rotated(3)
@pytest.mark.parametrize(("mutations", "low", "high"), [(0.5, 0.05, 0.15), (2.0, 0.3, 0.5), (8.0, 0.7, 0.9)])
def test_mutations_is_the_expected_number_of_mutated_genes(space_of, start, drive, mutations, low, high):
    # An option that no parent has was mutated: with probability 0.8, one of 1000 options is none of 200.
    space = space_of(
        {
            "lr": {"real": [0, 1]},
            "scale": {"real": [0, 1]},
            "kind": {"choice": [f"option {i}" for i in range(1000)]},
            "flip": {"choice": [False, True]},
        }
    )
    search = start("nsga2", space, population=200, seed=1, mutations=mutations)
    first = {c.genome["kind"] for c in drive(search, trade_off, 1)[0]}
    second = [c.genome["kind"] not in first for c in search.ask()]
    assert low <= np.mean(second) <= high


def test_children_are_bred_from_what_was_trained(space_of, start, drive):
    # Decoding rounds; a parent's code must be the code of its rounded value.
    space = space_of(NODE)
    search = start("nsga2", space)
    drive(search, toy, 5)
    numbers = {path: gene for path, gene in space.genes().items() if not isinstance(gene, Choice)}
    for code in search.breeder._algorithm.pop.get("X"):
        for path, gene in numbers.items():
            assert code[path] == gene.encode(gene.decode(code[path]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["losses", "violations"])
def test_what_is_not_finite_is_refused(space_of, start, value, where):
    search = start("nsga2", space_of(NODE), population=4)
    losses, violations = toy(search.ask())
    (losses if where == "losses" else violations)[2, 0] = value
    with pytest.raises(ValueError, match="finite"):
        search.tell(losses, violations)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_failed_candidates_never_survive_while_feasible_ones_exist(space_of, start, drive, share):
    population = 10
    generator = np.random.default_rng(0)

    def answer(candidates):
        losses, _ = toy(candidates)
        failed = generator.random(len(candidates)) < share
        losses[failed] = 1.0
        return losses, failed[:, None].astype(float)

    told, answer = record(answer)
    search = start("nsga2", space_of(NODE), population=population)
    for _ in range(6):
        drive(search, answer, 1)
        feasible = sum(row[0] <= 0 for row in told[1])
        kept = (survivors(search)[1] <= 0).all(axis=1).sum()
        assert kept == min(feasible, population)


def test_failures_with_better_losses_do_not_survive_either(space_of, start, drive):
    def answer(candidates):
        losses, violations = toy(candidates)
        bad = np.array([c.spec["kind"] == "good" for c in candidates])
        losses[bad], violations[bad] = 0.0, 1.0
        return losses, violations

    search = start("nsga2", space_of(NODE), population=12)
    drive(search, answer, 8)
    assert (survivors(search)[1] <= 0).all()
    assert (survivors(search)[0] > 0).any(axis=1).all()


def test_a_smaller_violation_wins_among_the_infeasible(space_of, start, drive):
    def answer(candidates):
        losses, _ = toy(candidates)
        return losses, np.array([[0.1 + c.genome["scale"], -1.0] for c in candidates])

    told, answer = record(answer)
    search = start("nsga2", space_of(NODE), population=8, violations=2)
    drive(search, answer, 4)
    best = np.sort(np.array(told[1])[:, 0])[:8]
    np.testing.assert_allclose(np.sort(survivors(search)[1][:, 0]), best)


def test_a_constraint_is_met_by_search(space_of, start, drive):
    # Feasible are 5 % of the space.
    def answer(candidates):
        return toy(candidates)[0], np.array([[c.genome["scale"] - 0.05] for c in candidates])

    told, answer = record(answer)
    search = start("nsga2", space_of(NODE), population=20)
    drive(search, answer, 10)
    kept = np.array(told[1])[:, 0] <= 0
    assert kept[:20].mean() < 0.3
    assert kept[-60:].mean() > 0.5
    assert (survivors(search)[1] <= 0).all()


def test_the_best_of_each_objective_is_never_lost(space_of, start, drive):
    told, answer = record(toy)
    search = start("nsga2", space_of(NODE), population=6)
    for _ in range(8):
        drive(search, answer, 1)
        kept, _ = survivors(search)
        np.testing.assert_allclose(kept.min(axis=0), np.array(told[0]).min(axis=0))


def test_a_front_that_fits_the_population_survives_whole(space_of, start, drive):
    told, answer = record(toy)
    search = start("nsga2", space_of(NODE), population=30)
    drive(search, answer, 2)
    losses = np.array(told[0])
    front = losses[non_dominated(losses)]
    assert len(front) <= 30
    kept = {tuple(row) for row in survivors(search)[0].tolist()}
    assert {tuple(row) for row in front.tolist()} <= kept


def test_what_is_told_changes_what_is_asked_next(space_of, start):
    asked = []
    for sign in (1, -1):
        search = start("nsga2", space_of(NODE))
        losses, violations = toy(search.ask())
        search.tell(sign * losses, violations)
        asked.append([candidate.id for candidate in search.ask()])
    assert asked[0] != asked[1]


@pytest.mark.slow
def test_children_that_nothing_new_is_left_for_do_not_end_the_search(space_of, start, drive):
    # Mating finds nothing new long before the 60 candidates are exhausted: pymoo answers None.
    space = space_of({"model": {"name": "small", "width": {"integer": [1, 60]}}})

    def answer(candidates):
        losses = [[abs(c.genome["model.width"] - 30) / 60, 0.5] for c in candidates]
        return np.array(losses), np.zeros((len(losses), 1))

    search = start("nsga2", space, population=2, mutations=1e-9)
    assert [len(candidates) for candidates in drive(search, answer, 30)] == [2] * 30
    assert search.ask() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crossover": 1.5}, "crossover: got 1.5, expected at most 1"),
        ({"crossover": -0.1}, "crossover: got -0.1"),
        ({"mutations": 0}, "mutations: got 0"),
        ({"mutation_eta": 0}, "mutation_eta: got 0"),
        ({"crossover_eta": "x"}, "crossover_eta: got 'x'"),
    ],
)
def test_settings_are_validated(fields, message):
    with pytest.raises(SpecError, match=message):
        build(Nsga2, fields)


def test_integers_of_few_values_do_mutate():
    """Polynomial mutation would round a step on [2, 4] back to where it came from."""
    space = SearchSpace({"depth": Integer(2, 4), "x": Real(0.0, 1.0)})
    search = Nsga2().start(SearchProblem(space, objectives=2, violations=1, population=10, seed=0))
    mutated = 0
    for _ in range(20):
        candidates = search.ask()
        depths = np.array([c.spec["depth"] for c in candidates])
        parents = search.breeder._algorithm.pop
        if parents is not None and len({parent.X["depth"] for parent in parents}) == 1:
            mutated += int((depths != 2).sum())
        x = np.array([c.spec["x"] for c in candidates])
        search.tell(np.stack([x, 1 - x], axis=1), (depths != 2)[:, None].astype(float))
    assert mutated > 20
