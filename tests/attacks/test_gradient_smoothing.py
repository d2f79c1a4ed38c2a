"""PGD by gradients averaged over noisy copies, in training and in judging."""

from typing import Annotated

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moosearch.attacks import ATTACKS, Attack, gradient, perturb
from moosearch.attacks.attack import seek
from moosearch.attacks.gradient import Pgd, cross_entropy, smoothed
from moosearch.data import Split, Task
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.judging.measure import correct_under, fraction
from moosearch.models import RobustNet, build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, to_tree
from moosearch.seeding import torch_generator
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import TrainingSpec, ValidationSpec

HINT = Annotated[Attack, ATTACKS]
TASKS = (Task.main("abcd"),)


def small_net():
    return (
        build_network(SmallCnn(width=4, depth=2, activation="silu"), (1, 8, 8), TASKS, seed=0).double().eval()
    )


def images(count=5):
    x = torch.rand(count, 1, 8, 8, generator=torch_generator(3), dtype=torch.float64)
    return x, torch.arange(count) % 4


def gradient_at(net, x, y):
    points = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(net(points), y, reduction="sum"), points)[0]


def noise_of(generator, x, attack):
    return [
        attack.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(attack.copies)
    ]


@pytest.mark.parametrize("stacked", [True, False])
def test_gradient_is_the_mean_of_those_at_the_copies(stacked):
    net, (x, y) = small_net(), images()
    noise = noise_of(torch_generator(0), x, Pgd(copies=3, noise=0.3))
    copies = [(x + each).clamp(0, 1) for each in noise]
    points = x.clone().requires_grad_()
    value = smoothed(lambda at, goal: cross_entropy(net(at), goal), points, y, noise, stacked=stacked)
    expected = sum(cross_entropy(net(copy), y) for copy in copies) / 3
    torch.testing.assert_close(value, expected)
    (found,) = torch.autograd.grad(value.sum(), points)
    torch.testing.assert_close(found, sum(gradient_at(net, copy, y) for copy in copies) / 3)
    assert any(((copy == 0) | (copy == 1)).any() for copy in copies), "some pixel is at the border"


@pytest.mark.parametrize("objective", ["cross_entropy", "margin", "kl"])
def test_a_step_follows_the_mean_gradient(objective):
    net, (x, y) = small_net(), images()
    attack = Pgd(
        eps=0.5, step=0.1, steps=2, norm="l2", random_start=False, objective=objective, copies=4, noise=0.1
    )
    found = perturb(attack, net, x, (y,), generator=torch_generator(5))
    generator, reference = torch_generator(5), net(x).detach()
    at = x
    if objective == "kl":  # leaves the image first, where it has no gradient
        at = (x + 0.001 * torch.randn(x.shape, generator=generator, dtype=x.dtype)).clamp(0, 1)
    for _ in range(2):
        total = 0
        for each in noise_of(generator, x, attack):
            points = (at + each).clamp(0, 1).requires_grad_()
            goal = reference if objective == "kl" else y
            total = (
                total + torch.autograd.grad(gradient.LOSSES[objective](net(points), goal).sum(), points)[0]
            )
        at = at + 0.1 * total / total.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        at = at.clamp(0, 1)
    torch.testing.assert_close(found, at)


def sizes_of_batches(attack):
    net, (x, y), sizes = small_net(), images(), []
    net.trunk.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    perturb(attack, net, x, (y,), generator=torch_generator(0))
    return sizes


def test_copies_pass_as_one_batch_where_that_is_faster(monkeypatch):
    attack = Pgd(steps=2, copies=3, noise=0.1)
    assert sizes_of_batches(attack) == [15, 15]
    monkeypatch.setattr(gradient, "STACK_ON_CPU", 3 * images()[0].numel() - 1)
    assert sizes_of_batches(attack) == [5] * 6


def test_copies_have_no_batch_statistics_of_their_own():
    assert sizes_of_batches(Pgd(steps=2, copies=3, noise=0.1, mode="train")) == [5] * 6


def test_stacking_changes_nothing_but_rounding(monkeypatch):
    net, (x, y), found = small_net(), images(), []
    for limit in (2**17, 0):
        monkeypatch.setattr(gradient, "STACK_ON_CPU", limit)
        attack = Pgd(eps=0.2, steps=3, norm="l2", copies=3, noise=0.1)
        found.append(perturb(attack, net, x, (y,), generator=torch_generator(0)))
    torch.testing.assert_close(*found)


def test_random_numbers_come_from_the_generator():
    net, (x, y) = small_net(), images()
    attack = Pgd(eps=0.2, steps=3, norm="l2", random_start=False, copies=2, noise=0.1)
    state = torch.get_rng_state()
    first, again, other = (perturb(attack, net, x, (y,), generator=torch_generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_in_judging_an_image_does_not_depend_on_who_else_is_asked_for(victim):
    """Its noise is its own, whatever became of its neighbors."""
    net, some = victim
    attack = Pgd(eps=0.12, step=0.03, steps=6, restarts=2, copies=2, noise=0.05)
    x, labels = some.x[:40], (some.y[:40],)
    everyone, few = torch.arange(40), torch.tensor([3, 11, 12, 30])
    whole, part = (
        seek(attack, net, x, labels, rows=rows, generator=torch_generator(1)).x_adv
        for rows in (everyone, few)
    )
    torch.testing.assert_close(whole[few], part, atol=1e-5, rtol=0)
    fooled = net(whole).argmax(dim=1) != labels[0]
    assert 0 < fooled.sum() < 40


def test_in_judging_the_image_itself_must_fool(victim):
    """What only a noisy copy fools by is no success: the walk goes on."""
    net, some = victim
    attack = Pgd(eps=0.12, step=0.03, steps=10, copies=2, noise=0.3)
    x, labels = some.x, (some.y,)
    rows = torch.arange(len(x))
    x_adv = seek(attack, net, x, labels, rows=rows, generator=torch_generator(1)).x_adv
    walked = perturb(attack, net, x, labels, generator=torch_generator(1))
    early = (x_adv != walked).flatten(1).any(dim=1)
    assert early.any()
    assert (net(x_adv).argmax(dim=1) != some.y)[early].all()


class Rippled(nn.Module):
    """Logits of a plane with ripples on it: low, and so narrow that they decide every gradient."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        pixels = x.flatten(1)
        ripples = 0.003 * torch.sin(2000 * pixels)
        return torch.cat([pixels, ripples], dim=1) @ torch.cat([self.weights, self.weights.sign()], dim=1).T


def test_it_sees_through_ripples_that_plain_gradients_do_not():
    weights = torch.rand(3, 36, generator=torch_generator(0)) - 0.5
    net = RobustNet(Rippled(weights), 3, 1, [3]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.eye(3))
        net.heads[0].bias.copy_(-0.5 * weights.sum(dim=1))
    x = 0.4 + 0.2 * torch.rand(100, 1, 6, 6, generator=torch_generator(1))
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    plain = Pgd(eps=0.03, step=0.006, steps=20, objective="margin", random_start=False)
    smooth = Pgd(**{**vars(plain), "copies": 16, "noise": 0.02})
    right = [
        fraction(correct_under(net, Split(x, y), (Task.main("abc"),), [attack], seed=0))
        for attack in (plain, smooth)
    ]
    assert right[0] > 0.5
    assert right[1] < 0.2


def test_text_and_plain_data_of_attacks_without_it_are_what_they_were():
    assert repr(Pgd()) == "Pgd(eps=0.1, step=0.025, steps=7, random_start=True, objective='cross_entropy')"
    assert not {"copies", "noise"} & set(to_tree(Pgd(), HINT))
    attack = Pgd(copies=4, noise=0.1)
    assert repr(attack).endswith("copies=4, noise=0.1)")
    assert build(HINT, to_tree(attack, HINT)) == attack


def test_copies_without_noise_are_refused():
    with pytest.raises(SpecError, match="copies: got 4 without noise: all would be the same"):
        build(HINT, {"name": "pgd", "copies": 4})
    assert Pgd(noise=0.1).copies == 1


@pytest.mark.slow
def test_training_with_it_learns_digits():
    digits = Digits().load()
    training = TrainingSpec(
        epochs=2,
        attack=Pgd(eps=0.1, step=0.05, steps=2, copies=2, noise=0.05),
        validation=ValidationSpec(every=0),
    )
    candidate = CandidateSpec(Digits(), SmallCnn(width=8, depth=3), training)
    few = Split(digits.train.x[:600], digits.train.y[:600])
    first, again = (train(candidate, few, seed=0).net for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert (first(digits.val.x).argmax(dim=1) == digits.val.y).float().mean() > 0.5
