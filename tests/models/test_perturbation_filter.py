"""The learned filter starts as the identity, computes what is written, and hides no gradient."""

import pytest
import torch
import torch.nn.functional as F

from moosearch.errors import SpecError
from moosearch.models import DefenseSpec
from moosearch.models.defenses.perturbation_filter import PerturbationFilter
from moosearch.registry import build
from moosearch.seeding import seeded_torch, torch_generator

SHAPE = (3, 6, 5)


def images(count):
    return torch.rand(count, *SHAPE, generator=torch_generator(count))


def filter_of(width=4, depth=3, *, trained=True):
    with seeded_torch(0):
        layer = PerturbationFilter(width, depth).layer(SHAPE)
        if trained:
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_starts_as_the_identity(depth):
    x = images(3)
    assert torch.equal(filter_of(depth=depth, trained=False)(x), x)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_it_is_the_clamped_sum_of_image_and_residual(depth):
    layer, x = filter_of(depth=depth), images(3)
    weights = dict(layer.state_dict())
    assert len(weights) == 2 * depth
    y = x
    for number in range(depth):
        y = F.conv2d(
            y, weights[f"residual.{2 * number}.weight"], weights[f"residual.{2 * number}.bias"], 1, 1
        )
        y = y if number == depth - 1 else y.relu()
    assert torch.equal(layer(x), (x + y).clamp(0, 1))
    assert ((x + y) != (x + y).clamp(0, 1)).any(), "something is clamped"


def test_gradient_is_that_of_finite_differences_before_the_clamp():
    """Within [0, 1] the clamp is the identity; there gradcheck sees the whole layer."""
    layer = filter_of(width=2, depth=2).double()
    with torch.no_grad():
        for parameter in layer.residual[-1].parameters():
            parameter.mul_(0.05)
    x = (0.4 + 0.2 * images(1).double()).requires_grad_()
    y = layer(x)
    assert y.min() > 0
    assert y.max() < 1
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradcheck(lambda *_: layer(x), tuple(layer.parameters()))


def test_where_it_clamps_the_gradient_is_that_of_the_residual():
    layer = filter_of(width=2, depth=2).double()
    with torch.no_grad():
        layer.residual[-1].bias.add_(5)
    x, weights = images(2).double().requires_grad_(), images(3)[:2].double()
    y = layer(x)
    assert (y == 1).all()
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    (expected,) = torch.autograd.grad(((x + layer.residual(x)) * weights).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"width": 0}, "width: got 0, expected at least 1"),
        ({"depth": 0}, "depth: got 0, expected at least 1"),
        ({"widht": 3}, "no parameter 'widht'. Did you mean 'width'"),
    ],
)
def test_wrong_numbers_are_refused_in_words(node, words):
    with pytest.raises(SpecError, match=words):
        build(DefenseSpec, {"input": [{"name": "perturbation_filter"} | node]})
