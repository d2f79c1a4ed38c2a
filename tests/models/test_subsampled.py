import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1

from moosearch.data.tasks import Task
from moosearch.models import build_network, count_flops, peak_memory
from moosearch.models.frozen import InferenceCopy
from moosearch.models.parts import run_in_parts
from moosearch.models.preact import WideResNet
from moosearch.models.resnet import ResNet50, SmallResNet
from moosearch.models.subsampled import Subsampled, subsampled

TASKS = (Task.main("abc"),)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("size", "stride", "groups"), [(8, 2, 1), (7, 2, 1), (9, 3, 4), (5, (1, 2), 1)])
def test_numbers_are_those_of_the_strided_convolution(memory_format, size, stride, groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, 1, stride=stride, groups=groups).double()
    mended = subsampled(nn.Sequential(nn.Conv2d(8, 12, 1, stride=stride, groups=groups).double()))
    mended[0].load_state_dict(conv.state_dict())  # the same names
    assert type(mended[0]) is Subsampled
    x = torch.randn(3, 8, size, size, dtype=torch.float64).to(memory_format=memory_format)
    mended.to(memory_format=memory_format)
    ours, theirs = x.clone().requires_grad_(), x.contiguous().requires_grad_()
    y, expected = mended(ours), conv(theirs)
    along = torch.randn_like(expected)
    y.backward(along)
    expected.backward(along)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(mended[0].weight.grad, conv.weight.grad)
    torch.testing.assert_close(mended[0].bias.grad, conv.bias.grad)


def test_its_gradient_keeps_the_layout():
    conv = subsampled(nn.Sequential(conv1x1(4, 8, 2))).to(memory_format=torch.channels_last)
    x = torch.rand(2, 4, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = conv(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_other_convolutions_are_left_alone():
    class Own(nn.Conv2d):
        pass

    layers = [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        Own(4, 4, 1, stride=2),
    ]
    kinds = [type(layer) for layer in layers]
    assert [type(layer) for layer in subsampled(nn.Sequential(*layers))] == kinds


class UsersOwn:
    """An architecture as a user writes one."""

    def trunk(self, shape):
        shortcut = nn.Sequential(conv1x1(shape[0], 4, 2), nn.BatchNorm2d(4))
        block = BasicBlock(shape[0], 4, 2, shortcut)
        return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4


@pytest.mark.parametrize(
    "architecture",
    [SmallResNet(width=4), WideResNet(depth=10, widen=1), ResNet50(width=1 / 16, depth=1), UsersOwn()],
    ids=lambda a: type(a).__name__,
)
def test_no_network_has_a_strided_1x1_convolution(architecture):
    net = build_network(architecture, (3, 16, 16), TASKS, seed=0)
    plain, _ = architecture.trunk((3, 16, 16))
    mended = [module for module in net.modules() if isinstance(module, Subsampled)]
    assert len(mended) > 0
    assert net.trunk.state_dict().keys() == plain.state_dict().keys()
    assert count_flops(net.trunk, (3, 16, 16)) == count_flops(plain, (3, 16, 16))
    assert peak_memory(net.trunk, (3, 16, 16), batch=2) == peak_memory(plain, (3, 16, 16), batch=2)
    frozen = InferenceCopy(net)
    kinds = [type(module) for module in frozen.trunk.modules()]
    assert kinds.count(Subsampled) == len(mended)  # as one layer each,
    called = [frozen.trunk.get_submodule(n.target) for n in frozen.trunk.graph.nodes if n.op == "call_module"]
    if not isinstance(architecture, WideResNet):  # whose shortcuts no normalization follows
        assert not any(isinstance(module, nn.BatchNorm2d) for module in called)  # into which it is folded


def test_images_go_through_it_in_parts():
    trunk, x = subsampled(nn.Sequential(nn.Conv2d(2, 4, 1, stride=2))), torch.rand(4, 2, 6, 6)
    torch.testing.assert_close(run_in_parts(trunk, x, 2), trunk(x))
