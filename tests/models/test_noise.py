"""Random networks: what is drawn, and that the mean of many draws is a function of its images."""

import pytest
import torch

from moosearch.data.tasks import Task
from moosearch.models import DefenseSpec, build_network, count_flops
from moosearch.models.defenses.noise import InputNoise
from moosearch.models.frozen import InferenceCopy
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build
from moosearch.seeding import seeded_torch, torch_generator

SHAPE, TASKS = (1, 8, 8), (Task.main("abc"), Task("half", ("x", "y"), (0, 1, 1)))


def images(count):
    return torch.rand(count, *SHAPE, generator=torch_generator(count))


def net_with(*defenses, draws=1):
    spec = build(DefenseSpec, {"input": list(defenses)})
    net = build_network(SmallCnn(width=4, depth=2), SHAPE, TASKS, seed=0, defenses=spec).eval()
    net.draws = draws
    return net


NOISE = {"name": "noise", "sigma": 0.2}


def test_noise_is_gaussian_of_its_deviation_within_the_range():
    layer, x = InputNoise(0.05).layer(SHAPE).train(), torch.full((300, *SHAPE), 0.5)
    moved = layer(x) - x
    assert moved.mean().abs() < 0.002
    assert abs(moved.std() - 0.05) < 0.002
    assert abs((moved.abs() < 0.05).float().mean() - 0.683) < 0.02
    edge = layer(torch.zeros(300, *SHAPE))
    assert edge.min() == 0
    assert abs((edge == 0).float().mean() - 0.5) < 0.02


def test_noise_is_an_images_own_in_training_and_shared_in_eval_mode():
    layer, x = InputNoise(0.1).layer(SHAPE), torch.full((2, *SHAPE), 0.5)
    first, second = layer.train()(x)
    assert not torch.equal(first, second)
    first, second = layer.eval()(x)
    assert torch.equal(first, second)
    assert not torch.equal(first, layer(x)[0]), "every call draws anew"


def test_who_is_random():
    assert net_with(NOISE).random
    assert InferenceCopy(net_with(NOISE)).random
    assert not net_with({"name": "bit_depth"}, {"name": "perturbation_filter"}).random
    assert not net_with().random


def test_several_draws_are_averaged_and_are_the_same_ones_in_every_call():
    net, x = net_with(NOISE, draws=5), images(4)
    logits = net(x)
    torch.manual_seed(9)
    assert torch.equal(net(x), logits)
    outputs = net.outputs(x)
    assert torch.equal(outputs.logits[0], logits)
    net.draws = 1
    with seeded_torch(0):
        single = [net.outputs(x) for _ in range(5)]
    assert not torch.equal(single[0].logits[0], single[1].logits[0])
    torch.testing.assert_close(logits, torch.stack([each.logits[0] for each in single]).mean(dim=0))
    torch.testing.assert_close(
        outputs.logits[1], torch.stack([each.logits[1] for each in single]).mean(dim=0)
    )
    torch.testing.assert_close(outputs.features, torch.stack([each.features for each in single]).mean(dim=0))


def test_averaging_leaves_the_random_numbers_of_others_alone():
    net, x = net_with(NOISE, draws=3), images(2)
    state = torch.random.get_rng_state()
    net(x.requires_grad_()).sum().backward()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_in_the_mean_an_image_does_not_depend_on_its_batch():
    net, x = net_with(NOISE, draws=4), images(6)
    torch.testing.assert_close(net(x)[4:], net(x[4:]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net(x.flip(0)).flip(0), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradient_of_the_mean_is_the_mean_of_the_gradients(parts):
    """It is computed with one draw in memory at a time."""
    net, x = net_with(NOISE, draws=4), images(3).requires_grad_()
    net.parts = parts
    weights = torch.rand(3, 3, generator=torch_generator(0))
    (gradient,) = torch.autograd.grad((net(x) * weights).sum(), x)
    net.draws = 1
    with seeded_torch(0):
        logits = torch.stack([net(x) for _ in range(4)]).mean(dim=0)
    (expected,) = torch.autograd.grad((logits * weights).sum(), x)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


def test_the_twin_of_a_mean_is_the_mean_of_twins():
    net, x = net_with(NOISE, draws=3), images(3)
    frozen = InferenceCopy(net, memory_format=torch.channels_last)
    assert frozen.draws == 1, "training attacks see one draw"
    frozen.draws = 3
    torch.testing.assert_close(frozen(x), net(x), atol=1e-4, rtol=1e-4)


def test_cost_is_that_of_one_draw():
    assert count_flops(net_with(NOISE, draws=8).deployed(), SHAPE) == count_flops(
        net_with().deployed(), SHAPE
    )


def test_sigma_follows_a_schedule():
    net = net_with(NOISE)
    build(DefenseSpec, {"input": [{"name": "noise", "sigma": 0}]}).follow(net.guard, net.trunk)
    x = images(2)
    assert torch.equal(net.guard(x), x)


def test_noise_does_not_depend_on_how_images_lie_in_memory():
    """Else an attack whose images lie otherwise would see other draws than those that it is judged by."""
    layer, x = InputNoise(0.1).layer((3, 8, 8)).eval(), torch.rand(5, 3, 8, 8)
    with seeded_torch(0):
        noisy = layer(x)
    with seeded_torch(0):
        assert torch.equal(layer(x.contiguous(memory_format=torch.channels_last)), noisy)
