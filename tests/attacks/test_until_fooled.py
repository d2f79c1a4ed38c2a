"""Walks that stop at the first misclassified iterate, restarts, and the difference of logits ratio."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.attacks import seek
from moosearch.attacks.gradient import (
    SURE,
    Fgsm,
    Pgd,
    cross_entropy,
    divergence,
    logits_ratio,
    margin,
    pgd,
    pgd_until_fooled,
    uniform_start,
)
from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.models import build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

TASKS = Digits().tasks


@pytest.fixture(scope="module")
def net():
    """A network that finds something of every class in noise."""
    network = build_network(SmallCnn(width=8, depth=2), (1, 8, 8), TASKS, seed=0).eval()
    with torch.no_grad():
        network.heads[0].bias -= network(torch.rand(500, 1, 8, 8, generator=torch_generator(9))).mean(0)
    return network.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def images(net):
    """Images with the labels that the network gives them."""
    x = torch.rand(60, 1, 8, 8, generator=torch_generator(0))
    with torch.no_grad():
        return x, net(x).argmax(dim=1)


WALK = {"eps": 0.05, "step": 0.01, "steps": 8}


def walk(net, x, y, start, **options):
    return pgd_until_fooled(net, margin, x, y, y, start=start, **(WALK | options))


def first_fooling(net, x, y, start, steps):
    """Walk step by step with `pgd`, and take each image's first misclassified iterate."""
    first, done = start.clone(), torch.zeros(len(x), dtype=torch.bool)
    for number in range(steps + 1):
        iterate = pgd(
            lambda images: margin(net(images), y), x, start=start, eps=0.05, step=0.01, steps=number
        )
        wrong = margin(net(iterate), y) > SURE
        first[wrong & ~done] = iterate[wrong & ~done]
        done |= wrong
        first[~done] = iterate[~done]
    return first, done


def test_image_stops_at_its_first_misclassified_iterate(net, images):
    x, y = images
    start = uniform_start(x, 0.05, torch_generator(1))
    found, fooled = walk(net, x, y, start)
    expected, expected_fooled = first_fooling(net, x, y, start.clamp(0, 1), 8)
    assert 5 < fooled.sum() < len(x)
    assert torch.equal(fooled, expected_fooled)
    # Smaller batches round differently; at a rounded sign a pixel may move the other way.
    assert ((found - expected).abs() < 1e-5).double().mean() > 0.999


def test_image_that_is_misclassified_by_rounding_alone_goes_on():
    def classify(x):
        return torch.cat([torch.zeros(len(x), 1), x.flatten(1)], dim=1)

    x, y = torch.full((1, 1, 1, 1), SURE / 2), torch.tensor([0])
    found, fooled = pgd_until_fooled(classify, margin, x, y, y, start=x, eps=0.5, step=0.1, steps=3)
    assert fooled.item()
    assert found.item() == pytest.approx(0.1 + SURE / 2)


def test_network_without_a_gradient_is_walked_on_all_the_same(net, images):
    x, y = images
    found, fooled = walk(lambda batch: net((batch > 0.5).float()), x, y, x)
    assert torch.equal(found, x)
    assert torch.equal(fooled, margin(net((x > 0.5).float()), y) > SURE)


def test_walk_ends_once_all_are_fooled(net, images):
    x, y = images
    calls = []

    def classify(batch):
        calls.append(len(batch))
        return net(batch)

    pgd_until_fooled(classify, margin, x, (y + 1) % 10, y, start=x, **WALK)
    assert calls == [60]


def test_batch_shrinks_as_images_fall(net, images):
    x, y = images
    calls = []

    def classify(batch):
        calls.append(len(batch))
        return net(batch)

    pgd_until_fooled(classify, margin, x, y, y, start=x, eps=0.3, step=0.05, steps=20)
    assert calls == sorted(calls, reverse=True)
    assert calls[-1] < 30


@pytest.mark.parametrize("objective", ["cross_entropy", "margin", "dlr", "kl"])
@pytest.mark.parametrize("targeted", ["none", "random", "least_likely"])
def test_seeking_is_not_weaker_than_the_last_iterate(net, images, objective, targeted):
    if objective == "kl" and targeted != "none":
        pytest.skip("has no target")
    x, y = images
    attack = Pgd(**WALK, objective=objective, targeted=targeted)
    labels, rows = labels_of(TASKS, y), torch.arange(len(x))
    found = seek(attack, net, x, labels, rows=rows, generator=torch_generator(2))
    last = attack(net, x, labels, generator=torch_generator(2))
    wrong_found, wrong_last = (net(z).argmax(dim=1) != y for z in (found.x_adv, last))
    assert (wrong_last & ~wrong_found).sum() <= 1
    assert wrong_found.sum() >= wrong_last.sum()


def test_rows_have_their_own_random_starts_whoever_else_is_asked_for(net, images):
    x, y = images
    labels, attack = labels_of(TASKS, y), Pgd(eps=0.1, step=0.001, steps=1, restarts=2)
    some = torch.tensor([3, 7, 50])
    whole, part = (
        seek(attack, net, x, labels, rows=rows, generator=torch_generator(3)).x_adv
        for rows in (torch.arange(len(x)), some)
    )
    assert torch.allclose(whole[some], part, atol=1e-6)


@pytest.mark.parametrize("restarts", [1, 3])
def test_more_restarts_do_not_fool_less(net, images, restarts):
    x, y = images
    labels, rows = labels_of(TASKS, y), torch.arange(len(x))
    fooled = [
        (net(seek(attack, net, x, labels, rows=rows, generator=torch_generator(4)).x_adv).argmax(1) != y)
        for attack in (Pgd(eps=0.02, step=0.005, steps=1, restarts=r) for r in (restarts, restarts + 3))
    ]
    assert not (fooled[0] & ~fooled[1]).any()
    assert fooled[1].sum() > fooled[0].sum()


def test_training_takes_the_restart_with_the_largest_objective(net, images):
    x, y = images
    labels = labels_of(TASKS, y)
    generator = torch_generator(5)
    single = Pgd(eps=0.1, step=0.02, steps=1)
    tried = torch.stack([single(net, x, labels, generator=generator) for _ in range(4)])
    values = torch.stack([cross_entropy(net(x_adv), y) for x_adv in tried])
    best = tried[values.argmax(dim=0), torch.arange(len(x))]
    several = Pgd(eps=0.1, step=0.02, steps=1, restarts=4)
    assert torch.allclose(several(net, x, labels, generator=torch_generator(5)), best)


def test_restarts_need_a_random_start():
    with pytest.raises(SpecError, match="restarts: got 2 without random_start"):
        Pgd(restarts=2, random_start=False)


def test_fgsm_seeks_by_one_step_from_the_image(net, images):
    x, y = images
    labels = labels_of(TASKS, y)
    found = seek(Fgsm(eps=0.1), net, x, labels, rows=torch.arange(60), generator=torch_generator(0))
    assert torch.allclose(
        found.x_adv, Fgsm(eps=0.1)(net, x, labels, generator=torch_generator(0)).clamp(0, 1)
    )


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6, unique=True), st.data())
def test_difference_of_logits_ratio_is_that_of_the_paper(row, data):
    y = data.draw(st.integers(0, len(row) - 1))
    order = np.sort(np.array(row, dtype=np.float32))[::-1]
    if order[0] - order[2] < 1e-3:
        return
    other = max(v for i, v in enumerate(row) if i != y)
    expected = -(row[y] - other) / (order[0] - order[2])
    value = logits_ratio(torch.tensor([row]), torch.tensor([y])).item()
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_difference_of_logits_ratio_keeps_its_gradient_where_cross_entropy_loses_it():
    logits = torch.tensor([[3e4, 1e4, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    gradients = [
        torch.autograd.grad(loss(logits, y).sum(), logits)[0] for loss in (cross_entropy, logits_ratio)
    ]
    assert gradients[0].abs().max() == 0
    assert gradients[1].abs().max() > 0


def test_divergence_seeks_from_the_clean_prediction(net, images):
    x, y = images
    attack = Pgd(**WALK, objective="kl", random_start=False)
    found = seek(attack, net, x, labels_of(TASKS, y), rows=torch.arange(60), generator=torch_generator(6))
    assert (divergence(net(found.x_adv), net(x)) > 0).all()
