"""Which genes matter: planted effects are found, nothing else is, and doubts are told."""

import math

import numpy as np
import pytest

from moosearch.analysis import importance as module
from moosearch.analysis.importance import gene_importances, gene_values, importance, method_of
from moosearch.errors import SpecError
from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo

STRONG = ObjectiveInfo("strong", "maximize", "fraction", 1.0, 0.0)
NOISE = ObjectiveInfo("noise", "minimize", "fraction", 0.0, 1.0)


def made_up(count, seed=0):
    """`strong` is told by a choice, a gene under one of its options, and a number; `noise` by nothing."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        kind = ("plain", "deep")[generator.integers(2)]
        genome = {"kind": kind, "lr": 10 ** generator.uniform(-3, 0), "idle": int(generator.integers(1, 5))}
        genome |= {"fixed": 3, "flag": bool(generator.integers(2))}
        value = 0.2 + 0.2 * (kind == "deep") + 0.05 * (3 + math.log10(genome["lr"]))
        if kind == "deep":
            genome["kind.deep.depth"] = int(generator.integers(1, 7))
            value += 0.08 * genome["kind.deep.depth"]
        candidate = Candidate(f"{number:012x}", genome, {})
        violations = {"x <= 1": 1.0 if number % 9 == 4 else 0.0}
        values = {"strong": value, "noise": float(generator.random())}
        found.append(Evaluation(candidate, "complete", values, {}, violations))
    return found


@pytest.fixture(scope="module")
def found():
    failed = Evaluation(Candidate("f" * 12, {"kind": "plain"}, {}), "failed", error="no")
    return gene_importances([*made_up(80), failed], [STRONG, NOISE], seed=1)


def test_planted_effects_are_found_and_nothing_else(found):
    strong = found.table["strong"]
    assert strong.nlargest(2).index.tolist() == ["kind", "kind.deep.depth"]
    assert strong["kind.deep.depth"] > 0.2
    assert strong["lr"] > 0.03 > 2 * strong[["idle", "flag"]].abs().max()
    assert found.trust.loc["strong", "r2"] > 0.8
    assert found.trust["believed"].tolist() == [True, False]
    assert found.table["noise"].abs().max() < 0.5  # what the forest does not know cannot be lost


def test_what_was_used_and_what_is_doubtful_is_said(found):
    notes = "\n".join(found.notes)
    assert "80 candidates that completed, 9 of them infeasible" in notes
    assert "1 that failed" in notes
    assert "not to be believed for noise" in notes
    assert "not to be believed for strong" not in notes
    assert "one value: fixed" in notes
    assert "fixed" not in found.table.index


def test_a_gene_under_an_option_says_so(found):
    row = found.genes.loc["kind.deep.depth"]
    holders = sum("kind.deep.depth" in e.candidate.genome for e in made_up(80))
    assert (row["within"], row["candidates"], row["values"]) == ("kind=deep", holders, 6)
    assert found.genes.loc["kind", "within"] == ""


def test_permutation_is_that_of_scikit_learn():
    """Without genes under options both shuffle alike; they differ by the folds and by chance."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    evaluations = made_up(150)
    for e in evaluations:
        e.candidate.genome.pop("kind.deep.depth", None)
        e.objectives["strong"] = (
            0.3 * (e.candidate.genome["kind"] == "deep") + 0.1 * e.candidate.genome["idle"]
        )
    mine = importance(evaluations, [STRONG])["strong"]
    genes = ["kind", "lr", "idle", "flag"]
    inputs = np.array([[float(e.candidate.genome[g] in ("deep", True)) if g in ("kind", "flag")
                        else e.candidate.genome[g] for g in genes] for e in evaluations])  # fmt: skip
    values = np.array([e.objectives["strong"] for e in evaluations])
    theirs = np.zeros(len(genes))
    for train, test in KFold(5, shuffle=True, random_state=0).split(inputs):
        forest = RandomForestRegressor(50, random_state=0).fit(inputs[train], values[train])
        asked = {"scoring": "neg_mean_squared_error", "n_repeats": 5, "random_state": 0}
        fold = permutation_importance(forest, inputs[test], values[test], **asked)
        theirs += fold.importances_mean * len(test) / len(values) / np.var(values)
    assert mine[genes].to_numpy() == pytest.approx(theirs, abs=0.12)
    # Closed form of the additive function: shuffling costs twice the share of the variance.
    shares = [2 * np.var(inputs[:, i] * scale) / np.var(values) for i, scale in ((0, 0.3), (2, 0.1))]
    assert mine[["kind", "idle"]].to_numpy() == pytest.approx(shares, abs=0.15)


def test_holders_alone_are_shuffled():
    present = np.array([True, False, True, True, False])
    orders = module._shuffles(present, np.random.default_rng(0))
    assert (orders[:, [1, 4]] == [1, 4]).all()
    assert (np.sort(orders[:, [0, 2, 3]], axis=1) == [0, 2, 3]).all()
    assert len(np.unique(orders, axis=0)) > 3


def test_the_same_seed_gives_the_same_numbers(monkeypatch):
    monkeypatch.setattr(module, "TREES", 10)
    evaluations = made_up(30)
    first, again, other = (importance(evaluations, [STRONG], seed) for seed in (4, 4, 5))
    assert first.equals(again)
    assert not first.equals(other)


def test_few_candidates_are_not_believed_and_fewer_not_computed():
    some = gene_importances(made_up(14), [STRONG])
    assert some.table.notna().any(axis=None)
    assert not some.trust["believed"].any()
    assert "too few candidates, 14 of" in some.notes[-1]
    few = gene_importances(made_up(9), [STRONG])
    assert few.table.isna().all(axis=None)
    assert math.isnan(few.trust.loc["strong", "r2"])
    assert few.to_tree()["trust"][0]["r2"] is None
    with pytest.raises(SpecError, match="no candidate completed"):
        gene_importances([], [STRONG])


def test_an_objective_that_is_always_the_same_says_nothing():
    evaluations = made_up(25)
    for e in evaluations:
        e.objectives["strong"] = 0.5
    found = gene_importances(evaluations, [STRONG])
    assert found.table["strong"].isna().all()
    assert "nothing to be said of strong" in found.notes[-1]


def test_many_candidates_are_thinned_out(monkeypatch):
    monkeypatch.setattr(module, "MOST", 40)
    found = gene_importances(made_up(60), [STRONG])
    assert found.genes["candidates"].max() == 40
    assert "40 of them drawn at random" in "\n".join(found.notes)


def test_fanova_is_asked_of_optuna():
    evaluations = made_up(40)
    for e in evaluations:
        e.objectives["strong"] = 0.1 * e.candidate.genome["idle"]
    found = gene_importances(evaluations, [STRONG], method="fanova")
    strong = found.table["strong"]
    assert strong["idle"] > 0.9
    assert math.isnan(strong["kind.deep.depth"])
    assert strong.drop("kind.deep.depth").sum() < 1.01
    assert found.trust.loc["strong", "r2"] > 0.8


def test_methods_have_names():
    assert method_of("fanova") == "fanova"
    with pytest.raises(SpecError, match=r"'fanowa'.*Did you mean 'fanova'"):
        method_of("fanowa")


def test_values_by_group():
    evaluations = made_up(12)
    evaluations.append(Evaluation(Candidate("f" * 12, {"kind": "plain"}, {}), "failed", error="no"))
    values = gene_values(evaluations, [STRONG])
    best = max((e for e in evaluations if e.feasible), key=lambda e: e.objectives["strong"])
    assert values.loc[values["group"] == "front", "id"].unique().tolist() == [best.candidate.id]
    kinds = values[values["gene"] == "kind"].set_index("id")["group"]
    assert kinds.value_counts().to_dict() == {"front": 1, "dominated": 10, "infeasible": 1, "failed": 1}
    assert kinds["f" * 12] == "failed"
    depths = values[values["gene"] == "kind.deep.depth"]
    assert len(depths) == sum("kind.deep.depth" in e.candidate.genome for e in evaluations)
