"""What every architecture promises. A new plug-in is covered as soon as it is registered."""

from typing import Annotated

import pytest
import torch
import torch.nn.functional as F

from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.models import ARCHITECTURES, Architecture, build_network, count_flops, count_parameters
from moosearch.registry import build, to_tree
from moosearch.seeding import torch_generator

ALL = Digits(auxiliary=("odd_even", "prime_composite")).tasks
SHAPES = [(1, 8, 8), (3, 9, 12)]


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request):
    return build(Annotated[Architecture, ARCHITECTURES], request.param)


def images(count, shape, seed=0):
    return torch.rand(count, *shape, generator=torch_generator(seed))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tasks", [ALL[:1], ALL[:2], ALL], ids=len)
def test_every_task_has_logits_of_its_size(architecture, shape, tasks):
    net = build_network(architecture, shape, tasks, seed=0).eval()
    outputs = net.outputs(images(3, shape))
    assert outputs.features.shape == (3, net.features)
    assert [logits.shape for logits in outputs.logits] == [(3, task.size) for task in tasks]
    assert all(torch.isfinite(logits).all() for logits in outputs.logits)


def test_batch_of_one_gives_the_row_of_a_batch(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).eval()
    x = images(4, (1, 8, 8))
    torch.testing.assert_close(net(x[2:3]), net(x)[2:3], atol=1e-5, rtol=1e-5)


def test_the_network_looks_at_the_image(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).eval()
    logits = net(images(2, (1, 8, 8)))
    assert not torch.allclose(logits[0], logits[1])


def test_input_is_not_changed(architecture):
    x = images(3, (1, 8, 8))
    before = x.clone()
    build_network(architecture, (1, 8, 8), ALL, seed=0).train().outputs(x)
    assert torch.equal(x, before)


def test_seed_alone_decides_the_initialization(architecture):
    torch.manual_seed(1)
    first = build_network(architecture, (1, 8, 8), ALL, seed=5).state_dict()
    torch.manual_seed(2)
    second = build_network(architecture, (1, 8, 8), ALL, seed=5).state_dict()
    other = build_network(architecture, (1, 8, 8), ALL, seed=6).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_building_leaves_the_global_generator_alone(architecture):
    before = torch.get_rng_state()
    build_network(architecture, (1, 8, 8), ALL, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_state_dict_round_trip(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0)
    net.normalize.fit(images(20, (1, 8, 8)))
    net.train().outputs(images(20, (1, 8, 8)))  # batch statistics move
    twin = build_network(architecture, (1, 8, 8), ALL, seed=1)
    twin.load_state_dict(net.state_dict())
    x = images(3, (1, 8, 8), seed=9)
    for mine, its in zip(net.eval().outputs(x).logits, twin.eval().outputs(x).logits, strict=True):
        assert torch.equal(mine, its)


def test_gradient_of_every_head_reaches_every_parameter_of_the_trunk(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).train()
    x, y = images(16, (1, 8, 8)), torch.arange(16)
    for index, task in enumerate(ALL):
        net.zero_grad()
        F.cross_entropy(net.outputs(x).logits[index], y % task.size).backward()
        for name, parameter in net.trunk.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_gradient_reaches_the_image(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).eval()
    x = images(2, (1, 8, 8)).requires_grad_()
    net(x)[0, 0].backward()
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].abs().sum() == 0, "images do not mix in eval mode"


def test_deployed_network_is_the_main_one_at_a_counted_cost(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).eval()
    alone = build_network(architecture, (1, 8, 8), ALL[:1], seed=0).eval()
    x = images(3, (1, 8, 8))
    assert torch.equal(net.deployed()(x), net(x))
    assert count_parameters(net.deployed()) == count_parameters(alone) > 0
    assert count_flops(net.deployed(), (1, 8, 8)) == count_flops(alone, (1, 8, 8)) > 0


def test_normalization_is_inside(architecture):
    net = build_network(architecture, (1, 8, 8), ALL, seed=0).eval()
    x = images(4, (1, 8, 8))
    expected = net((x - 0.3) / 0.5)
    net.normalize.mean.fill_(0.3)
    net.normalize.std.fill_(0.5)
    assert torch.allclose(net(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_small_image_works_or_is_refused_with_a_spec_error(architecture, size):
    shape = (1, size, size)
    try:
        net = build_network(architecture, shape, ALL, seed=0)
    except SpecError as error:
        assert ARCHITECTURES.name_of(architecture) in str(error)  # noqa: PT017 (refusing is optional)
    else:
        assert torch.isfinite(net.train()(images(4, shape))).all()


def test_fields_round_trip_through_plain_data(architecture):
    hint = Annotated[Architecture, ARCHITECTURES]
    assert build(hint, to_tree(architecture, hint)) == architecture
