"""Whatever slopes, lines and multipliers are chosen, bounds hold; and gradients are those of the bounds."""

import time

import numpy as np
import pytest

from moosearch.verify import TOLERANCE, Relaxation
from moosearch.verify.bounds import Chord, Lines, differences
from moosearch.verify.branch import Branching, _chord
from moosearch.verify.falsify import margins
from tests.verify.networks import box_of, case, grid

NAMES = ("pooled", "before", "averaged")


def chosen_at_random(branching, count, generator):
    """Cases with random choices; what is known of signs and winners is so for some image of the box."""
    cases = Branching(branching.relaxation, branching.claims, below=-np.inf).root()[0]
    cases = cases.take(generator.integers(len(cases), size=count))
    box, signs, winners = branching.relaxation.box, [], []
    x = generator.uniform(box.lower, box.upper, (count, box.lower.size))
    for (step, at), of in zip(branching._places, branching.relaxation.network.steps, strict=True):
        if isinstance(step, Chord):
            signs.append(np.where(x >= 0, 1, -1)[:, at.open_])
        elif isinstance(step, Lines):
            able = np.where(step.able, x[:, step.windows], -np.inf)
            winners.append(able.argmax(axis=2)[:, at.open_])
        x = of(x)
    signs = np.concatenate(signs, axis=1)
    winners = np.concatenate([np.zeros((count, 0)), *winners], axis=1)
    rivals = [step.rivals[at.open_].ravel() for step, at in branching._places if isinstance(step, Lines)]
    cases.signs = np.where(generator.uniform(size=signs.shape) < 0.3, signs, 0).astype(np.int8)
    cases.winners = np.where(generator.uniform(size=winners.shape) < 0.3, winners, -1).astype(np.int16)
    cases.slopes = generator.uniform(size=cases.slopes.shape)
    cases.lines = generator.uniform(size=cases.lines.shape) * np.concatenate([np.zeros(0), *rivals])
    cases.multipliers = generator.exponential(size=cases.multipliers.shape)
    cases.share = generator.uniform(size=cases.share.shape)
    cases.bound = np.full(count, np.inf)
    return cases


def belongs(branching, signs, winners, x):
    """Which images have the signs and winners of a case."""
    inside = np.ones(len(x), bool)
    for (step, at), of in zip(branching._places, branching.relaxation.network.steps, strict=True):
        if isinstance(step, Chord):
            known = signs[at.of]
            inside &= np.where(known == 0, True, x[:, at.open_] * known >= 0).all(axis=1)
        elif isinstance(step, Lines):
            known = winners[at.of]
            seen = x[:, step.windows[at.open_]]
            first = np.take_along_axis(seen, np.maximum(known, 0)[None, :, None], axis=2)[..., 0]
            inside &= np.where(known < 0, True, first == seen.max(axis=2)).all(axis=1)
        x = of(x)
    return inside


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_bounds_hold_on_the_grid_whatever_is_chosen(name, seed, eps):
    _, net, x, moving = case(name, seed)
    box = box_of(x, moving, eps)
    generator = np.random.default_rng(seed)
    claims = generator.normal(size=(5, 2, net.classes))
    branching = Branching(Relaxation(net, box), claims, below=-np.inf)
    cases = chosen_at_random(branching, 40, generator)
    means = cases.share / cases.share.sum(axis=1, keepdims=True)
    weights = np.einsum("sv,svk->sk", means, claims[cases.claim])
    bound = branching._bound(cases, weights).bound
    images = grid(box)
    logits = net(images)
    met = 0
    for row in range(len(cases)):
        inside = belongs(branching, cases.signs[row], cases.winners[row], images)
        met += inside.any()
        if inside.any():
            assert bound[row] >= (logits[inside] @ weights[row]).max()
    assert met > 2, "cases with images in them"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_against_finite_differences(name, seed):
    _, net, x, moving = case(name, seed)
    generator = np.random.default_rng(seed)
    claims = generator.normal(size=(3, 2, net.classes))
    branching = Branching(Relaxation(net, box_of(x, moving, 0.6)), claims, below=-np.inf)
    cases = chosen_at_random(branching, 12, generator)
    cases.slopes = 0.1 + 0.8 * cases.slopes
    weights = np.einsum("sv,svk->sk", cases.share, claims[cases.claim])
    found = branching._bound(cases, weights)
    for name_of, gradient in (
        ("slopes", found.slopes),
        ("lines", found.lines),
        ("multipliers", found.multipliers),
    ):
        direction = generator.normal(size=gradient.shape) * (gradient != 0)
        moved = []
        for step in (1e-6, -1e-6):
            other = cases.take(np.arange(len(cases)))
            setattr(other, name_of, getattr(cases, name_of) + step * direction)
            moved.append(branching._bound(other, weights).bound)
        slope = (moved[0] - moved[1]) / 2e-6
        np.testing.assert_allclose(slope, (gradient * direction).sum(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("top", [1, 2])
def test_the_search_answers_as_the_grid_does(name, top):
    """Without attack and program: proofs where the grid finds nothing, else what breaks the property."""
    answered = set()
    for seed in range(12):
        _, net, x, moving = case(name, seed, pixels=3)
        box, target = box_of(x, moving, 0.7), int(np.argsort(-net(x[None])[0])[0])
        others = [number for number in range(net.classes) if number != target]
        pairs = [[a, b] for a in others for b in others if a < b]
        subsets = pairs if top == 2 else [[other] for other in others]
        claims = np.array([differences(net.classes, target, subset) for subset in subsets])
        branching = Branching(Relaxation(net, box), claims, below=-TOLERANCE)
        found = branching.search(branching.root()[0], target, top, time.perf_counter() + 20)
        reached = margins(net(grid(box, 21)), target, top).max()
        answered.add(found.status)
        if found.status == "none":
            assert reached < 0
        elif found.status == "found":
            assert box.holds(found.x)
            assert margins(net(found.x[None]), target, top)[0] >= 0
    assert "none" in answered


def test_any_line_lies_above_the_maximum():
    rivals = 0
    for seed in range(12):
        _, net, x, moving = case("pooled", seed)
        box = box_of(x, moving, 0.8)
        lines = next(each for each in Relaxation(net, box).relaxed if isinstance(each, Lines))
        rivals += lines.rivals.sum()
        inner = grid(box)
        for step in net.steps[:2]:
            inner = step(inner)
        largest = inner[:, lines.windows].max(axis=2)
        generator = np.random.default_rng(seed)
        for _ in range(10):
            slopes = generator.uniform(size=lines.slopes.shape) * lines.rivals
            upper = inner @ lines.matrix(slopes).toarray().T + lines.shift(slopes)[0]
            assert (upper >= largest - 1e-9).all()
        assert (inner @ lines.matrix(0 * lines.slopes).toarray().T <= largest + 1e-12).all()
    assert rivals > 5, "maxima that are open"


@pytest.mark.rotated(3)
@pytest.mark.parametrize("name", NAMES)
def test_children_cover_their_parent(name):
    generator = np.random.default_rng(0)
    kinds = set()
    for seed in range(6):
        _, net, x, moving = case(name, seed, pixels=10)
        branching = Branching(
            Relaxation(net, box_of(x, moving, 1.0)), np.eye(net.classes)[None], below=-np.inf
        )
        parents = chosen_at_random(branching, 30, generator)
        branching._descend(parents, 1)
        parents = parents.take(parents.split >= 0)
        kinds |= set((parents.split >= parents.signs.shape[1]).tolist())
        box = branching.relaxation.box
        images = generator.uniform(box.lower, box.upper, (400, box.lower.size))
        for row in range(len(parents)):
            one = parents.take(np.array([row]))
            children = branching._children(one)
            assert len(children) > 1
            inside = belongs(branching, one.signs[0], one.winners[0], images)
            covered = [
                belongs(branching, *known, images)
                for known in zip(children.signs, children.winners, strict=True)
            ]
            np.testing.assert_array_equal(np.any(covered, axis=0), inside)
    assert False in kinds
    assert name == "averaged" or True in kinds, "maxima are split too"


def test_lines_enclose_relu_for_any_slope_and_sign():
    generator = np.random.default_rng(0)
    for seed in range(6):
        _, net, x, moving = case("averaged", seed, pixels=10)
        branching = Branching(
            Relaxation(net, box_of(x, moving, 1.0)), np.eye(net.classes)[None], below=-np.inf
        )
        cases = chosen_at_random(branching, 20, generator)
        for number, (step, at) in enumerate(branching._places):
            if isinstance(step, Chord):
                ends, signs = branching.relaxation.inputs[number], np.zeros((20, len(step.shift)))
                signs[:, at.open_] = cases.signs[:, at.of]
                below, above, shift = _chord(step, at, cases)
                for inner in generator.uniform(ends.lower, ends.upper, (50, len(step.shift))):
                    z = np.where(signs == 0, inner, signs * np.abs(inner))
                    assert (below * z <= np.maximum(z, 0) + 1e-9).all()
                    assert (above * z + shift >= np.maximum(z, 0) - 1e-9).all()
