"""Trunks in parts: outputs, gradients and statistics are the same, and less is kept in memory."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models.resnet import BasicBlock

from moosearch.data import Task
from moosearch.models import build_network
from moosearch.models.alexnet import AlexNet
from moosearch.models.frozen import InferenceCopy
from moosearch.models.lenet import LeNet
from moosearch.models.parts import run_in_parts
from moosearch.models.preact import PreActResNet18, WideResNet
from moosearch.models.resnet import ResNet18, ResNet50, SmallResNet
from moosearch.models.small_cnn import SmallCnn

NETWORKS = {
    "lenet": (LeNet(width=0.2), (1, 16, 16)),
    "small_cnn": (SmallCnn(width=4, depth=4), (3, 16, 16)),
    "small_resnet": (SmallResNet(width=4, depth=2), (3, 16, 16)),
    "resnet18": (ResNet18(width=1 / 16), (3, 16, 16)),
    "resnet50": (ResNet50(width=1 / 32, depth=1), (3, 16, 16)),
    "preact_resnet18": (PreActResNet18(width=1 / 16), (3, 16, 16)),
    "wide_resnet": (WideResNet(depth=10, widen=1, width=0.5), (3, 16, 16)),
    "alexnet": (AlexNet(width=1 / 32), (3, 64, 64)),
}
"""Three of them mix nothing, batch statistics and dropout."""


def network(name, *, parts=1):
    architecture, shape = NETWORKS[name]
    net = build_network(architecture, shape, (Task.main(list("abcd")),), seed=0)
    net.parts = parts
    return net.train()


def batch(name, images=12):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(images, *NETWORKS[name][1], generator=generator)
    return x, torch.randint(4, (images,), generator=generator)


def backward(net, x, y):
    """Gradients of weights and images of a loss that no image has a term of its own in, on two passes."""
    x = x.clone().requires_grad_()
    torch.manual_seed(5)  # of dropout
    logits, flipped = net(x), net(x.flip(3))
    loss = F.cross_entropy(logits, y) + (logits.softmax(dim=1) @ flipped.softmax(dim=1).T).square().mean()
    loss.backward()
    return {"x": x.grad, **{name: p.grad for name, p in net.named_parameters()}}


@pytest.mark.rotated(3)
@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_those_of_the_whole_batch(name, parts):
    x, y = batch(name)
    whole, net = network(name), network(name, parts=parts)
    expected, found = backward(whole, x, y), backward(net, x, y)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, msg=key)
    for (key, buffer), ours in zip(whole.named_buffers(), net.buffers(), strict=True):
        assert torch.equal(ours, buffer), key


@pytest.mark.parametrize("name", NETWORKS)
def test_a_twin_has_the_parts_of_its_source_and_gradients_for_attacks(name):
    x, y = batch(name)
    whole, net = (InferenceCopy(network(name, parts=parts)) for parts in (1, 4))
    gradients = []
    for frozen in (whole, net):
        images = x.clone().requires_grad_()
        gradients += torch.autograd.grad(F.cross_entropy(frozen(images), y), images)
    torch.testing.assert_close(*gradients)
    assert net.parts == 4


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_without_gradients_too(name, training):
    x, _ = batch(name)
    outputs = []
    for parts in (1, 8):
        torch.manual_seed(5)
        with torch.no_grad():
            outputs.append(network(name, parts=parts).train(training)(x))
    torch.testing.assert_close(*outputs)


class Largest:
    """Notes the most images that a kind of layer meets at once with gradients."""

    def __init__(self, monkeypatch, kind):
        self.images, forward = 0, kind.forward

        def spy(layer, x):
            if torch.is_grad_enabled():
                self.images = max(self.images, len(x))
            return forward(layer, x)

        monkeypatch.setattr(kind, "forward", spy)


def test_where_no_image_meets_another_they_come_in_parts(monkeypatch):
    largest = Largest(monkeypatch, nn.Conv2d)
    backward(network("lenet", parts=4), *batch("lenet"))
    assert largest.images == 3
    largest.images = 0
    backward(network("small_cnn", parts=4).eval(), *batch("small_cnn"))
    assert largest.images == 3
    largest.images = 0
    backward(network("small_cnn", parts=4), *batch("small_cnn"))
    assert largest.images == 12


def test_what_may_mix_images_is_not_cut(monkeypatch):
    class Centered(nn.Module):
        def forward(self, x):
            return x - x.mean(dim=0)

    trunk = nn.Sequential(nn.Conv2d(1, 2, 3), Centered(), nn.ReLU(inplace=True), nn.Flatten())
    x = torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(run_in_parts(trunk, x, 4), trunk(x))


def test_a_trunk_that_cannot_be_cut_runs_as_it_is():
    block, x = BasicBlock(2, 2), torch.rand(4, 2, 8, 8)
    whole = BasicBlock(2, 2)
    whole.load_state_dict(block.state_dict())
    torch.testing.assert_close(run_in_parts(block, x, 8), whole(x))
    assert all(map(torch.equal, block.buffers(), whole.buffers()))


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made and not yet freed."""

    def __init__(self):
        super().__init__()
        self.now, self.highest, self._known = 0, 0, weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.highest = max(self.highest, self.now)
        return made

    def _freed(self, size):
        self.now -= size


def peak(net, x, y):
    with Peak() as mode:
        backward(net, x, y)
    return mode.highest


@pytest.mark.parametrize(("name", "shares"), [("lenet", (0.6, 0.5, 0.45)), ("resnet18", (0.6, 0.5, 0.4))])
def test_peak_memory_falls_with_the_parts(name, shares):
    x, y = batch(name, images=64)
    whole, *found = (peak(network(name, parts=parts), x, y) for parts in (1, 2, 4, 8))
    assert sorted({whole, *found}, reverse=True) == [whole, *found]
    assert all(size < most * whole for size, most in zip(found, shares, strict=True)), (whole, found)
