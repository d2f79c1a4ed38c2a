import math

import pytest
import torch
from torch import nn

from moosearch.models.activation import activate
from moosearch.models.lenet import LeNet
from moosearch.seeding import seeded_torch


def function(activation):
    """What stands where a ReLU stood, in float64."""
    return activate(nn.Sequential(nn.ReLU()), activation)


X = torch.linspace(-6, 6, 241, dtype=torch.float64)
FORMULA = {
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "softplus": lambda x: math.log1p(math.exp(10 * x)) / 10,
}


@pytest.mark.parametrize("activation", FORMULA)
def test_values_are_those_of_the_formula(activation):
    expected = torch.tensor([FORMULA[activation](x) for x in X.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function(activation)(X.clone()), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", ["silu", "gelu", "softplus"])
def test_smooth_activations_have_a_continuous_gradient_at_zero(activation):
    x = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(activation)(x).sum(), x)
    assert gradient.tolist() == pytest.approx([0.5] * 3, abs=1e-4)


def test_softplus_is_never_far_from_relu():
    difference = function("softplus")(X.clone()) - X.clamp_min(0)
    assert (difference >= 0).all()
    assert difference.max().item() == pytest.approx(math.log(2) / 10)


def test_nested_and_shared_activations_are_replaced_and_nothing_else():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.conv(self.relu(x)))

    trunk = nn.Sequential(Block(), nn.Sequential(nn.ReLU(), nn.Tanh()))
    conv = trunk[0].conv
    assert activate(trunk, "gelu") is trunk
    assert trunk[0].conv is conv
    kinds = [type(module) for module in trunk.modules()]
    assert kinds == [nn.Sequential, Block, nn.Conv2d, nn.GELU, nn.Sequential, nn.GELU, nn.Tanh]
    assert trunk(torch.ones(1, 1, 2, 2)).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("activation", ["silu", "gelu", "softplus"])
def test_initialization_does_not_depend_on_the_activation(activation):
    states = []
    for kind in ("relu", activation):
        with seeded_torch(0):
            states.append(LeNet(width=0.1, activation=kind).trunk((1, 8, 8))[0].state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
