"""Attacks on images with several labels: any of these may be pushed out of the top ones."""

import numpy as np
import pytest
import torch
from torch import nn

from moosearch.attacks import check_attacks, named_attacks, perturb
from moosearch.attacks.ball import Threat
from moosearch.attacks.gradient import Pgd, cross_entropy, margin
from moosearch.data import Task, labels_of, rightly_classified
from moosearch.errors import SpecError
from moosearch.models.network import RobustNet
from moosearch.seeding import seeded_torch, torch_generator

TASK = Task.main("abcde", 2)


def rows(count, seed=0):
    chosen = np.argsort(np.random.default_rng(seed).random((count, 5)), axis=1)[:, :2]
    y = torch.zeros(count, 5, dtype=torch.int64)
    return y.scatter(1, torch.from_numpy(chosen), 1)


@pytest.fixture
def net():
    with seeded_torch(0):
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh())
        return RobustNet(trunk, 12, 1, [5]).eval()


def test_margins_are_the_best_wrong_over_the_worst_right():
    logits, y = torch.randn(30, 5, generator=torch_generator(0)), rows(30)
    found = margin(logits, y)
    for row, label, value in zip(logits, y, found, strict=True):
        wrong = max(float(v) for v, is_label in zip(row, label, strict=True) if not is_label)
        right = min(float(v) for v, is_label in zip(row, label, strict=True) if is_label)
        assert value == pytest.approx(wrong - right)
    assert torch.equal(found < 0, rightly_classified(logits, y))
    single = torch.randint(0, 5, (30,), generator=torch_generator(1))
    assert torch.allclose(margin(logits, single), margin(logits, nn.functional.one_hot(single, 5)))


def test_cross_entropy_is_the_mean_over_labels():
    logits, y = torch.randn(8, 5, generator=torch_generator(0)), rows(8)
    (labels,) = labels_of((TASK,), y)
    expected = [-row.log_softmax(0)[label > 0].mean() for row, label in zip(logits, y, strict=True)]
    torch.testing.assert_close(cross_entropy(logits, labels), torch.stack(expected))


@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_pgd_finds_more_than_noise(net, objective):
    x, y = torch.rand(60, 1, 4, 4, generator=torch_generator(0)), rows(60)
    y = torch.zeros_like(y).scatter(1, net(x).topk(2).indices, 1)
    labels = labels_of((TASK,), y)
    attack = Pgd(eps=0.2, step=0.04, steps=15, objective=objective)
    x_adv = perturb(attack, net, x, labels, generator=torch_generator(0))
    (noise,) = named_attacks(["noise"], Threat("linf", 0.2)).values()
    x_noise = perturb(noise, net, x, labels, generator=torch_generator(0))
    assert rightly_classified(net(x), y).all()
    left = [int(rightly_classified(net(images), y).sum()) for images in (x_adv, x_noise)]
    assert left[0] < left[1]
    everyone = torch.arange(60)
    sought = attack.seek(net, x, labels, rows=everyone, generator=torch_generator(0))
    assert int(rightly_classified(net(sought), y).sum()) <= left[0] + 2


@pytest.mark.parametrize(
    "name", ["autoattack", "square", "apgd", "fab", "deepfool", "cw", "{name: pgd, objective: dlr}"]
)
def test_attacks_on_one_label_are_refused(name):
    attacks = named_attacks([name], Threat("linf", 0.1))
    check_attacks(attacks, Task.main("abcde"), (1, 8, 8))
    with pytest.raises(SpecError, match="it knows of one label an image, and these have 2"):
        check_attacks(attacks, TASK, (1, 8, 8))


@pytest.mark.parametrize("name", ["fgsm", "pgd20", "noise", "bpda", "{name: pgd, objective: kl}"])
def test_others_are_not(name):
    check_attacks(named_attacks([name], Threat("linf", 0.1)), TASK, (1, 8, 8))
