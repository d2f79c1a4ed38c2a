"""Neighborhoods are robust and maximal; bounds on them hold for all that a grid of them shows."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.verify import Effort, Layers, Piecewise, Verifier
from moosearch.verify.expand import ceiling, cutting_weights, doubling, expand, largest, naive
from moosearch.verify.falsify import margins
from moosearch.verify.oracle import Oracle, OutOfTimeError
from tests.verify.networks import SHAPE, networks

TOLERANCE = 0.1


def oracle(seed, name="pooled", effort=None, **more):
    """An oracle for an image whose object is two pixels, with five layers."""
    net = Piecewise.of(networks(seed)[name], SHAPE)
    x = np.random.default_rng(seed).uniform(0, 1, 36)
    mask = np.zeros((6, 6), dtype=bool)
    mask[1, 1:3] = True
    target = int(np.argsort(-net(x[None])[0])[0])
    return Oracle(Verifier(net, 2, effort or Effort()), Layers.around(mask), x, target, **more)


def approaches():
    yield "naive", naive
    yield "doubling", doubling
    yield "fixed", lambda *given: expand(*given, cut="fixed")
    yield "sensitivity", lambda *given: expand(*given, cut="sensitivity")


@pytest.mark.rotated(8)
@pytest.mark.parametrize(("name", "seed"), [("pooled", 0), ("pooled", 1), ("before", 0), ("before", 1)])
@pytest.mark.parametrize("approach", [pytest.param(approach, id=name) for name, approach in approaches()])
def test_neighborhoods_are_robust_and_no_layer_can_grow(name, seed, approach):
    asked = oracle(seed, name)
    weights = np.linspace(1, 0.2, asked.layers.count)
    found = approach(asked, weights, TOLERANCE)
    assert found.complete
    assert found.size == pytest.approx(weights @ found.eps)
    assert found.size <= found.at_most + 1e-9
    judge = Verifier(asked.verifier.network, 2)
    box = asked.layers.neighborhood(asked.x, found.eps)
    assert judge.verify(box, asked.target).answer == "robust"
    points = np.random.default_rng(0).uniform(box.lower, box.upper, (3000, 36))
    corners = np.where(points > (box.lower + box.upper) / 2, box.upper, box.lower)
    for sample in (points, corners):
        assert (margins(asked.verifier.network(sample), asked.target, 2) < 0).all()
    for layer, face in enumerate(found.faces):
        wider = found.eps.copy()
        wider[layer] = min(wider[layer] + TOLERANCE, 1)
        answer = judge.verify(asked.layers.neighborhood(asked.x, wider), asked.target).answer
        assert face in ("blocked", "full")
        assert answer == ("vulnerable" if face == "blocked" else "robust")
        witness = found.witnesses[layer]
        assert (witness is not None) == (face == "blocked")
        if witness is not None:
            assert (asked.distances(witness) <= wider + 1e-9).all()
            assert margins(asked.verifier.network(witness[None]), asked.target, 2)[0] >= 0


@pytest.mark.slow
def test_some_of_them_are_blocked_and_some_are_not_whole():
    """The test above would say nothing of networks that withstand everything, or nothing."""
    faces, sizes = set(), set()
    for seed in range(3):
        found = naive(oracle(seed), np.ones(5), TOLERANCE)
        faces |= set(found.faces)
        sizes.add(round(found.size, 3))
    assert "blocked" in faces
    assert len(sizes) > 1


@pytest.mark.slow
def test_gradients_find_more_than_the_naive_algorithm_where_weights_ask_for_it():
    """Outer layers weigh more, and the naive algorithm gives all to the inner ones."""
    gains = []
    for seed, name in itertools.product(range(2), ("pooled", "before")):
        count = oracle(seed, name).layers.count
        weights = np.linspace(0.1, 1, count)
        gains.append(
            expand(oracle(seed, name), weights, TOLERANCE).size
            - naive(oracle(seed, name), weights, TOLERANCE).size
        )
    assert np.mean(gains) > 0


def test_what_was_said_is_remembered():
    asked = oracle(0)
    ones = np.ones(asked.layers.count)
    radius = largest(lambda r: asked.ask(r * ones) == "robust", 0, 1, TOLERANCE)
    assert 0 < radius < 1
    before = sum(count for kind, count in asked.queries.items() if kind != "remembered")
    assert asked.ask(radius / 2 * ones) == "robust"
    assert asked.ask(ones) == "vulnerable"
    assert sum(count for kind, count in asked.queries.items() if kind != "remembered") == before
    for witness in asked.witnesses:
        assert margins(asked.verifier.network(witness[None]), asked.target, 2)[0] >= 0
        assert (asked.distances(witness) <= 1).all()
    assert set(asked.seconds) == set(asked.queries)


def test_unknown_stops_growth_and_is_told():
    asked = oracle(0, effort=Effort(complete=False, restarts=1, steps=1))
    answers = []
    asked.told = lambda _eps, answer, kind: answers.append((answer, kind))
    found = naive(asked, np.ones(asked.layers.count), TOLERANCE)
    assert "unknown" in found.faces
    assert ("unknown", "unknown") in answers
    assert asked.queries["unknown"] == answers.count(("unknown", "unknown"))
    box = asked.layers.neighborhood(asked.x, found.eps)
    assert Verifier(asked.verifier.network, 2).verify(box, asked.target).answer == "robust"


def test_the_deadline_leaves_what_is_known():
    asked = oracle(0, deadline=time.monotonic() - 1)
    with pytest.raises(OutOfTimeError):
        asked.ask(np.zeros(asked.layers.count))
    found = expand(asked, np.ones(asked.layers.count), TOLERANCE)
    assert not found.complete
    assert set(found.faces) == {"open"}
    assert found.size == 0


def test_cutting_weights():
    asked = oracle(0)
    fixed = cutting_weights(asked, "fixed")
    assert (np.diff(fixed) < 0).all()
    assert fixed[-1] == 0
    sensitivity = cutting_weights(asked, "sensitivity")
    assert sensitivity.argmax() == asked.sensitivity().argmax()
    assert sorted(sensitivity) == sorted(fixed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(1, 3))
def test_the_ceiling_is_the_best_that_witnesses_leave(seed, witnesses, layers):
    """Against every choice of the layer that keeps each witness out."""
    generator = np.random.default_rng(seed)
    distances = generator.uniform(0, 1, (witnesses, layers))
    weights = generator.uniform(0, 1, layers)
    best = 0.0
    for chosen in itertools.product(range(layers), repeat=witnesses):
        eps = np.ones(layers)
        for witness, layer in enumerate(chosen):
            eps[layer] = min(eps[layer], distances[witness, layer])
        best = max(best, weights @ eps)
    assert ceiling(weights, distances) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("border", [0.0, 0.3, 0.999, 1.0])
def test_bisection(border):
    found = largest(lambda value: value <= border, 0.0, 1.0, 0.01)
    assert found <= border < found + 0.01 or found == border == 1
