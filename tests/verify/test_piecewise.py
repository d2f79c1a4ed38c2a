"""What is verified is the network."""

import numpy as np
import pytest
import torch
from torch import nn

from moosearch.errors import SpecError
from moosearch.models.network import Normalize
from moosearch.verify import Piecewise
from tests.verify.networks import SHAPE, networks


@pytest.mark.parametrize("name", ["pooled", "before", "averaged"])
def test_it_computes_what_the_network_does(name):
    net = networks(0)[name].double()
    piecewise = Piecewise.of(net, SHAPE)
    x = np.random.default_rng(0).uniform(0, 1, (20, 36))
    with torch.no_grad():
        expected = net(torch.from_numpy(x).view(20, *SHAPE)).numpy()
    np.testing.assert_allclose(piecewise(x), expected, atol=1e-12)
    assert piecewise.classes == 4


@pytest.mark.parametrize("name", ["pooled", "before", "averaged"])
def test_gradients_are_those_of_torch(name):
    net = networks(1)[name].double()
    x = torch.rand(5, *SHAPE, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 4, dtype=torch.float64)
    (expected,) = torch.autograd.grad((net(x) * weights).sum(), x)
    found = Piecewise.of(net, SHAPE).gradient(x.detach().flatten(1).numpy(), weights.numpy())
    np.testing.assert_allclose(found, expected.flatten(1).numpy(), atol=1e-12)


def test_neighboring_affine_layers_become_one():
    normalize = Normalize(1)
    normalize.fit(torch.tensor([0.3]), torch.tensor([0.2]))
    net = nn.Sequential(
        normalize, nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2)), nn.Flatten()
    )
    piecewise = Piecewise.of(net.append(nn.Linear(18, 3)), SHAPE)
    assert len(piecewise.steps) == 1
    x = torch.rand(4, *SHAPE)
    found = piecewise(x.flatten(1).double().numpy())
    np.testing.assert_allclose(found, net(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (nn.SiLU(), "SiLU"),
        (nn.GELU(), "GELU"),
        (nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d"),
        (nn.MaxPool2d(2, dilation=2), "MaxPool2d"),
        (nn.GroupNorm(1, 1), "GroupNorm"),
    ],
)
def test_other_layers_are_refused(layer, word):
    with pytest.raises(SpecError, match=f"cannot be verified: the network has the layer {word}"):
        Piecewise.of(nn.Sequential(layer, nn.Flatten(), nn.Linear(36, 2)), SHAPE)


def test_a_layer_that_does_more_than_its_kind_is_refused():
    class Steep(nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 3

    with pytest.raises(SpecError, match="a layer of the network does more than its kind says"):
        Piecewise.of(nn.Sequential(nn.Flatten(), Steep(36, 3)), SHAPE)
