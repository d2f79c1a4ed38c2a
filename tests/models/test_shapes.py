"""Shapes on the device meta, against torch's own rules and against real numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moosearch.models.shapes import Shapes

OPERATIONS = {
    "broadcast": lambda x: x - torch.ones(3, 1, 1, device=x.device),
    "a number": lambda x: 2 / (x + 1),
    "types": lambda x: x.double() + x.half(),
    "a boolean": lambda x: x > 0.5,
    "in place": lambda x: x.add_(1.0).relu_(),
    "activations": lambda x: F.gelu(F.silu(F.elu(x.clamp(0, 1)))),
    "mean": lambda x: x.mean(dim=(2, 3)),
    "mean, kept": lambda x: x.mean(dim=-1, keepdim=True, dtype=torch.float64),
    "linear": lambda x: F.linear(x.flatten(1), torch.ones(5, 192, device=x.device), x.new_zeros(5)),
    "where": lambda x: torch.where(x > 0, x, -x),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_shapes_and_types_are_those_of_numbers(name):
    expected = OPERATIONS[name](torch.rand(2, 3, 8, 8))
    with Shapes():
        found = OPERATIONS[name](torch.rand(2, 3, 8, 8, device="meta"))
    assert (found.shape, found.dtype, found.device.type) == (expected.shape, expected.dtype, "meta")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_does_not_fit_is_refused_by_torch(device):
    x = torch.rand(2, 3, device=device)
    with Shapes():
        for wrong in (
            lambda: x + torch.rand(4, device=device),
            lambda: torch.rand(3, device=device).add_(x),
            lambda: F.linear(x, torch.rand(5, 3, device=device), torch.rand(4, device=device)),
            lambda: F.linear(x, torch.rand(5, 4, device=device)),
        ):
            with pytest.raises(RuntimeError, match=r"size|shape|expand|dim"):
                wrong()


def test_numbers_are_computed_as_ever():
    x = torch.rand(2, 3, 8, 8)
    for name, operation in OPERATIONS.items():
        with Shapes():
            found = operation(x.clone())
        assert torch.equal(found, operation(x.clone())), name


def test_gradients_have_the_shapes_of_what_they_are_for():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net.to("meta")
    x = torch.rand(2, 3, 8, 8, device="meta", requires_grad=True)
    with Shapes():
        (net(x) * 2).sum().backward()
    assert x.grad.shape == x.shape
    assert all(each.grad.shape == each.shape for each in net.parameters())
