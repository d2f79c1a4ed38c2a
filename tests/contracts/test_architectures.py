"""What every architecture promises. A new plug-in is covered as soon as it is registered."""

import itertools
import logging
import runpy
import warnings
from dataclasses import replace
from typing import Annotated, get_args

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import fx, nn

from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.export.standalone import network_source
from moosearch.models import ARCHITECTURES, Architecture, build_network, count_flops, count_parameters
from moosearch.models.activation import Activation, SmoothRelu
from moosearch.registry import build, field_hints, to_tree
from moosearch.seeding import torch_generator

ALL = tuple(
    Task(f"rest_{size}", tuple(map(str, range(size))), tuple(label % size for label in range(10)))
    for size in (10, 2, 3)
)
SMALL = {  # of architectures whose default is a large network, a small one
    "alexnet": {"width": 0.05},
    "preact_resnet18": {"width": 0.1, "depth": 1},
    "resnet18": {"width": 0.1, "depth": 1},
    "resnet50": {"width": 0.05, "depth": 1},
    "wide_resnet": {"depth": 10, "widen": 2, "width": 0.25},
}
SHAPES = {"alexnet": [(1, 64, 64), (3, 63, 80)]}  # of architectures for large images
ACTIVATIONS = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "smooth_relu": SmoothRelu,
}


@pytest.fixture(params=list(ARCHITECTURES))
def name(request):
    return request.param


@pytest.fixture
def architecture(name):
    return build(Annotated[Architecture, ARCHITECTURES], {"name": name, **SMALL.get(name, {})})


@pytest.fixture
def shapes(name):
    return SHAPES.get(name, [(1, 8, 8), (3, 9, 12)])


@pytest.fixture
def shape(shapes):
    return shapes[0]


@pytest.fixture
def net(architecture, shape):
    """A network in eval mode whose batch statistics are not the initial ones."""
    net = build_network(architecture, shape, ALL, seed=0).train()
    for seed in range(3):
        net.outputs(images(8, shape, seed))
    return net.eval()


def images(count, shape, seed=0):
    return torch.rand(count, *shape, generator=torch_generator(seed))


@pytest.mark.parametrize("tasks", [ALL[:1], ALL[:2], ALL], ids=len)
def test_every_task_has_logits_of_its_size(architecture, shapes, tasks):
    for shape in shapes:
        net = build_network(architecture, shape, tasks, seed=0).eval()
        outputs = net.outputs(images(3, shape))
        assert outputs.features.shape == (3, net.features)
        assert [logits.shape for logits in outputs.logits] == [(3, task.size) for task in tasks]
        assert all(torch.isfinite(logits).all() for logits in outputs.logits)


def test_logits_of_an_image_do_not_depend_on_its_batch(net, shape):
    x = images(4, shape)
    alone = net(x[2:3])
    for mates in (x[:2], 5 * x[:2], torch.zeros(1, *shape)):
        torch.testing.assert_close(net(torch.cat([mates, x[2:3]]))[-1:], alone, atol=1e-5, rtol=1e-5)


def test_the_network_looks_at_the_image(net, shape):
    logits = net(images(2, shape))
    assert not torch.allclose(logits[0], logits[1])


def test_input_is_not_changed(architecture, shape):
    x = images(3, shape)
    before = x.clone()
    build_network(architecture, shape, ALL, seed=0).train().outputs(x)
    assert torch.equal(x, before)


def test_seed_alone_decides_the_initialization(architecture, shape):
    torch.manual_seed(1)
    first = build_network(architecture, shape, ALL, seed=5).state_dict()
    torch.manual_seed(2)
    second = build_network(architecture, shape, ALL, seed=5).state_dict()
    other = build_network(architecture, shape, ALL, seed=6).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_building_leaves_the_global_generator_alone(architecture, shape):
    before = torch.get_rng_state()
    build_network(architecture, shape, ALL, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_state_dict_round_trip(architecture, net, shape):
    net.normalize.mean.fill_(0.3)
    twin = build_network(architecture, shape, ALL, seed=1)
    twin.load_state_dict(net.state_dict())
    x = images(3, shape, seed=9)
    for mine, its in zip(net.outputs(x).logits, twin.eval().outputs(x).logits, strict=True):
        assert torch.equal(mine, its)


def test_gradient_of_every_head_reaches_every_parameter_of_the_trunk(architecture, shape):
    net = build_network(architecture, shape, ALL, seed=0).train()
    x, y = images(16, shape), torch.arange(16)
    for index, task in enumerate(ALL):
        net.zero_grad()
        F.cross_entropy(net.outputs(x).logits[index], y % task.size).backward()
        for name, parameter in net.trunk.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_gradient_reaches_the_image(net, shape):
    x = images(2, shape).requires_grad_()
    net(x)[0, 0].backward()
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].abs().sum() == 0, "images do not mix in eval mode"


def test_deployed_network_is_the_main_one_at_a_counted_cost(architecture, net, shape):
    alone = build_network(architecture, shape, ALL[:1], seed=0).eval()
    x = images(3, shape)
    assert torch.equal(net.deployed()(x), net(x))
    assert count_parameters(net.deployed()) == count_parameters(alone) > 0
    assert count_flops(net.deployed(), shape) == count_flops(alone, shape) > 0


def test_cost_is_the_same_without_numbers_in_the_tensors(architecture, net, shape):
    with torch.device("meta"):
        hollow = build_network(architecture, shape, ALL, seed=0)
    assert {tensor.device.type for tensor in hollow.state_dict().values()} == {"meta"}
    assert count_parameters(hollow.deployed()) == count_parameters(net.deployed())
    assert count_flops(hollow.deployed(), shape) == count_flops(net.deployed(), shape)


def test_more_width_is_more_parameters_and_more_flops(name, architecture, shape):
    if "width" not in field_hints(type(architecture)):
        pytest.skip("has no width")
    costs = []
    for factor in (1, 2, 3, 5):
        with torch.device("meta"):
            net = build_network(replace(architecture, width=factor * architecture.width), shape, ALL, seed=0)
        costs.append((count_parameters(net.deployed()), count_flops(net.deployed(), shape)))
    for cheap, dear in itertools.pairwise(costs):
        assert cheap[0] < dear[0]
        assert cheap[1] < dear[1]


def test_normalization_is_inside(net, shape):
    x = images(4, shape)
    expected = net((x - 0.3) / 0.5)
    net.normalize.mean.fill_(0.3)
    net.normalize.std.fill_(0.5)
    assert torch.allclose(net(x), expected, atol=1e-5)


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


class Tracer(fx.Tracer):
    """Takes activations as they are, ours too."""

    def is_leaf_module(self, m, module_qualified_name):
        return type(m) in ACTIVATIONS.values() or super().is_leaf_module(m, module_qualified_name)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activation_takes_the_place_of_every_relu(architecture, shape, activation):
    if "activation" not in field_hints(type(architecture)):
        pytest.skip("has no choice of activation")

    def activations(trunk, kind):
        """How often a trunk calls an activation, however it is written."""
        graph, kind = Tracer().trace(trunk), kind.__name__.lower()
        called = [
            type(trunk.get_submodule(node.target)).__name__ if node.op == "call_module" else str(node.target)
            for node in graph.nodes
        ]
        others = {other.__name__.lower() for other in ACTIVATIONS.values()} - {kind}
        return sum(kind in name.lower() and name.lower() not in others for name in called)

    usual, _ = architecture.trunk(shape)
    trunk, _ = replace(architecture, activation=activation).trunk(shape)
    assert activations(trunk, ACTIVATIONS[activation]) == activations(usual, nn.ReLU) > 0
    if activation != "relu":
        assert activations(trunk, nn.ReLU) == 0


def test_trunk_can_be_traced(net, shape):
    """Attacks run in a copy without batch normalization, which torch.fx makes of the traced trunk."""
    x = images(3, shape)
    traced = fx.symbolic_trace(net.trunk)
    assert torch.equal(traced(x), net.trunk(x))
    assert torch.equal(traced(x[:1]), net.trunk(x[:1]))


def test_bfloat16_and_channels_last_give_the_same_logits(net, shape):
    x = images(8, shape)
    expected = net(x)
    net.to(memory_format=torch.channels_last)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(last), expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = net(last).float()
    assert not torch.equal(low, expected)
    assert (low - expected).abs().max() < 0.05 * expected.abs().max()
    assert F.cosine_similarity(low, expected).min() > 0.99


def test_training_step_in_bfloat16_and_channels_last(architecture, shape):
    net = build_network(architecture, shape, ALL, seed=0).train().to(memory_format=torch.channels_last)
    x = images(8, shape).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(net(x).float(), torch.arange(8))
    loss.backward()
    for name, parameter in net.trunk.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.rotated(8)
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_programs_of_any_batch_size_have_the_same_logits(net, shape, tmp_path):
    model, x = net.deployed(), images(7, shape)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
            onnx = torch.onnx.export(
                program, (x[:2],), input_names=["images"], dynamo=True, verbose=False, optimize=False
            )
            onnx.save(tmp_path / "model.onnx", external_data=False)
            source = network_source(program, ALL[0].groups)
    finally:
        logging.disable(logging.NOTSET)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (tmp_path / "network.py").write_text(source)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    standalone = runpy.run_path(str(tmp_path / "network.py"))["load"]()
    for batch in (x, x[:1]):
        torch.testing.assert_close(standalone(batch), model(batch), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(program.module()(batch), model(batch), atol=1e-5, rtol=1e-4)
        (logits,) = session.run(None, {"images": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(batch), atol=1e-5, rtol=1e-4)
