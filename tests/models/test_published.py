"""The architectures of the papers at full size, against published numbers and against torchvision.

Costs are counted without numbers in the tensors, so that a network of 46 million parameters costs nothing.
"""

import pytest
import torch
from torch import nn
from torchvision.models import alexnet, resnet18, resnet50

from moosearch.data.tasks import Task
from moosearch.models import build_network, count_flops, count_parameters
from moosearch.models.alexnet import AlexNet
from moosearch.models.preact import PreActResNet18, WideResNet
from moosearch.models.resnet import ResNet18, ResNet50
from moosearch.seeding import torch_generator

CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)


def network(architecture, shape, classes):
    """A network of one task, on the device meta."""
    with torch.device("meta"):
        return build_network(architecture, shape, (Task.main(tuple(map(str, range(classes)))),), seed=0)


def undressed(architecture, shape, classes):
    """The network without normalization, as torchvision has it, and the names of its tensors in order."""
    net = network(architecture, shape, classes)
    model = nn.Sequential(net.trunk, net.heads[0]).eval()
    return model, list(model.state_dict())


def images(shape, count=2):
    return torch.rand(count, *shape, generator=torch_generator(0))


@pytest.mark.parametrize(
    ("architecture", "shape", "classes", "parameters", "gmacs"),
    [
        # torchvision's documentation.
        (ResNet18(stem="imagenet"), IMAGENET, 1000, 11_689_512, 1.814),
        (ResNet50(stem="imagenet"), IMAGENET, 1000, 25_557_032, 4.089),
        (AlexNet(), IMAGENET, 1000, 61_100_840, 0.714),
        # kuangliu/pytorch-cifar; its counter prints 0.56 G. Ours has a last batch normalization of 512.
        (ResNet18(), CIFAR, 10, 11_173_962, 0.56),
        (PreActResNet18(), CIFAR, 10, 11_171_146 + 2 * 512, 0.56),
        # Zagoruyko & Komodakis 2016, table 5 (36.5 M, 5.2 G); RobustBench (46.16 M).
        (WideResNet(depth=28), CIFAR, 10, 36_479_194, 5.24),
        (WideResNet(), CIFAR, 10, 46_160_474, 6.66),
    ],
    ids=str,
)
def test_parameters_and_multiply_accumulates_are_the_published_ones(
    architecture, shape, classes, parameters, gmacs
):
    deployed = network(architecture, shape, classes).deployed()
    assert count_parameters(deployed) == parameters
    decimals = len(str(gmacs).split(".")[1])
    assert round(count_flops(deployed, shape) / 2e9, decimals) == gmacs


def test_wrn_32_as_madry_counts_is_wrn_34():
    theirs, ours = network(WideResNet(depth=32), CIFAR, 10), network(WideResNet(depth=34), CIFAR, 10)
    assert {k: v.shape for k, v in theirs.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }


def test_multiply_accumulates_of_wrn_34_10_by_hand():
    def stage(inputs, outputs, side):
        first = inputs * outputs * 9 + outputs * outputs * 9 + inputs * outputs
        return side**2 * (first + 4 * 2 * outputs * outputs * 9)

    total = 32**2 * 3 * 16 * 9 + stage(16, 160, 32) + stage(160, 320, 16) + stage(320, 640, 8) + 640 * 10
    assert count_flops(network(WideResNet(), CIFAR, 10).deployed(), CIFAR) == 2 * total


def of_cifar(resnet):
    """A residual network of torchvision with the stem that small images get."""

    def build(**arguments):
        network = resnet(**arguments)
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        return network

    return build


@pytest.mark.rotated(5)
@pytest.mark.parametrize(
    ("architecture", "theirs", "shape"),
    [
        (ResNet18(stem="imagenet"), resnet18, (3, 40, 33)),
        (ResNet18(), of_cifar(resnet18), (3, 9, 12)),
        (ResNet50(stem="imagenet"), resnet50, (3, 40, 33)),
        (ResNet50(), of_cifar(resnet50), (3, 8, 9)),
        (AlexNet(), alexnet, (3, 223, 260)),
    ],
    ids=["resnet18", "resnet18 of cifar", "resnet50", "resnet50 of cifar", "alexnet"],
)
def test_logits_are_those_of_torchvision(architecture, theirs, shape):
    with torch.device("meta"):
        reference = theirs(num_classes=7)
    _draw(reference)
    ours, names = undressed(architecture, shape, 7)
    ours.load_state_dict(dict(zip(names, reference.state_dict().values(), strict=True)), assign=True)
    x = images(shape).double()  # rounding in float32 differs between processors
    expected = reference.double().eval()(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours.double()(x), expected, rtol=1e-9, atol=1e-9)


def _draw(network):
    """Put numbers into an empty network that keep every layer's output of about the same size."""
    generator = torch_generator(1)
    network.to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.0, generator=generator)
        else:
            tensor.zero_()
            if tensor.is_floating_point():
                tensor.normal_(0, 0.1, generator=generator)


def test_alexnet_for_112_pixels_is_torchvisions_without_repeated_pixels():
    """torchvision repeats each pixel of a 2x2 map 3x3 times: its weights can be summed over the repeats."""
    shape = (3, 112, 112)
    with torch.device("meta"):
        reference = alexnet(num_classes=43)
    _draw(reference)
    weights = reference.state_dict()
    wide = weights["classifier.1.weight"]
    weights["classifier.1.weight"] = wide.reshape(4096, 256, 2, 3, 2, 3).sum((3, 5)).flatten(1)
    ours, names = undressed(AlexNet(), shape, 43)
    ours.load_state_dict(dict(zip(names, weights.values(), strict=True)), assign=True)
    x = images(shape)
    torch.testing.assert_close(ours(x), reference.eval()(x), rtol=1e-3, atol=1e-4)
    assert weights["classifier.1.weight"].numel() * 9 == wide.numel()
