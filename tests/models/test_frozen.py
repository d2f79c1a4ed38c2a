import copy

import pytest
import torch
from torch import nn

from moosearch.data.tasks import Task
from moosearch.models import ARCHITECTURES, RobustNet, build_network
from moosearch.models.first_layer import FirstConv
from moosearch.models.frozen import InferenceCopy, inference_copy
from moosearch.models.lenet import LeNet
from moosearch.models.resnet import SmallResNet
from moosearch.registry import build

TASKS = (Task.main("abc"), Task("half", ("x", "y"), (0, 1, 1)))
SHAPE = (3, 64, 64)


def trained(architecture, shape=SHAPE):
    """A network whose weights and batch statistics are not those of its initialization."""
    net = build_network(architecture, shape, TASKS, seed=0)
    net.normalize.fit(torch.tensor([0.4, 0.5, 0.6])[: shape[0]], torch.tensor([0.2, 0.3, 0.4])[: shape[0]])
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 2)
                module.bias.normal_(0, 0.3)
    return net


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request):
    node = {"name": request.param}
    wide = {"shallow_cnn": 4, "small_cnn": 4, "small_resnet": 4}
    node["width"] = wide.get(request.param, 1 / 16)
    if request.param == "wide_resnet":
        node |= {"depth": 10, "widen": 1}
    return build(type_hint(), node)


def type_hint():
    from typing import Annotated

    from moosearch.models import Architecture

    return Annotated[Architecture, ARCHITECTURES]


def test_twin_is_the_same_function_as_the_network_in_eval_mode(architecture):
    torch.manual_seed(0)
    net = trained(architecture)
    frozen, x = InferenceCopy(net), torch.rand(3, *SHAPE)
    net.eval()
    ours, theirs = frozen.outputs(x), net.outputs(x)
    torch.testing.assert_close(ours.features, theirs.features, atol=1e-3, rtol=1e-3)
    for task in range(2):
        torch.testing.assert_close(ours.logits[task], theirs.logits[task], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(frozen(x), net(x), atol=1e-3, rtol=1e-3)


def test_bfloat16_twin_gives_float32_logits_near_the_network(architecture):
    torch.manual_seed(0)
    net = trained(architecture).eval()
    frozen = InferenceCopy(net, dtype=torch.bfloat16, memory_format=torch.channels_last)
    x = torch.rand(3, *SHAPE)
    assert frozen(x).dtype == frozen.encode(x).dtype == torch.float32
    assert (frozen(x) - net(x)).abs().max() < 0.1 * (1 + net(x).abs().max())


def test_batch_normalization_after_convolutions_is_folded_away():
    frozen = InferenceCopy(trained(SmallResNet(width=4, depth=2)))
    called = [node.target for node in frozen.trunk.graph.nodes if node.op == "call_module"]
    assert not any(isinstance(frozen.trunk.get_submodule(name), nn.BatchNorm2d) for name in called)


def test_refresh_follows_weights_and_statistics():
    torch.manual_seed(0)
    net = trained(SmallResNet(width=4, depth=1))
    frozen, x = InferenceCopy(net), torch.rand(8, *SHAPE)
    before = frozen(x)
    net.train()
    net.outputs(x).logits[0].square().sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-3 * parameter.grad)
    torch.testing.assert_close(frozen(x), before)
    frozen.refresh()
    torch.testing.assert_close(frozen(x), net.eval()(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(frozen(x), before, atol=1e-3)


def test_twin_leaves_its_source_alone_and_has_no_gradients_of_parameters():
    net = trained(SmallResNet(width=4, depth=1)).train()
    state = copy.deepcopy(net.state_dict())
    frozen, x = InferenceCopy(net), torch.rand(2, *SHAPE, requires_grad=True)
    frozen(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert net.training
    assert not frozen.training
    assert all(p.grad is None for p in net.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


class Untraceable(nn.Module):
    """A user's own trunk with control flow that depends on the images."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(x if x.sum() > 0 else -x).flatten(1)


def test_trunk_that_cannot_be_traced_is_copied_as_it_is():
    net = RobustNet(Untraceable(), 3 * 16, 3, [3])
    net.trunk.norm.running_mean.fill_(0.5)
    frozen, x = InferenceCopy(net), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(frozen(x), net.eval()(x))


class OnBuffer(nn.Module):
    """Computes with a buffer of its own, and drops out by function."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(1))
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.conv(x - self.shift))
        return nn.functional.dropout(x, 0.5, training=self.training).flatten(1)


class Parametrized(nn.Module):
    """Has a convolution whose weight is computed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)).flatten(1)


@pytest.mark.parametrize("trunk", [OnBuffer, Parametrized])
def test_trunks_of_users_are_followed_exactly(trunk):
    torch.manual_seed(0)
    net = RobustNet(trunk(), 4 * 16, 3, [3]).train()
    names = set(dict(net.trunk.named_buffers()))
    frozen, x = InferenceCopy(net), torch.rand(2, 3, 4, 4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3)
        for name, buffer in net.trunk.named_buffers():
            if "num_batches" not in name:
                buffer.add_(0.5)
    frozen.refresh()
    torch.testing.assert_close(frozen(x), net.eval()(x))
    assert set(dict(net.trunk.named_buffers())) == names


def test_convolution_used_elsewhere_too_is_not_folded():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return (self.norm(y) + y).flatten(1)

    net = RobustNet(Shared(), 3 * 16, 3, [3])
    net.trunk.norm.running_var.fill_(4.0)
    frozen, x = InferenceCopy(net), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(frozen(x), net.eval()(x))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [8, 12, 10])
def test_first_convolution_has_the_gradient_of_a_convolution(kernel, side):
    """Sides that the blocks of four divide, and one that they do not."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 3, kernel, padding=kernel // 2).double()
    first = FirstConv(conv)
    first.bias.copy_(conv.bias)
    first.refresh()
    x = torch.rand(2, 1, side, side, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, side, side, dtype=torch.float64)
    ours, theirs = first(x), conv(x)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_first_convolution_of_one_channel_is_replaced_and_followed():
    torch.manual_seed(0)
    net = trained(LeNet(width=1 / 16), (1, 28, 28)).eval()
    frozen, x = InferenceCopy(net), torch.rand(2, 1, 28, 28, requires_grad=True)
    assert any(isinstance(module, FirstConv) for module in frozen.modules())
    with torch.no_grad():
        net.trunk[0].weight.mul_(-2)
    frozen.refresh()
    gradients = [torch.autograd.grad(model(x).square().sum(), x)[0] for model in (net, frozen)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"padding": 0},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 2, "dilation": 2},
    ],
)
def test_other_first_convolutions_stay(options):
    assert not FirstConv.fits(nn.Conv2d(1, 3, 3, **options))
    assert not FirstConv.fits(nn.Conv2d(3, 3, 3, padding=1))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_network_is_attacked_in_a_layout_that_the_machine_computes_rightly(monkeypatch, wrong):
    """A wrong gradient would make an attack weak, and the network look robust."""

    def fault(run):
        run()  # what is checked can be run
        return "a kernel is wrong" if wrong else ""

    monkeypatch.setattr("moosearch.models.frozen.fault", fault)
    net = trained(SmallResNet(width=4), (1, 8, 8))
    frozen = inference_copy(net, (1, 8, 8))
    weights = [
        m.weight for m in frozen.trunk.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) == (not wrong) for w in weights)
    assert all(w.is_contiguous() == wrong for w in weights)
