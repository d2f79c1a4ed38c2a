"""Soundness by brute force: nothing that a grid finds is ever in a box called robust."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.verify import TOLERANCE, Box, Effort, Relaxation, Verifier, milp, verifier
from moosearch.verify.bounds import differences
from moosearch.verify.falsify import attack, margins
from tests.verify.networks import box_of, case, grid

NAMES = ("pooled", "before", "averaged")
SEEDS = range(6)


def ranked(net, x):
    """Classes by logit, the largest first."""
    return np.argsort(-net(x[None])[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("eps", [0.05, 0.4, 1.0])
def test_bounds_hold_on_the_grid(name, seed, eps):
    _, net, x, moving = case(name, seed)
    box = box_of(x, moving, eps)
    weights = np.random.default_rng(seed).normal(size=(20, net.classes))
    relaxation = Relaxation(net, box)
    values = net(grid(box)) @ weights.T
    assert (relaxation.upper(weights) >= values.max(axis=0)).all()
    step = grid(box)
    for of, inputs in zip(net.steps, relaxation.inputs, strict=True):
        assert (step >= inputs.lower).all()
        assert (step <= inputs.upper).all()
        step = of(step)


def test_bounds_of_a_point_are_exact():
    _, net, x, _ = case("before", 0)
    weights = np.eye(net.classes)
    upper = Relaxation(net, Box.around(x, 0.0)).upper(weights)
    np.testing.assert_allclose(upper, net(x[None])[0], atol=1e-7)


@pytest.mark.rotated(4)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("eps", [0.1, 0.5, 1.0])
def test_answers_are_those_of_the_grid(name, seed, top, eps):
    _, net, x, moving = case(name, seed)
    box = box_of(x, moving, eps)
    target = int(ranked(net, x)[top - 1])
    found = margins(net(grid(box)), target, top).max()
    verdict = Verifier(net, top, Effort(restarts=1, steps=1)).verify(box, target)
    assert verdict.answer != "unknown"
    assert (verdict.answer == "robust") == (found < 0)
    if verdict.witness is not None:
        assert box.holds(verdict.witness)
        assert margins(net(verdict.witness[None]), target, top)[0] == verdict.margin >= 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 50), st.sampled_from([1, 2]), st.floats(0.002, 0.2))
def test_a_box_in_a_robust_box_is_robust(name, seed, top, eps):
    """All pixels move; the box inside is any."""
    _, net, x, _ = case(name, seed)
    target = int(ranked(net, x)[0])
    judge, box = Verifier(net, top), Box.around(x, eps)
    if judge.verify(box, target).answer != "robust":
        return
    ends = np.sort(np.random.default_rng(seed).uniform(box.lower, box.upper, (2, x.size)), axis=0)
    assert judge.verify(Box(*ends), target).answer == "robust"


@pytest.mark.rotated(4)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("top", [1, 2])
def test_boxes_just_too_large_are_never_robust(name, seed, top, monkeypatch):
    """Without the help of the attack: where the grid first finds something, and a little before that."""
    _, net, x, moving = case(name, seed)
    target = int(ranked(net, x)[top - 1])
    monkeypatch.setattr(verifier, "attack", lambda _net, box, *_a, **_k: (box.lower, -1.0))
    robust = 0.0
    for eps in np.linspace(0.02, 1, 50):
        box = box_of(x, moving, eps)
        if margins(net(grid(box, 11)), target, top).max() >= 0:
            assert Verifier(net, top).verify(box, target).answer == "vulnerable"
            break
        robust = eps
    if robust:
        answer = Verifier(net, top).verify(box_of(x, moving, 0.8 * robust), target).answer
        assert answer == "robust", "the grid has its corners"


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top", [1, 2, 3])
def test_the_optimum_is_that_of_the_grid(name, seed, top):
    """Without attack and without an early end, the solver's best image is the grid's, or a better one."""
    _, net, x, moving = case(name, seed)
    box = box_of(x, moving, 0.5)
    target = int(ranked(net, x)[0])
    others = [number for number in range(net.classes) if number != target]
    solved = milp.solve(
        Relaxation(net, box), target, others, top=top, at_least=-100.0, time_limit=60, known=x, until=None
    )
    assert solved.status == "found"
    reached = margins(net(solved.x[None]), target, top)[0]
    best = margins(net(grid(box, 81)), target, top).max()
    assert reached >= best - TOLERANCE
    assert reached <= best + 0.1, "a grid as fine as this misses little"


@pytest.mark.parametrize("top", [1, 2])
def test_answers_by_every_way(top):
    """Each way is taken by some box, and boxes within a robust box are robust."""
    ways = set()
    for name, seed in itertools.product(NAMES, SEEDS):
        _, net, x, moving = case(name, seed, pixels=8)
        target = int(ranked(net, x)[0])
        asked = Verifier(net, top, Effort(restarts=1, steps=1))
        answers = [asked.verify(box_of(x, moving, eps), target).answer for eps in (0.02, 0.2, 0.6, 1.0)]
        assert answers == sorted(answers, key=("robust", "vulnerable").index)
        ways |= set(asked.queries)
    assert {("bounds", "robust"), ("attack", "vulnerable"), ("milp", "robust")} <= ways


def test_without_time_or_the_complete_search_it_does_not_know():
    for seed in range(40):
        _, net, x, moving = case("pooled", seed, pixels=20)
        box, target = box_of(x, moving, 0.3), int(ranked(net, x)[0])
        if Verifier(net).verify(box, target).way == "milp":
            break
    verdict = Verifier(net, effort=Effort(complete=False)).verify(box, target)
    assert (verdict.answer, verdict.way) == ("unknown", "bounds")
    hours = Verifier(net, effort=Effort(time_limit=1.0), clock=itertools.count(step=3600).__next__)
    verdict = hours.verify(box, target)
    assert (verdict.answer, verdict.way) == ("unknown", "milp"), "an hour passes between any two looks"
    assert verdict.witness is None


def test_ties_are_lost():
    """Two classes with equal logits everywhere: neither is safe as the only label, both are as one of two."""
    _, net, x, moving = case("pooled", 0)
    head = net.steps[-1]
    weight, bias = head.weight.toarray(), head.bias.copy()
    weight[:2], bias[:2] = 0, 100
    from scipy.sparse import csr_array

    from moosearch.verify import Piecewise
    from moosearch.verify.piecewise import Affine

    tied = Piecewise(net.shape, (*net.steps[:-1], Affine(csr_array(weight), bias)), net.classes)
    box = box_of(x, moving, 0.5)
    assert Verifier(tied, top=1).verify(box, 0).answer == "vulnerable"
    assert Verifier(tied, top=2).verify(box, 0).answer == "robust"


def test_the_attack_starts_from_earlier_finds():
    _, net, x, moving = case("pooled", 3, pixels=12)
    box, target = box_of(x, moving, 1.0), int(ranked(net, x)[0])
    generator = np.random.default_rng(0)
    best, margin = attack(net, box, target, top=1, restarts=40, steps=50, generator=generator)
    again, reached = attack(
        net, box, target, top=1, restarts=1, steps=1, generator=generator, starts=best[None]
    )
    assert reached >= margin
    assert box.holds(again)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 3))
def test_margins_are_the_top_th_difference(seed, top, target):
    logits = np.random.default_rng(seed).normal(size=(7, 4))
    expected = [sorted(row[c] - row[target] for c in range(4) if c != target)[-top] for row in logits]
    np.testing.assert_allclose(margins(logits, target, top), expected)


def test_rows_of_differences():
    np.testing.assert_array_equal(differences(3, 1, [0, 2]), [[1, -1, 0], [0, -1, 1]])
