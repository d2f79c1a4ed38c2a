import json
import math
from typing import Annotated, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moosearch.data import Task
from moosearch.errors import SpecError
from moosearch.export.programs import write_programs
from moosearch.models import ARCHITECTURES, Architecture, build_network
from moosearch.models.activation import SHARP, Activation, SmoothRelu, activate
from moosearch.models.frozen import InferenceCopy
from moosearch.models.lenet import LeNet
from moosearch.models.parts import APART
from moosearch.models.resnet import SmallResNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, to_tree
from moosearch.seeding import seeded_torch, torch_generator
from moosearch.space.space import SearchSpace
from moosearch.training import CandidateSpec

HINT = Annotated[Architecture, ARCHITECTURES]
SMOOTH = [name for name in get_args(Activation) if name != "relu"]


def function(activation, sharpness=10.0):
    """What stands where a ReLU stood, in float64."""
    return activate(nn.Sequential(nn.ReLU()), activation, sharpness)


X = torch.linspace(-6, 6, 241, dtype=torch.float64)
FORMULA = {
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "softplus": lambda x, s=10: math.log1p(math.exp(s * x)) / s,
    "smooth_relu": lambda x, s=10: x - math.log(s * x + 1) / s if x >= 0 else 0.0,
}


@pytest.mark.parametrize("activation", FORMULA)
def test_values_are_those_of_the_formula(activation):
    expected = torch.tensor([FORMULA[activation](x) for x in X.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function(activation)(X.clone()), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
@pytest.mark.parametrize("activation", SHARP)
def test_sharpness_is_that_of_the_formula(activation, sharpness):
    expected = [FORMULA[activation](x, sharpness) for x in X.tolist()]
    found = function(activation, sharpness)(X.clone())
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", SMOOTH)
def test_smooth_activations_have_a_continuous_gradient_at_zero(activation):
    x = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(activation)(x).sum(), x)
    slope = 0.0 if activation == "smooth_relu" else 0.5
    assert gradient.tolist() == pytest.approx([slope] * 3, abs=1e-4)


@pytest.mark.parametrize("activation", SMOOTH)
def test_gradient_changes_by_little_everywhere(activation):
    """The slope's own slope is at most the sharpness: no jump on a fine grid."""
    x = torch.linspace(-2, 2, 40001, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(activation)(x).sum(), x)
    assert gradient.diff().abs().max() < 1.01 * 10 * 1e-4


@pytest.mark.parametrize("activation", SMOOTH)
def test_gradients_are_those_of_finite_differences_twice(activation):
    x = torch.tensor([-2.1, -0.3, 0.2, 0.7, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function(activation), x)
    assert torch.autograd.gradgradcheck(function(activation), x)


def test_an_image_goes_its_own_way_through_every_activation():
    assert SmoothRelu in APART
    assert all(type(function(name)[0]) in APART for name in get_args(Activation))


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_sharpness_that_nothing_has_is_refused(name, activation):
    """Else two recipes of the same network would be two candidates."""
    with pytest.raises(SpecError, match=rf"sharpness: got 3\.0, but the activation {activation} has none"):
        build(HINT, {"name": name, "activation": activation, "sharpness": 3})
    assert build(HINT, {"name": name, "activation": activation, "sharpness": 10}).sharpness == 10


@pytest.mark.parametrize("activation", SHARP)
def test_sharpness_reaches_every_layer(activation):
    trunk, _ = SmallResNet(width=4, activation=activation, sharpness=2.5).trunk((1, 8, 8))
    assert str(trunk).count("sharpness=2.5" if activation == "smooth_relu" else "beta=2.5") == 4


@pytest.mark.slow
def test_smooth_relu_survives_the_twin_and_every_program(tmp_path):
    architecture = SmallCnn(width=2, depth=1, activation="smooth_relu", sharpness=4.0)
    net = build_network(architecture, (1, 8, 8), (Task.main("abcd"),), seed=0).eval()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(0))
    torch.testing.assert_close(InferenceCopy(net)(x), net(x))
    save_file(net.deployed().state_dict(), tmp_path / "weights.safetensors")
    programs = write_programs(net.deployed(), x, tuple("abcd"), tmp_path)
    assert set(programs.parity) == {"onnx", "torch_export", "network"}
    assert max(programs.parity.values()) < 1e-6


def test_recipes_without_a_sharpness_are_written_as_ever():
    assert "sharpness" not in to_tree(LeNet(activation="softplus"), HINT)
    assert to_tree(LeNet(activation="softplus", sharpness=3.0), HINT)["sharpness"] == 3.0


def test_a_gene_for_the_sharpness_stands_beside_one_for_the_activation():
    sharp = {"label": "sharp", "activation": {"choice": list(SHARP)}, "sharpness": {"log_real": [1, 30]}}
    plain = {"label": "plain", "activation": {"choice": ["relu", "silu"]}}
    options = [{**option, "name": "small_cnn"} for option in (sharp, plain)]
    tree = {"dataset": "digits", "architecture": {"choice": options}}
    space = SearchSpace.parse(json.loads(json.dumps(tree)), CandidateSpec)
    for genome in space.corners():
        build(CandidateSpec, space.candidate(genome).spec)
    assert "architecture.sharp.sharpness" in space.genes()


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


@pytest.mark.parametrize("activation", SMOOTH)
def test_initialization_does_not_depend_on_the_activation(activation):
    states = []
    for kind in ("relu", activation):
        with seeded_torch(0):
            states.append(LeNet(width=0.1, activation=kind).trunk((1, 8, 8))[0].state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
