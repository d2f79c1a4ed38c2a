import numpy as np
import pytest
import torch

from moosearch.attacks import seek
from moosearch.attacks.carlini_wagner import CwLinf
from moosearch.errors import SpecError
from moosearch.seeding import torch_generator


def attacked(attack, net, x, y):
    return seek(attack, net, x, (y,), rows=torch.arange(len(x)), generator=torch_generator(0))


@torch.no_grad()
def right(net, x, y):
    return net(x).argmax(dim=1) == y


def by_numpy(weights, biases, x, y, *, steps, stepsize, confidence, consts):
    """The published attack for one image of a linear network: outer loop on tau, inner one on c, Adam."""

    def losses(z, tau, c):
        logits = weights @ z + biases
        other = max((k for k in range(len(logits)) if k != y), key=lambda k: logits[k])
        hinge = logits[y] - logits[other] + confidence
        slope = c * (weights[y] - weights[other]) * (hinge > 0)
        excess = np.abs(z - x) - tau
        value = c * max(hinge, 0) + np.maximum(excess, 0).sum()
        return value, slope + np.sign(z - x) * (excess > 0)

    best, shortest, tau = x, 1.0, 1.0
    while tau > 1 / 256:
        improved = False
        for c in consts:
            w = np.arctanh((2 * x - 1) * 0.999999)
            m = v = 0.0
            for t in range(1, steps + 1):
                _, slope = losses((np.tanh(w) + 1) / 2, tau, c)
                gradient = slope * (1 - np.tanh(w) ** 2) / 2
                m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
                w = w - stepsize * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                if losses((np.tanh(w) + 1) / 2, tau, c)[0] < 1e-3:
                    break
            z = (np.tanh(w) + 1) / 2
            length = np.abs(z - x).max()
            if (weights @ z + biases).argmax() != y and length < shortest:
                best, shortest, improved = z, length, True
        if not improved:
            break
        tau = 0.9 * min(tau, shortest)
    return best


@pytest.mark.parametrize(
    ("options", "consts"),
    [
        ({}, [15]),
        (
            {"steps": 30, "stepsize": 0.02, "confidence": 0.1, "initial_const": 0.05, "largest_const": 1.0},
            [0.05, 0.1, 0.2, 0.4, 0.8],
        ),
    ],
    ids=["paper", "several constants"],
)
def test_is_the_published_iteration(plane, options, consts):
    net, x, y, _ = plane("linf", count=6)
    attack = CwLinf(eps=1.0, **options)
    found = attacked(attack, net, x, y).outside
    head = net.heads[0]
    weights, biases = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    moved = 0
    for image, center, label in zip(found, x, y.tolist(), strict=True):
        expected = by_numpy(
            weights,
            biases,
            center.flatten().double().numpy(),
            label,
            steps=attack.steps,
            stepsize=attack.stepsize,
            confidence=attack.confidence,
            consts=consts,
        )
        assert image.flatten().numpy() == pytest.approx(expected, abs=2e-4)
        moved += not torch.equal(image, center)
    assert moved >= 3


def test_with_enough_steps_it_comes_near_the_distance_of_a_linear_network(plane):
    net, x, y, distances = plane("linf", count=6)
    found = attacked(CwLinf(eps=1.0, steps=60, stepsize=0.004, confidence=0.01), net, x, y)
    assert not right(net, found.x_adv, y).any()
    assert (found.distance >= 0.999 * distances).all()
    assert (found.distance / distances).median() < 1.3


def test_black_and_white_pixels_and_images_out_of_reach_are_left_alone(plane):
    net, x, y, _ = plane("linf")
    x = x.round()
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    found = attacked(CwLinf(), net, x, y)
    assert found.outside.isfinite().all()
    stuck = right(net, found.outside, y)
    assert stuck.any()
    assert torch.equal(found.outside[stuck], x[stuck])


def test_images_that_come_no_nearer_are_left_alone(plane):
    net, x, y, _ = plane("linf")
    sizes = []
    net.trunk.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    attacked(CwLinf(eps=1.0), net, x, y)
    assert sizes[0] == 1, "the question how many classes there are"
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert sizes[1] == len(x) > sizes[-1]


def test_there_must_be_a_constant():
    with pytest.raises(
        SpecError, match=r"initial_const: got 30.0, expected less than largest_const \(20.0\)"
    ):
        CwLinf(initial_const=30.0)
