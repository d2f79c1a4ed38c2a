"""Genes that do nothing are rarely said to matter, those that do are found; little is not called nothing."""

import dataclasses
import math

import numpy as np
import pytest

from moosearch.analysis import gene_effects as module
from moosearch.analysis.gene_columns import Column
from moosearch.analysis.gene_effects import Contrasts, gene_effects, seed_noise
from moosearch.analysis.gene_regression import Process
from moosearch.evaluation import Candidate, Evaluation
from tests.campaign.bred import IDLE, bred

CAMPAIGNS = 16


def columns(evaluations):
    paths = sorted({path for e in evaluations for path in e.candidate.genome})
    found = [Column.of(path, evaluations) for path in paths]
    return [column for column in found if len(set(column.values)) > 1]


def judged(evaluations, keys=("robust",), noise=None, seed=0):
    values = {key: np.array([e.objectives[key] for e in evaluations]) for key in keys}
    found = gene_effects(columns(evaluations), values, noise=noise or {}, seed=seed)
    return {(e.objective, e.gene): e for e in found.effects}, {s.objective: s for s in found.scales}


@pytest.fixture(scope="module")
def idle():
    """What is said of searches in which TRADES has no advantage."""
    return [judged(bred(seed), seed=seed) for seed in range(CAMPAIGNS)]


def test_genes_that_do_nothing_are_rarely_said_to_matter(idle):
    """5 % of searches at most have a false alarm: 4 of 16 or more would come with a chance of 1 in 143."""
    alarms = 0
    for effects, _ in idle:
        alarms += any(effects["robust", gene].verdict == "difference" for gene in (*IDLE, "loss"))
    assert alarms <= 3


def test_what_matters_is_found(idle):
    for effects, scales in idle:
        assert effects["robust", "net"].verdict == "difference"
        assert scales["robust"].r2 > 0.8
        assert scales["robust"].r2_different > 0.7
    for seed in range(5):
        effect = judged(bred(seed, advantage=0.08))[0]["robust", "loss"]
        assert effect.verdict == "difference"
        assert (effect.high, effect.low) == ("trades", "ce")
        assert abs(effect.difference - 0.08) < 2 * effect.margin


def test_where_there_is_no_difference_the_bound_is_that_of_the_noise(idle):
    """Of 72 candidates with a noise of 0.03 the halves' means differ by 0.007 or so."""
    bounds = [effects["robust", "attack"] for effects, _ in idle]
    assert sum(effect.verdict == "none" for effect in bounds) > CAMPAIGNS / 2
    for effect in bounds:
        assert effect.bound >= effect.difference + effect.margin - 1e-12
        assert effect.verdict != "none" or 0.01 < effect.bound < 0.08


def test_a_gene_that_only_keeps_company_with_a_useful_one_is_not_blamed(monkeypatch):
    """As in a population that descends from one ancestor: both genes are inherited together."""
    generator = np.random.default_rng(0)

    def make(number):
        useful = bool(generator.integers(2))
        company = useful if generator.random() < 0.85 else not useful
        return {"useful": useful, "company": company}, 0.3 * useful + 0.05 * generator.standard_normal()

    evaluations = plain(80, make)
    effects, _ = judged(evaluations)
    assert effects["robust", "useful"].verdict == "difference"
    assert effects["robust", "company"].verdict == "none"
    monkeypatch.setattr(Process, "covariance", lambda _, distances: np.eye(distances.shape[1]))
    assert judged(evaluations)[0]["robust", "company"].verdict == "difference"


def test_a_cost_without_noise_is_compared_by_ratios():
    effects, scales = judged(bred(0), keys=("flops",))
    assert scales["flops"].ratio
    assert scales["flops"].r2 > 0.95
    assert effects["flops", "net"].verdict == "difference"
    assert {effects["flops", gene].verdict for gene in ("lr", "decay", "attack", "loss")} == {"none"}


def plain(count, make):
    """Candidates whose genome and value a test makes: number -> genome, value."""
    made = [make(number) for number in range(count)]
    return [
        Evaluation(Candidate(f"{number:012x}", genome, {}), "complete", {"robust": value})
        for number, (genome, value) in enumerate(made)
    ]


def test_few_candidates_with_a_value_are_not_called_no_difference():
    generator = np.random.default_rng(0)
    evaluations = plain(
        40,
        lambda n: (
            {"rare": "a" if n < 3 else "b", "small": "a" if n < 6 else "b", "even": "ab"[n % 2]},
            float(generator.random()),
        ),
    )
    effects, _ = judged(evaluations)
    rare, small, even = (effects["robust", gene] for gene in ("rare", "small", "even"))
    assert rare.verdict == "unknown"
    assert math.isnan(rare.bound)
    assert small.verdict == "unknown"
    assert small.bound > module.LARGE * np.std([e.objectives["robust"] for e in evaluations])
    assert even.bound < small.bound


def test_options_that_few_have_are_apart_and_not_compared():
    column = Column.of("g", plain(17, lambda n: ({"g": "a" if n < 6 else "b" if n < 14 else "c"}, 0.0)))
    found = Contrasts.of(column)
    assert [name for name, _ in found.points] == ["a", "b"]
    assert np.linalg.matrix_rank(found.basis) == 2
    np.testing.assert_allclose(found.basis.mean(axis=0), 0, atol=1e-12)


def test_a_gene_under_an_option_is_told_among_those_that_have_it():
    evaluations = plain(30, lambda n: ({"k": "a"} | ({"k.a.x": float(n)} if n < 12 else {}), 0.0))
    found = Contrasts.of(Column.of("k.a.x", evaluations))
    assert (found.basis[12:] == 0).all()
    np.testing.assert_allclose(found.basis[:12].mean(axis=0), 0, atol=1e-12)
    assert [name for name, _ in found.points] == ["1", "6", "10"]
    assert not Contrasts.of(Column.of("k.a.x", evaluations[3:])).points  # 9 have it


def test_replicates_tell_the_noise():
    (one,) = plain(1, lambda _: ({"a": 1}, 0.5))
    twice = dataclasses.replace(one, replicates=[{"robust": 0.4}, {"robust": 0.6}])
    # Of the mean of two: the standard deviation of 0.4 and 0.6 is 0.1414.
    assert seed_noise([one, twice], ["robust", "flops"]) == {"robust": pytest.approx(0.1)}
    assert seed_noise([one], ["robust"]) == {}
    scale = judged(bred(0, generations=3), noise={"robust": 0.03})[1]["robust"]
    assert scale.noise == 0.03


def test_an_objective_that_is_always_the_same_is_left_out():
    evaluations = plain(20, lambda n: ({"a": n % 2}, 0.5))
    assert judged(evaluations) == ({}, {})
