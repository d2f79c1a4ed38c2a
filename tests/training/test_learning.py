"""Every perturbation and every loss learns to be robust on real images in a short training.

On scikit-learn's digits always; on MNIST and CIFAR-10 too where the environment variable MOOSEARCH_TEST_DATA
names a folder with ``mnist.npz`` and ``cifar10.npz``.
"""

import dataclasses
import os
from pathlib import Path

import pytest

from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.attacks.multitask import Mixed, Mta
from moosearch.data.cifar import Cifar10
from moosearch.data.digits import Digits
from moosearch.data.mnist import Mnist
from moosearch.judging.measure import correct_under, fraction
from moosearch.losses.classification import Alp, CrossEntropy, Mart, Trades
from moosearch.losses.loat import Loat
from moosearch.losses.morel import Morel
from moosearch.models.lenet import LeNet
from moosearch.models.resnet import ResNet18
from moosearch.models.small_cnn import SmallCnn
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

METHODS = {
    "sta": (Pgd(), CrossEntropy()),
    "mta": (Mta(), CrossEntropy()),
    "mp": (Mixed(), CrossEntropy()),
    "mp, a weight an example": (Mixed(weights="example"), CrossEntropy()),
    "fast": (Fgsm(random_start=True), CrossEntropy()),
    "alp": (Pgd(), Alp()),
    "trades": (Pgd(objective="kl", random_start=False), Trades()),
    "mart": (Pgd(), Mart()),
    "loat": (Pgd(), Loat()),
    "morel<-cross_entropy": (Pgd(), Morel(base=CrossEntropy())),
    "morel<-trades": (Pgd(), Morel(base=Trades())),
    "morel<-mart": (Pgd(), Morel(base=Mart())),
    "morel<-loat": (Pgd(), Morel(base=Loat())),
    "mp and morel<-mart": (Mixed(), Morel(base=Mart())),
}


def robust_accuracy(dataset, architecture, method, *, eps, steps, **training):
    """Train with a method, and measure under PGD with twice as many steps on the margin."""
    attack, loss = METHODS[method]
    size = (
        {"eps": eps, "step": 1.25 * eps}
        if isinstance(attack, Fgsm)
        else {"eps": eps, "step": 2 * eps / steps}
    )
    if not isinstance(attack, Fgsm):
        size["steps"] = steps
    spec = TrainingSpec(
        attack=dataclasses.replace(attack, **size), loss=loss, validation=ValidationSpec(every=0), **training
    )
    candidate = CandidateSpec(dataset, architecture, spec)
    splits = dataset.load()
    net = train(candidate, splits.train, seed=0).net
    judge = Pgd(eps=eps, step=eps / steps, steps=2 * steps, objective="margin")
    return fraction(correct_under(net, splits.val, dataset.tasks, [judge], seed=0))


@pytest.mark.rotated(5)
@pytest.mark.parametrize("method", METHODS)
def test_digits(method):
    robust = robust_accuracy(
        Digits(auxiliary=("odd_even", "prime_composite")),
        SmallCnn(width=8, depth=3),
        method,
        eps=0.1,
        steps=3,
        epochs=5,
        optimizer=OptimizerSpec(lr=0.1, schedule="one_cycle"),
    )
    assert robust > 0.5


DATA = os.environ.get("MOOSEARCH_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="MOOSEARCH_TEST_DATA is not set")


@needs_data
@pytest.mark.parametrize("method", METHODS)
def test_mnist(method):
    dataset = Mnist(
        npz=str(Path(DATA) / "mnist.npz"),
        auxiliary=("odd_even", "prime_composite"),
        train_size=2000,
        val_size=500,
    )
    robust = robust_accuracy(
        dataset,
        LeNet(width=0.125),
        method,
        eps=0.1,
        steps=4,
        epochs=4,
        optimizer=OptimizerSpec(kind="adamw", lr=4e-3, schedule="one_cycle"),
    )
    assert robust > 0.5


@needs_data
@pytest.mark.parametrize("method", METHODS)
def test_cifar10(method):
    dataset = Cifar10(
        npz=str(Path(DATA) / "cifar10.npz"),
        auxiliary=("animal_vehicle", "sky_ground_water"),
        train_size=2000,
        val_size=500,
    )
    robust = robust_accuracy(
        dataset,
        ResNet18(width=0.125, depth=1),
        method,
        eps=4 / 255,
        steps=3,
        epochs=4,
        optimizer=OptimizerSpec(lr=0.1, schedule="one_cycle"),
    )
    assert robust > 0.16
