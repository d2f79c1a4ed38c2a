import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.attacks import perturb
from moosearch.attacks.geometry import angle, task_perturbations
from moosearch.attacks.multitask import Mixed, mixing_weights
from moosearch.models import RobustNet
from moosearch.seeding import torch_generator

vectors = st.integers(0, 2**32).map(
    lambda seed: torch.randn(4, 2, 3, generator=torch_generator(seed), dtype=torch.float64)
)


@pytest.mark.parametrize("degrees", [0, 1e-9, 1e-4, 30, 90, 135, 180 - 1e-4, 180 - 1e-9, 180])
def test_angle_of_two_vectors_that_were_turned_by_it(degrees):
    turn = np.deg2rad(degrees)
    # The sine of 180 degrees minus a little is accurate where that of the sum is not.
    sine = np.sin(turn) if degrees < 90 else np.sin(np.deg2rad(180 - degrees))
    a = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    b = 0.2 * torch.tensor([[np.cos(turn), sine]], dtype=torch.float64)
    got = angle(a, b).item()
    assert got == pytest.approx(degrees, rel=1e-12, abs=1e-13)
    assert 180 - got == pytest.approx(180 - degrees, abs=3e-14)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(a=vectors, b=vectors, scale=st.floats(1e-6, 1e6))
def test_angle_is_the_arc_cosine_and_knows_no_length_and_no_order(a, b, scale):
    flat = [t.flatten(1).numpy() for t in (a, b)]
    lengths = [np.sqrt((t**2).sum(axis=1)) for t in flat]
    cosine = (flat[0] * flat[1]).sum(axis=1) / (lengths[0] * lengths[1])
    assert angle(a, b).numpy() == pytest.approx(np.degrees(np.arccos(cosine.clip(-1, 1))), abs=1e-5)
    assert angle(b, scale * a).numpy() == pytest.approx(angle(a, b).numpy(), abs=1e-9)
    assert angle(a, -b).numpy() == pytest.approx(180 - angle(a, b).numpy(), abs=1e-9)


def test_angle_takes_one_per_image_and_ignores_the_memory_format():
    a, b = (torch.randn(3, 2, 4, 4, generator=torch_generator(seed)) for seed in (0, 1))
    expected = angle(a, b)
    assert expected.shape == (3,)
    assert torch.equal(angle(a.contiguous(memory_format=torch.channels_last), b), expected)


def test_small_angle_of_single_precision_vectors_is_not_rounded():
    a = torch.randn(1, 3, 32, 32, generator=torch_generator(0))
    b = a + 1e-5 * torch.randn(a.shape, generator=torch_generator(1))
    u, v = (t.flatten().double().numpy() for t in (a, b))
    sideways = v - u * (u @ v) / (u @ u)
    tangent = np.linalg.norm(sideways) * np.linalg.norm(u) / (u @ v)
    assert angle(a, b).item() == pytest.approx(np.degrees(np.arctan(tangent)), rel=1e-9)


def test_a_zero_vector_has_no_angle():
    a = torch.eye(3)
    a[1] = 0
    assert torch.isnan(angle(a, torch.ones(3, 3))).tolist() == [False, True, False]


def two_tasks():
    """A linear network: every task has its own gradient, known without a network."""
    net = RobustNet(nn.Flatten(), 6, 1, [2, 2])
    with torch.no_grad():
        for head, seed in zip(net.heads, (0, 1), strict=True):
            head.weight.copy_(torch.randn(2, 6, generator=torch_generator(seed)))
    return net


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_task_perturbations_of_a_linear_network(norm):
    net, x = two_tasks(), 0.4 + 0.2 * torch.rand(5, 1, 2, 3, generator=torch_generator(2))
    labels = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([1, 1, 0, 0, 1])
    attack = Mixed(eps=0.1, step=0.05, steps=3, norm=norm, random_start=False)
    eta = task_perturbations(attack, net, x, labels, generator=torch_generator(0))
    assert eta.shape == (2, *x.shape)
    for head, y, found in zip(net.heads, labels, eta, strict=True):
        uphill = head.weight.detach()[1 - y] - head.weight.detach()[y]  # towards the other class
        unit = uphill.sign() if norm == "linf" else nn.functional.normalize(uphill)
        torch.testing.assert_close(found.flatten(1), 0.1 * unit, atol=1e-6, rtol=0)


def test_task_perturbations_are_what_mixed_mixes_and_the_network_is_held():
    net, x = two_tasks(), torch.rand(5, 1, 2, 3, generator=torch_generator(2))
    net.trunk = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Tanh())
    labels = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([1, 1, 0, 0, 1])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attack = Mixed(random_start=False)
    eta = task_perturbations(attack, net.train(), x, labels, generator=torch_generator(0))
    alpha = mixing_weights(2, generator=torch_generator(0)).float()
    mixed = perturb(attack, net, x, labels, generator=torch_generator(0))
    torch.testing.assert_close(mixed, x + alpha[0] * eta[0] + alpha[1] * eta[1])
    assert not eta.requires_grad
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
