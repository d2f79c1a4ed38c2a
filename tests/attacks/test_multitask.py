import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.attacks import perturb
from moosearch.attacks.gradient import Pgd, pgd, uniform_start
from moosearch.attacks.multitask import Mixed, Mta, mixing_weights
from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.models import RobustNet, build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

TASKS = Digits(auxiliary=("odd_even", "prime_composite")).tasks
Y = torch.tensor([0, 3, 4, 7, 9])
DRAWS = 3000


def images(seed=0):
    return 0.3 + 0.4 * torch.rand(5, 1, 4, 4, generator=torch_generator(seed), dtype=torch.float64)


def smooth_net(tasks=TASKS, seed=3):
    """A smooth network in float64 with steep heads, so that the tasks disagree."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh())
        net = RobustNet(trunk, 12, 1, [task.size for task in tasks]).double().eval()
        with torch.no_grad():
            for head in net.heads:
                head.weight.mul_(5)
        net.normalize.fit(images(seed=8))
        return net


def task_loss(net, index, labels):
    """Cross-entropy of one task as a function of images: (B, C, H, W) -> (B,)."""
    return lambda z: F.cross_entropy(net.outputs(z).logits[index], labels[index], reduction="none")


@torch.no_grad()
def sum_of_losses(net, x, labels):
    return sum(task_loss(net, index, labels)(x) for index in range(len(labels)))


def gradient_by_finite_differences(function, x, step=1e-6):
    gradient = torch.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = torch.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift).sum() - function(x - shift).sum()) / (2 * step)
    return gradient


def test_mta_follows_the_gradient_of_the_sum_of_all_task_losses():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    gradient = gradient_by_finite_differences(lambda z: sum_of_losses(net, z, labels), x)
    assert gradient.abs().min() > 1e-6, "no sign is in doubt"
    for leave_out in range(3):
        kept = [m for m in range(3) if m != leave_out]
        partial = gradient_by_finite_differences(
            lambda z, kept=kept: sum(task_loss(net, m, labels)(z).detach() for m in kept), x
        )
        assert not torch.equal(partial.sign(), gradient.sign()), "every task has a say"
    attack = Mta(eps=0.05, step=0.05, steps=1, random_start=False)
    x_adv = perturb(attack, net, x, labels, generator=torch_generator(0))
    torch.testing.assert_close(x_adv, x + 0.05 * gradient.sign(), atol=1e-12, rtol=0)


def test_mta_raises_the_sum_of_losses_of_every_image_more_than_a_single_task_attack():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    options = {"eps": 0.1, "step": 0.03, "steps": 8, "random_start": False}
    mta = perturb(Mta(**options), net, x, labels, generator=torch_generator(0))
    sta = perturb(Pgd(**options), net, x, labels, generator=torch_generator(0))
    assert (sum_of_losses(net, mta, labels) > sum_of_losses(net, x, labels)).all()
    assert sum_of_losses(net, mta, labels).mean() > sum_of_losses(net, sta, labels).mean()


def test_mta_without_auxiliary_tasks_is_pgd():
    net, x, labels = smooth_net(TASKS[:1]), images(), labels_of(TASKS[:1], Y)
    mta, sta = (perturb(attack, net, x, labels, generator=torch_generator(4)) for attack in (Mta(), Pgd()))
    assert torch.equal(mta, sta)


@pytest.mark.parametrize("alpha0_min", [0.5, 0.8])
@pytest.mark.parametrize("random_start", [True, False])
def test_mixed_is_the_convex_mix_of_separate_single_task_attacks(random_start, alpha0_min):
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    attack = Mixed(eps=0.1, step=0.03, steps=6, alpha0_min=alpha0_min, random_start=random_start)
    mixed = attack(net, x, labels, generator=torch_generator(7))

    generator = torch_generator(7)
    centers = x.repeat(3, 1, 1, 1)
    starts = uniform_start(centers, 0.1, generator) if random_start else centers
    alpha = mixing_weights(3, alpha0_min=alpha0_min, generator=generator)
    etas = [
        pgd(task_loss(net, m, labels), x, start=start, eps=0.1, step=0.03, steps=6) - x
        for m, start in enumerate(starts.split(len(x)))
    ]
    torch.testing.assert_close(mixed, x + sum(a * eta for a, eta in zip(alpha, etas, strict=True)))
    assert alpha.min() > 0.01, "every task has a say"
    assert all((mixed - x - eta).abs().max() > 0.01 for eta in etas), "and none has the only one"


def test_mixed_agrees_with_separate_attacks_on_a_convolutional_network_with_batch_statistics():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).double()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(1), dtype=torch.float64)
    with torch.no_grad():
        net.train()(x)
    labels = labels_of(TASKS, Y)
    attack = Mixed(eps=0.1, step=0.03, steps=4, random_start=False)
    mixed = perturb(attack, net, x, labels, generator=torch_generator(7))
    net.eval()
    etas = [pgd(task_loss(net, m, labels), x, start=x, eps=0.1, step=0.03, steps=4) - x for m in range(3)]
    alpha = mixing_weights(3, alpha0_min=0.5, generator=torch_generator(7))
    torch.testing.assert_close(mixed, x + sum(a * eta for a, eta in zip(alpha, etas, strict=True)))


def test_mixed_stays_in_the_ball_before_it_is_projected():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    eta = Mixed(eps=0.1)(net, x, labels, generator=torch_generator(0)) - x
    assert eta.abs().max() <= 0.1 + 1e-12


def test_mixed_without_auxiliary_tasks_is_pgd():
    net, x, labels = smooth_net(TASKS[:1]), images(), labels_of(TASKS[:1], Y)
    mixed, sta = (
        perturb(attack, net, x, labels, generator=torch_generator(4)) for attack in (Mixed(), Pgd())
    )
    torch.testing.assert_close(mixed, sta)


def test_mixed_draws_new_weights_for_every_batch():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    generator = torch_generator(0)
    attack = Mixed(random_start=False)
    first, second = (perturb(attack, net, x, labels, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    tasks=st.integers(1, 8),
    alpha0_min=st.floats(0.5, 1, exclude_max=True),
    seed=st.integers(0, 2**32),
)
def test_mixing_weights_are_convex_and_the_main_task_keeps_its_share(tasks, alpha0_min, seed):
    alpha = mixing_weights(tasks, alpha0_min=alpha0_min, generator=torch_generator(seed))
    assert alpha.shape == (tasks,)
    assert alpha.min() >= 0
    assert alpha.sum().item() == pytest.approx(1, abs=1e-12)
    if tasks == 1:
        assert alpha.tolist() == [1.0]
    else:
        assert alpha0_min <= alpha[0] <= 1


def draws(tasks, alpha0_min):
    generator = torch_generator(0)
    return torch.stack(
        [mixing_weights(tasks, alpha0_min=alpha0_min, generator=generator) for _ in range(DRAWS)]
    )


@pytest.mark.parametrize("alpha0_min", [0.5, 0.8])
def test_weight_of_the_main_task_is_uniform_above_its_minimum(alpha0_min):
    alpha0 = draws(2, alpha0_min)[:, 0]
    width = 1 - alpha0_min
    deviation = width / np.sqrt(12 * DRAWS)
    assert alpha0_min <= alpha0.min() < alpha0.max() < 1
    assert alpha0.mean().item() == pytest.approx((alpha0_min + 1) / 2, abs=4 * deviation)
    assert alpha0.var().item() == pytest.approx(width**2 / 12, rel=0.1)


def test_weights_of_auxiliary_tasks_are_uniform_on_the_simplex_of_what_is_left():
    alpha = draws(4, 0.5)
    shares = alpha[:, 1:] / (1 - alpha[:, :1])
    # Moments of Dirichlet(1, 1, 1).
    assert shares.mean(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    second = (shares.T @ shares / DRAWS).numpy()
    assert second == pytest.approx(np.where(np.eye(3) > 0, 1 / 6, 1 / 12), abs=0.012)
    correlation = np.corrcoef(np.column_stack([alpha[:, 0], shares[:, :2]]).T)[0, 1:]
    assert np.abs(correlation).max() < 0.08, "the split does not depend on what is split"


def test_two_tasks_leave_the_rest_to_the_only_auxiliary_one():
    alpha = draws(2, 0.7)
    torch.testing.assert_close(alpha[:, 1], 1 - alpha[:, 0])


def test_weights_are_decided_by_the_generator_alone():
    first, second = (mixing_weights(3, alpha0_min=0.5, generator=torch_generator(s)) for s in (1, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, mixing_weights(3, alpha0_min=0.5, generator=torch_generator(2)))
