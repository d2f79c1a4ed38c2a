"""Attacks on a trained network: who is stronger than whom, and what other implementations of them say."""

import warnings
from statistics import fmean

import pytest
import torch

from moosearch.attacks import named_attacks, perturb
from moosearch.attacks.ball import Threat
from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.data.digits import Digits
from moosearch.judging import judge
from moosearch.seeding import torch_generator

THREATS = [Threat("linf", 0.13), Threat("l2", 0.8)]


@pytest.mark.rotated(2)
@pytest.mark.parametrize("threat", THREATS)
def test_stronger_attacks_leave_no_more_than_weaker_ones(victim, threat):
    names = [
        "noise, fgsm, pgd20, {name: pgd, steps: 20, objective: margin, restarts: 2}, {name: apgd, steps: 20}",
        "{name: autoattack, steps: 20, queries: 50, targets: 3}, deepfool, {name: fab, steps: 10}",
        "{name: square, queries: 50}",
    ]
    images = victim.images.first(100)
    judgment = judge(victim.net, images, Digits().tasks, named_attacks(names, threat), seed=0)
    noise, fgsm, pgd, restarted, apgd, auto, deepfool, fab, square = (
        each.accuracy for each in judgment.attacked.values()
    )
    one_image = 1 / len(images) + 1e-9
    assert noise > fgsm + 0.05
    assert fgsm > pgd + 0.01
    assert pgd >= restarted - one_image
    assert pgd >= apgd - one_image
    assert apgd >= auto - one_image
    assert restarted >= auto - one_image
    assert min(deepfool, fab, square) >= auto - one_image
    assert noise > square
    assert auto > 0.05, "something is left to measure"


STARTS = 4
"""Random starts over which accuracies are averaged: on 200 images those of single ones differ by 0.01."""


def by_foolbox(attack, net, images, eps, seed=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import foolbox
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fooled = getattr(foolbox.attacks, attack[0])(**attack[1])(model, images.x, images.y, epsilons=eps)[2]
    return 1 - fooled.float().mean().item()


@pytest.mark.rotated(4)
@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_ours_and_those_of_foolbox_leave_the_same_accuracy(victim, threat, kind):
    norm, eps = threat
    net, images = victim.net, victim.images
    prefix = {"linf": "Linf", "l2": "L2"}[norm]
    if kind == "fgsm":
        ours, theirs = Fgsm(eps=eps, norm=norm), (f"{prefix}FastGradientAttack", {"random_start": False})
    else:
        ours = Pgd(eps=eps, norm=norm, step=eps / 8, steps=40)
        theirs = (f"{prefix}PGD", {"abs_stepsize": eps / 8, "steps": 40, "random_start": True})
    expected, accuracy = [], []
    for seed in range(STARTS if kind == "pgd" else 1):
        expected.append(by_foolbox(theirs, net, images, eps, seed))
        x_adv = perturb(ours, net, images.x, (images.y,), generator=torch_generator(seed))
        with torch.no_grad():
            accuracy.append((net(x_adv).argmax(dim=1) == images.y).float().mean().item())
    assert 0.1 < fmean(expected) < 0.9
    assert fmean(accuracy) == pytest.approx(fmean(expected), abs=0.015)
