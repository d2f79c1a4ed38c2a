"""What all contestants of a comparison have in common: network, images, attack, batch size, optimizer."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import SGD

from moosearch.data import ImageDataset, Split
from moosearch.data.cifar import Cifar10
from moosearch.data.mnist import Mnist
from moosearch.models import Architecture, RobustNet, build_network
from moosearch.models.lenet import LeNet
from moosearch.models.resnet import ResNet18

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4


@dataclass(frozen=True)
class Setting:
    """A training to be timed.

    Attributes:
        dataset: With two auxiliary tasks.
        architecture: What is trained.
        images: What a pass goes over: a whole number of batches, float32.
        batch: Images a step.
        eps: Radius of the l_inf ball, in pixel units of [0, 1].
        step: Step size of PGD, in the same units.
        steps: Steps of PGD.
    """

    dataset: ImageDataset
    architecture: Architecture
    images: Split
    batch: int
    eps: float
    step: float
    steps: int = 10

    def network(self) -> RobustNet:
        """Build the network with all heads: the same weights for everyone."""
        net = build_network(self.architecture, self.dataset.shape, self.dataset.tasks, seed=0)
        net.normalize.fit(*self.images.moments())
        return net

    def single_task(self) -> "Setting":
        """Return the setting without auxiliary tasks."""
        return dataclasses.replace(self, dataset=dataclasses.replace(self.dataset, auxiliary=()))


Pass = Callable[[], object]
"""Trains on all images of a setting once."""

Contestant = Callable[[Setting], Pass]
"""Gets ready for a setting; raises ImportError where its package is not installed."""


def make_setting(network: str, npz: Path, *, batch: int, steps: int) -> Setting:
    """Make the setting of a network, ``lenet`` on MNIST or ``resnet18`` of 16 channels on CIFAR-10.

    Args:
        network: Its name.
        npz: File of the images.
        batch: Images a training step.
        steps: Training steps a pass.
    """
    architecture: Architecture
    dataset: ImageDataset
    if network == "lenet":
        dataset = Mnist(npz=str(npz), auxiliary=("odd_even", "prime_composite"))
        architecture, eps, step = LeNet(), 0.3, 0.03
    else:
        dataset = Cifar10(npz=str(npz), auxiliary=("animal_vehicle", "sky_ground_water"))
        architecture, eps, step = ResNet18(width=0.25), 8 / 255, 2 / 255
    train, first = dataset.load().train, slice(batch * steps)
    images = Split(train.pixels(first).contiguous(), train.y[first])
    return Setting(dataset, architecture, images, batch, eps, step)


def sgd(net: nn.Module) -> SGD:
    """Return everyone's optimizer."""
    return SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
