"""BPDA: the attack of its own on plain networks, and through input layers whatever they do to gradients."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from moosearch.attacks import Threat, check_attacks, named_attacks, perturb, seek
from moosearch.attacks.attack import Seeker
from moosearch.attacks.autoattack import Square
from moosearch.attacks.bpda import Bpda, seen_through
from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.attacks.multitask import Mta
from moosearch.data import Task
from moosearch.errors import SpecError
from moosearch.models.frozen import InferenceCopy
from moosearch.seeding import torch_generator
from moosearch.training.objectives import RobustAccuracy

PGD = Pgd(eps=0.15, step=0.03, steps=10, objective="margin")


class Steps(nn.Module):
    """Somebody's fine staircase, whose gradient is zero."""

    def forward(self, x):
        return (x * 64).floor() / 64


@pytest.fixture
def masked(victim):
    """The victim behind a staircase; it is the plain one again afterwards."""
    guard, victim.net.guard = victim.net.guard, nn.Sequential(Steps(), nn.Identity())
    yield victim
    victim.net.guard = guard


def attacked(attack, net, images, rows=None):
    rows = torch.arange(len(images)) if rows is None else rows
    return seek(attack, net, images.x, (images.y,), rows=rows, generator=torch_generator(0)).x_adv


def robust(attack, net, images):
    with torch.no_grad():
        return (net(attacked(attack, net, images)).argmax(dim=1) == images.y).float().mean()


@pytest.mark.parametrize("nested", [PGD, Fgsm(eps=0.1), Square(eps=0.2, queries=20)], ids=repr)
def test_on_a_network_without_input_layers_it_is_its_attack(victim, nested):
    images = victim.images.first(40)
    assert torch.equal(attacked(Bpda(nested), victim.net, images), attacked(nested, victim.net, images))
    both = [
        perturb(attack, victim.net, images.x, (images.y,), generator=torch_generator(0))
        for attack in (Bpda(nested), nested)
    ]
    assert torch.equal(*both)


@pytest.mark.parametrize("as_copy", [False, True])
def test_it_sees_through_layers_that_blind_its_attack(masked, as_copy):
    net, images = masked.net, masked.images
    net = InferenceCopy(net) if as_copy else net
    assert robust(PGD, net, images) > 0.9
    broken = robust(Bpda(PGD), net, images)
    net.guard = nn.Sequential()
    assert broken < robust(PGD, net, images) + 0.05 < 0.6


def test_values_stay_and_gradients_are_those_of_the_rest(masked):
    net, x = masked.net, masked.images.x[:5].clone().requires_grad_()
    behind = net.guard(x.detach()).requires_grad_()
    expected = net(x)
    with seen_through(net):
        logits = net(x)
        assert torch.equal(logits, expected)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    net.guard = nn.Sequential()
    (of_rest,) = torch.autograd.grad(net(behind).square().sum(), behind)
    assert torch.equal(gradient, of_rest)
    assert gradient.abs().sum() > 0


def test_input_layers_are_back_whatever_happens(masked):
    guard = masked.net.guard
    attacked(Bpda(PGD), masked.net, masked.images.first(2))
    assert masked.net.guard is guard
    with pytest.raises(ZeroDivisionError):
        attacked(Bpda(Failing()), masked.net, masked.images.first(2))
    assert masked.net.guard is guard


@dataclass(frozen=True)
class Brighter:
    """An attack that is no `Seeker`."""

    eps: ClassVar[float] = 0.1
    norm: ClassVar[str] = "linf"
    mode: ClassVar[str] = "train"
    multitask: ClassVar[bool] = False

    def __call__(self, net, x, labels, *, generator):
        assert net.training
        return x + 0.05 * labels[0].view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Failing(Brighter):
    """An attack that ends in an error."""

    def __call__(self, net, x, labels, *, generator):
        raise ZeroDivisionError


def test_attacks_that_seek_nothing_are_asked_for_all_images(victim):
    images, rows = victim.images.first(6), torch.tensor([4, 1])
    assert isinstance(Bpda(Brighter()), Seeker)
    found = attacked(Bpda(Brighter()), victim.net, images, rows)
    assert torch.equal(found, attacked(Brighter(), victim.net, images, rows))
    assert Bpda(Brighter()).mode == "train"


def test_it_is_named_in_the_ball_of_the_threat():
    eps = 0.2
    names = ["bpda", "{name: bpda, attack: pgd50}", "{name: bpda, attack: {name: square, queries: 9}}"]
    found = named_attacks(names, Threat("linf", eps))
    assert list(found.values()) == [
        Bpda(Pgd(eps=eps, step=eps / 10, steps=20, objective="margin")),
        Bpda(Pgd(eps=eps, step=eps / 10, steps=50)),
        Bpda(Square(eps=eps, queries=9)),
    ]
    for attack in found.values():
        assert (attack.eps, attack.norm) == (eps, "linf")
    (l2,) = named_attacks(["bpda"], Threat("l2", 1.0)).values()
    assert (l2.attack.norm, l2.attack.eps) == ("l2", 1.0)
    assert RobustAccuracy(attacks=tuple(found.values())).threats == (Threat("linf", eps),)


def test_what_its_attack_cannot_do_is_refused_before_work():
    attacks = named_attacks(["{name: bpda, attack: {name: pgd20, objective: dlr}}"], Threat("linf", 0.1))
    with pytest.raises(SpecError, match=r"attacks: bpda\(.*\): objective: dlr needs 3 classes"):
        check_attacks(attacks, Task.main("ab"), (1, 8, 8))
    with pytest.raises(SpecError, match=r"attack: got Mta.* expected one on the main task alone"):
        Bpda(Mta())
    with pytest.raises(SpecError, match="Did you mean 'pgd'"):
        named_attacks(["{name: bpda, attack: pdg}"], Threat("linf", 0.1))
