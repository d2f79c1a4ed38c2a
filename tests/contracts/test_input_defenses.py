"""What every defense of the input promises. A new plug-in is covered as soon as it is registered."""

import copy
from typing import Annotated

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moosearch.data.tasks import Task
from moosearch.export.programs import write_programs
from moosearch.models import INPUT_DEFENSES, DefenseSpec, build_network, count_flops, count_parameters
from moosearch.models.defenses.defense import DefenseLayer, InputDefense
from moosearch.models.frozen import InferenceCopy
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, describe, to_tree
from moosearch.seeding import seeded_torch, torch_generator

HINT = Annotated[InputDefense, INPUT_DEFENSES]
TASKS = (Task.main("abc"), Task("half", ("x", "y"), (0, 1, 1)))
SHAPES = [(1, 8, 8), (3, 7, 5), (2, 1, 1)]
SHAPE = (3, 8, 8)
VARIANTS = [
    *({"name": name} for name in INPUT_DEFENSES if name != "none"),
    {"name": "bit_depth", "bits": 1},
    {"name": "bit_depth", "bits": 8},
    {"name": "median_filter", "size": 3},
    {"name": "perturbation_filter", "width": 3, "depth": 1},
    {"name": "perturbation_filter", "width": 3, "depth": 4},
    {"name": "noise", "sigma": 0},
]


def images(count, shape=SHAPE, seed=0):
    return torch.rand(count, *shape, generator=torch_generator(seed))


def varied(module, by=0.1):
    """Move the parameters, so that nothing is at its initialization, which may be the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=torch_generator(parameter.numel())))
    return module


@pytest.fixture(params=VARIANTS, ids=lambda node: "-".join(map(str, node.values())))
def defense(request):
    return build(HINT, request.param)


@pytest.fixture
def layer(defense):
    """The layer for images of SHAPE, its parameters not the initial ones."""
    return varied(layer_of(defense, SHAPE)).eval()


def layer_of(defense, shape):
    with seeded_torch(0):
        return defense.layer(shape)


@pytest.fixture
def net(defense):
    """A whole network whose batch statistics and filters are not the initial ones."""
    net = build_network(
        SmallCnn(width=4, depth=2), SHAPE, TASKS, seed=0, defenses=DefenseSpec(input=(defense,))
    )
    net.train()(images(16, seed=1))
    varied(net.guard)
    return net.eval()


def call(module, x, seed=0):
    """Call what may draw random numbers."""
    with seeded_torch(seed):
        return module(x)


def test_layers_are_of_the_base_class_and_plug_ins_say_their_fields(defense):
    assert isinstance(layer_of(defense, SHAPE), DefenseLayer)
    assert build(HINT, to_tree(defense, HINT)) == defense
    assert describe(type(defense))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_type_and_range_stay_and_images_are_left_alone(defense, shape, training):
    layer = varied(layer_of(defense, shape), by=1.0).train(training)
    for count in (1, 5):
        x = images(count, shape)
        x.flatten()[:2] = torch.tensor([0.0, 1.0])
        before = x.clone()
        y = layer(x)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert y.min() >= 0
        assert y.max() <= 1
        assert torch.equal(x, before)


def test_an_image_goes_its_own_way(layer):
    x = images(4)
    alone = call(layer, x[1:2])
    for mates in (x[2:3], torch.ones_like(x[2:3])):
        torch.testing.assert_close(call(layer, torch.cat([x[1:2], mates]))[:1], alone, atol=1e-6, rtol=0)


def test_random_ones_say_so(layer):
    x = images(3)
    same = torch.equal(call(layer, x, seed=1), call(layer, x, seed=2))
    assert same or layer.random
    if not layer.random:
        state = torch.random.get_rng_state()
        layer.train()(x)
        assert torch.equal(state, torch.random.get_rng_state())


def test_images_are_recognizable(defense):
    """As it is built, a defense gives back nearly the image: what BPDA rests on."""
    layer = layer_of(defense, SHAPE).eval()
    ramp = torch.linspace(0, 1, 8).expand(1, *SHAPE).clone()
    assert (call(layer, ramp) - ramp).abs().mean() < 0.26  # one bit: a quarter


@pytest.mark.parametrize("training", [False, True])
def test_gradients_pass_everywhere(layer, training):
    """No image, and no pixel at 0 or 1, is out of the reach of attacks or of training."""
    x = images(6)
    x[0], x[1] = 0, 1
    x.requires_grad_()
    y = call(layer.train(training), x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(gradient).all()
    for image in gradient:
        assert (image != 0).float().mean() > 0.3
    torch.testing.assert_close(image.mean(), torch.tensor(1.0), atol=0.7, rtol=0)


def test_asking_for_a_gradient_changes_no_value(layer):
    x = images(6)
    with torch.no_grad():
        expected = call(layer, x)
    assert torch.equal(call(layer, x.clone().requires_grad_()), expected)


def test_every_parameter_is_trained(defense):
    layer = layer_of(defense, SHAPE).train()
    shift = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([*layer.parameters(), shift], lr=0.1)
    before = copy.deepcopy(layer.state_dict())
    for step in range(3):
        optimizer.zero_grad()
        x = images(4, seed=step)
        (layer(x + shift) - x**2).square().mean().backward()
        optimizer.step()
    assert shift != 0, "training sees through"
    for name, _ in layer.named_parameters():
        assert not torch.equal(layer.state_dict()[name], before[name]), name


def test_copies_and_states_are_the_same_layer(defense, layer):
    other = layer_of(defense, SHAPE)
    other.load_state_dict(layer.state_dict())
    x = images(3)
    for frozen in (copy.deepcopy(layer), other.eval()):
        assert torch.equal(call(frozen, x), call(layer, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_twin_is_the_network_and_follows_it(net, dtype):
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    frozen, x = InferenceCopy(net, dtype=dtype, memory_format=torch.channels_last), images(4)
    for _ in range(2):
        expected = call(net, x)
        limit = tolerance * (1 + expected.abs().max())
        assert (call(frozen, x) - expected).abs().max() < limit
        varied(net, by=0.3)
        for name, buffer in net.guard.named_buffers():
            buffer.add_(1 if "bits" in name else 0.1)
        assert (call(frozen, x) - call(net, x)).abs().max() > limit
        frozen.refresh()


@pytest.mark.rotated(3)
@pytest.mark.parametrize("training", [False, True])
def test_networks_in_parts_have_the_same_outputs_and_gradients(net, training):
    x, results = images(8), []
    for parts in (1, 2, 4):
        net.parts = parts
        other = copy.deepcopy(net).train(training)
        y = x.clone().requires_grad_()
        with seeded_torch(0):
            outputs = other.outputs(y)
            sum(logits.square().sum() for logits in outputs.logits).backward()
        results.append((outputs.features, y.grad, *(p.grad for p in other.parameters())))
    for result in results[1:]:
        for ours, theirs in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_autocast_and_channels_last_are_alike(layer):
    x = images(4)
    expected = call(layer, x)
    layer.to(memory_format=torch.channels_last)
    if not layer.random:  # other memory formats are filled with random numbers in another order
        last = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(call(layer, last), expected, atol=1e-6, rtol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = call(layer, x)
    assert low.dtype == torch.float32
    assert (low - expected).abs().max() < 0.05


def test_cost_is_counted_without_numbers_in_the_tensors(defense, net):
    layer = layer_of(defense, SHAPE)
    plain = build_network(SmallCnn(width=4, depth=2), SHAPE, TASKS, seed=0)
    with torch.device("meta"):
        hollow = build_network(
            SmallCnn(width=4, depth=2), SHAPE, TASKS, seed=0, defenses=DefenseSpec(input=(defense,))
        )
    convolutions = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    flops = sum(2 * 64 * conv.weight.numel() for conv in convolutions)
    for network in (net, hollow):
        assert count_flops(network.deployed(), SHAPE) == count_flops(plain.deployed(), SHAPE) + flops
        expected = count_parameters(plain.deployed()) + count_parameters(layer)
        assert count_parameters(network.deployed()) == expected


def test_the_rest_of_the_network_begins_as_without_it(defense):
    spec = DefenseSpec(input=(defense,))
    plain, defended = (
        build_network(SmallCnn(width=4, depth=2), SHAPE, TASKS, seed=0, defenses=each)
        for each in (None, spec)
    )
    state = defended.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())


@pytest.mark.slow
def test_programs_of_all_layers_in_a_row_have_the_same_values_although_gradients_are_on(tmp_path):
    """The first layer makes the input of each ask for a gradient, and none must leave a trace of that."""
    layers = [varied(layer_of(build(HINT, node), SHAPE)) for node in VARIANTS]
    chain = [layer for layer in layers if not layer.random]
    model, x = nn.Sequential(nn.Conv2d(3, 3, 1), *chain, nn.Flatten()).eval(), images(9)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    programs = write_programs(model, x, TASKS[0].groups, tmp_path)
    assert programs.missing == {}
    assert set(programs.parity) == {"onnx", "torch_export", "network"}
    assert max(programs.parity.values()) < 1e-5
    assert "detach" not in (tmp_path / "network.py").read_text(), "operators of the forward pass alone"


def test_none_is_no_layer():
    assert build(HINT, "none").layer(SHAPE) is None
    assert len(DefenseSpec(input=(build(HINT, "none"),)).guard(SHAPE)) == 0
