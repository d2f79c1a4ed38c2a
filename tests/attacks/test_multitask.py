import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.attacks import gradient, perturb
from moosearch.attacks.ball import uniform_start
from moosearch.attacks.gradient import Pgd, pgd, wrong_class
from moosearch.attacks.multitask import Mixed, Mta, mixing_weights
from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
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
        net.normalize.fit(images(seed=8).mean((0, 2, 3)), images(seed=8).std((0, 2, 3)))
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


@pytest.mark.parametrize(("norm", "alpha0_min"), [("linf", 0.5), ("linf", 0.8), ("l2", 0.5)])
@pytest.mark.parametrize("random_start", [True, False])
def test_mixed_is_the_convex_mix_of_separate_single_task_attacks(random_start, norm, alpha0_min):
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    attack = Mixed(eps=0.1, step=0.03, steps=6, norm=norm, alpha0_min=alpha0_min, random_start=random_start)
    mixed = attack(net, x, labels, generator=torch_generator(7))

    generator = torch_generator(7)
    centers = x.repeat(3, 1, 1, 1)
    starts = uniform_start(centers, 0.1, generator, norm=norm) if random_start else centers
    alpha = mixing_weights(3, alpha0_min=alpha0_min, generator=generator)
    etas = [
        pgd(task_loss(net, m, labels), x, start=start, eps=0.1, step=0.03, steps=6, norm=norm) - x
        for m, start in enumerate(starts.split(len(x)))
    ]
    torch.testing.assert_close(mixed, x + sum(a * eta for a, eta in zip(alpha, etas, strict=True)))
    assert alpha.min() > 0.01, "every task has a say"
    assert all((mixed - x - eta).abs().max() > 0.005 for eta in etas), "and none has the only one"


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


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("weights", ["batch", "example"])
def test_mixed_stays_in_the_ball_before_it_is_projected(norm, weights):
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    attack = Mixed(eps=0.1, norm=norm, weights=weights)
    eta = (attack(net, x, labels, generator=torch_generator(0)) - x).flatten(1).numpy()
    lengths = np.linalg.norm(eta, ord=np.inf if norm == "linf" else 2, axis=1)
    assert lengths.max() <= 0.1 + 1e-12


@pytest.mark.parametrize("targeted", ["none", "random"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_a_stack_is_the_same_as_one_attack_after_the_other(tasks, norm, targeted):
    net, x, labels = smooth_net(TASKS[:tasks]), images(), labels_of(TASKS[:tasks], Y)
    generators = torch_generator(3), torch_generator(3)
    stacked, sequential = (
        perturb(Mixed(execution=execution, norm=norm, targeted=targeted), net, x, labels, generator=generator)
        for execution, generator in zip(("stacked", "sequential"), generators, strict=True)
    )
    torch.testing.assert_close(stacked, sequential, atol=1e-13, rtol=0)
    assert torch.equal(*(generator.get_state() for generator in generators)), "and so is what comes next"


def sizes_of_batches(net, attack, x, labels):
    """How many images the network gets at once."""
    seen = []
    net.trunk.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    perturb(attack, net, x, labels, generator=torch_generator(0))
    return seen


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"execution": "stacked"}, [15] * 2),
        ({"execution": "sequential"}, [5] * 6),
        ({"execution": "auto"}, [15] * 2),
        ({"execution": "auto", "mode": "train"}, [5] * 6),
        ({"execution": "stacked", "targeted": "random"}, [5] + [15] * 2),
    ],
)
def test_execution_decides_how_many_images_are_attacked_at_once(options, sizes):
    attack = Mixed(steps=2, **options)
    assert sizes_of_batches(smooth_net(), attack, images(), labels_of(TASKS, Y)) == sizes


def test_large_stacks_are_not_built_on_a_cpu(monkeypatch):
    numbers = 3 * images().numel()
    for limit, sizes in ((numbers, [15]), (numbers - 1, [5] * 3)):
        monkeypatch.setattr(gradient, "STACK_ON_CPU", limit)
        assert sizes_of_batches(smooth_net(), Mixed(steps=1), images(), labels_of(TASKS, Y)) == sizes


def test_a_stack_has_no_batch_statistics_of_its_own():
    with pytest.raises(SpecError, match=r"execution: got 'stacked' with mode: train"):
        Mixed(mode="train", execution="stacked")


def test_a_stack_keeps_the_memory_format():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).double().eval()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(1), dtype=torch.float64).repeat(1, 3, 1, 1)
    net.normalize.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net.trunk.register_forward_pre_hook(lambda _, args: (args[0][:, :1],))
    seen = []
    last = x.contiguous(memory_format=torch.channels_last)
    for execution in ("stacked", "sequential"):
        x_adv = perturb(
            Mixed(steps=2, execution=execution), net, last, labels_of(TASKS, Y), generator=torch_generator(0)
        )
        assert x_adv.stride() == last.stride()
    assert len(seen) == 2 + 6
    assert all(z.is_contiguous(memory_format=torch.channels_last) for z in seen)


def test_mixed_in_mode_train_sees_the_statistics_of_each_attack():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).double()
    x = torch.rand(5, 1, 8, 8, generator=torch_generator(1), dtype=torch.float64)
    labels = labels_of(TASKS, Y)
    attack = Mixed(eps=0.1, step=0.03, steps=3, random_start=False, mode="train", alpha0=0.4)
    mixed = perturb(attack, net.eval(), x, labels, generator=torch_generator(7))
    net.train()
    etas = [pgd(task_loss(net, m, labels), x, start=x, eps=0.1, step=0.03, steps=3) - x for m in range(3)]
    alpha = mixing_weights(3, alpha0=0.4, generator=torch_generator(7))
    torch.testing.assert_close(mixed, x + sum(a * eta for a, eta in zip(alpha, etas, strict=True)))


@pytest.mark.parametrize("make", [Mta, Mixed])
def test_targets_are_groups_of_every_task(make):
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    attack = make(eps=0.05, step=0.05, steps=1, random_start=False, targeted="random")
    moved = perturb(attack, net, x, labels, generator=torch_generator(2))

    generator = torch_generator(2)
    with torch.no_grad():
        clean = net.outputs(x).logits
    targets = tuple(wrong_class(z, y, "random", generator) for z, y in zip(clean, labels, strict=True))
    if make is Mta:
        gradient = gradient_by_finite_differences(lambda z: sum_of_losses(net, z, targets), x)
        expected = x - 0.05 * gradient.sign()
    else:
        slopes = [
            gradient_by_finite_differences(lambda z, m=m: task_loss(net, m, targets)(z).detach(), x)
            for m in range(3)
        ]
        alpha = mixing_weights(3, generator=generator)
        expected = x - 0.05 * sum(a * slope.sign() for a, slope in zip(alpha, slopes, strict=True))
    torch.testing.assert_close(moved, expected, atol=1e-12, rtol=0)


def test_l2_mta_follows_the_normalized_gradient_of_the_sum():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    gradient = gradient_by_finite_differences(lambda z: sum_of_losses(net, z, labels), x)
    attack = Mta(eps=0.05, step=0.02, steps=1, random_start=False, norm="l2")
    x_adv = perturb(attack, net, x, labels, generator=torch_generator(0))
    unit = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(x_adv, x + 0.02 * unit, atol=1e-8, rtol=0)


def test_every_example_has_its_own_mix():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    attack = Mixed(random_start=False, weights="example")
    mixed = perturb(attack, net, x, labels, generator=torch_generator(7))
    eta = attack.task_perturbations(net, x, labels, generator=torch_generator(7))
    alpha = mixing_weights(3, examples=5, generator=torch_generator(7))
    assert alpha.shape == (3, 5)
    assert alpha[0].unique().numel() == 5
    for image in range(5):
        expected = x[image] + sum(alpha[m, image] * eta[m, image] for m in range(3))
        torch.testing.assert_close(mixed[image], expected)


def test_fixed_weight_of_the_main_task():
    net, x, labels = smooth_net(), images(), labels_of(TASKS, Y)
    options = {"random_start": False, "steps": 3}
    whole = perturb(Mixed(alpha0=1, **options), net, x, labels, generator=torch_generator(0))
    sta = perturb(Pgd(**options), net, x, labels, generator=torch_generator(0))
    torch.testing.assert_close(whole, sta)
    none = perturb(Mixed(alpha0=0, **options), net, x, labels, generator=torch_generator(0)) - x
    eta = Mixed(**options).task_perturbations(net, x, labels, generator=torch_generator(0))
    share = mixing_weights(3, alpha0=0, generator=torch_generator(0))[1]
    torch.testing.assert_close(none, share * eta[1] + (1 - share) * eta[2])


def test_a_fixed_weight_has_no_lower_bound():
    with pytest.raises(SpecError, match=r"alpha0: got 0.7 beside alpha0_min: 0.6"):
        Mixed(alpha0=0.7, alpha0_min=0.6)


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
    alpha0=st.none() | st.floats(0, 1),
    examples=st.none() | st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_mixing_weights_are_convex_and_the_main_task_keeps_its_share(
    tasks, alpha0_min, alpha0, examples, seed
):
    alpha = mixing_weights(
        tasks, alpha0_min=alpha0_min, alpha0=alpha0, examples=examples, generator=torch_generator(seed)
    )
    assert alpha.shape == ((tasks,) if examples is None else (tasks, examples))
    assert alpha.min() >= 0
    assert alpha.sum(dim=0).numpy() == pytest.approx(1, abs=1e-12)
    low, high = (1.0, 1.0) if tasks == 1 else (alpha0_min, 1.0) if alpha0 is None else (alpha0, alpha0)
    assert low <= alpha[0].min() <= alpha[0].max() <= high


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


def test_weights_of_examples_are_as_those_of_batches():
    generator = torch_generator(0)
    alpha = mixing_weights(3, alpha0_min=0.6, examples=DRAWS, generator=generator)
    assert alpha[0].mean().item() == pytest.approx(0.8, abs=4 * 0.4 / np.sqrt(12 * DRAWS))
    assert alpha[0].var().item() == pytest.approx(0.4**2 / 12, rel=0.1)
    share = (alpha[1] / (1 - alpha[0])).sort().values
    steps = torch.arange(1, DRAWS + 1, dtype=torch.float64) / DRAWS
    assert (share - steps).abs().max() < 1.63 / np.sqrt(DRAWS), "Kolmogorov-Smirnov, 1 %"


def test_two_tasks_leave_the_rest_to_the_only_auxiliary_one():
    alpha = draws(2, 0.7)
    torch.testing.assert_close(alpha[:, 1], 1 - alpha[:, 0])


def test_weights_are_decided_by_the_generator_alone():
    first, second = (mixing_weights(3, alpha0_min=0.5, generator=torch_generator(s)) for s in (1, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, mixing_weights(3, alpha0_min=0.5, generator=torch_generator(2)))
