import math

import numpy as np
import pytest
import torch
from torch import nn

from moosearch.attacks import perturb
from moosearch.attacks.ball import uniform_start
from moosearch.attacks.gradient import (
    Fgsm,
    NoAttack,
    Pgd,
    cross_entropy,
    divergence,
    margin,
    pgd,
    wrong_class,
)
from moosearch.errors import SpecError
from moosearch.models import RobustNet
from moosearch.seeding import torch_generator

PIXELS = 16


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch_generator(seed), dtype=torch.float64)


def linear_net(weights, biases):
    """A network whose logits are ``weights x + biases``: its margins are known in closed form."""
    classes, pixels = weights.shape
    net = RobustNet(nn.Flatten(), pixels, 1, [classes]).to(weights.dtype).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(weights)
        net.heads[0].bias.copy_(biases)
    return net


def two_classes(norm="linf", scale=1.0):
    """A two-class linear network, images far from the border of [0, 1], and their exact distances."""
    weights = scale * (uniform(2, PIXELS, seed=1) - 0.5)
    x = 0.4 + 0.2 * uniform(8, 1, 4, 4, seed=2)
    normal = weights[0] - weights[1]
    # The plane passes a little beside the mean image, so that both labels occur at several distances.
    biases = torch.stack([-(x.flatten(1) @ normal).mean(), torch.zeros((), dtype=torch.float64)])
    scores = x.flatten(1) @ normal + biases[0]
    dual = normal.abs().sum() if norm == "linf" else normal.square().sum().sqrt()
    return linear_net(weights, biases), x, (scores < 0).long(), scores.abs() / dual


def smooth_net(classes=3, seed=3):
    """A smooth network in float64, for finite differences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 12), nn.Tanh())
        return RobustNet(trunk, 12, 1, [classes]).double().eval()


def finite_differences(function, x, step=1e-6):
    """Gradient of a scalar function, pixel by pixel."""
    gradient = torch.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = torch.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def right(net, x, y):
    return bool((net(x).argmax(dim=1) == y).all())


ATTACKS = [
    pytest.param(lambda eps, norm: Fgsm(eps=eps, norm=norm), id="fgsm"),
    *(
        pytest.param(
            lambda eps, norm, o=objective, r=start: Pgd(
                eps=eps, step=eps / 3, steps=16, objective=o, random_start=r, norm=norm
            ),
            id=f"pgd-{objective}-{'random' if start else 'center'}",
        )
        for objective in ("cross_entropy", "margin")
        for start in (True, False)
    ),
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("make", ATTACKS)
def test_attack_succeeds_just_above_the_exact_distance_and_fails_just_below(make, norm):
    net, x, y, distances = two_classes(norm)
    assert set(y.tolist()) == {0, 1}
    assert distances.max() < 0.4, "the border of [0, 1] is out of reach"
    for image, label, distance in zip(x.split(1), y.split(1), distances.tolist(), strict=True):
        assert right(net, image, label)
        for factor, survives in ((0.999, True), (1.001, False)):
            attack = make(factor * distance, norm)
            x_adv = perturb(attack, net, image, (label,), generator=torch_generator(0))
            assert right(net, x_adv, label) is survives


@pytest.mark.parametrize("make", ATTACKS)
def test_attack_reaches_the_exact_distance_where_the_unit_range_is_in_the_way(make):
    weights = uniform(2, PIXELS, seed=1) - 0.5
    normal = weights[0] - weights[1]
    x = uniform(1, 1, 4, 4, seed=4).mul(1.6).sub(0.3).clamp(0, 1)
    assert ((x == 0) | (x == 1)).any()
    score = 0.15 * normal.abs().sum()  # without the border: distance 0.15
    net = linear_net(weights, torch.stack([score - x.flatten() @ normal, torch.zeros_like(score)]))
    room = torch.where(normal > 0, x.flatten(), 1 - x.flatten())  # how far a pixel can lower the score

    low, high = 0.15, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fooled = (normal.abs() * room.clamp(max=middle)).sum() > score
        low, high = (low, middle) if fooled else (middle, high)
    assert high > 0.16, "the border costs something"

    y = torch.tensor([0])
    for factor, survives in ((0.999, True), (1.001, False)):
        x_adv = perturb(make(factor * high, "linf"), net, x, (y,), generator=torch_generator(0))
        assert right(net, x_adv, y) is survives


def test_fgsm_is_one_step_along_the_sign_of_the_gradient_by_finite_differences():
    net, x, y = smooth_net(), 0.3 + 0.4 * uniform(3, 1, 4, 4), torch.tensor([0, 1, 2])

    def loss(images):
        logits = net(images).detach().numpy()
        return sum(np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, y, strict=True))

    gradient = finite_differences(loss, x)
    assert gradient.abs().min() > 1e-6, "no sign is in doubt"
    x_adv = perturb(Fgsm(eps=0.07), net, x, (y,), generator=torch_generator(0))
    torch.testing.assert_close(x_adv, x + 0.07 * gradient.sign(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.02), (2, 0.04), (3, 0.05), (9, 0.05)])
def test_pgd_walks_step_by_step_and_stops_at_the_border_of_the_ball(steps, expected):
    x = torch.full((2, 1, 1, 2), 0.5, dtype=torch.float64)
    slope = torch.tensor([3.0, -0.1], dtype=torch.float64)
    x_adv = pgd(lambda z: (z * slope).sum(dim=(1, 2, 3)), x, start=x, eps=0.05, step=0.02, steps=steps)
    torch.testing.assert_close(x_adv - x, expected * slope.sign().expand_as(x))


def test_pgd_comes_back_when_the_gradient_turns():
    x = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    trail = []

    def hill(z):  # the top is at 0.53
        trail.append(z.item())
        return -((z - 0.53) ** 2).sum(dim=(1, 2, 3))

    last = pgd(hill, x, start=x, eps=0.1, step=0.02, steps=4)
    assert [*trail, last.item()] == pytest.approx([0.5, 0.52, 0.54, 0.52, 0.54]), "the last iterate"


def test_pgd_projects_its_start_and_changes_neither_input():
    x, start = torch.full((1, 1, 1, 2), 0.05), torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)
    copies = x.clone(), start.clone()
    seen = []

    def flat(z):
        seen.append(z.detach().clone())
        return (0 * z).sum(dim=(1, 2, 3))

    pgd(flat, x, start=start, eps=0.1, step=0.02, steps=1)
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([0.0, 0.15]))
    assert torch.equal(x, copies[0])
    assert torch.equal(start, copies[1])


def test_pgd_ascends_a_plain_sum_whose_gradient_is_one_shared_number():
    x = torch.full((2, 1, 2, 2), 0.5)
    x_adv = pgd(lambda z: z.sum(dim=(1, 2, 3)), x, start=x, eps=0.1, step=0.02, steps=2)
    torch.testing.assert_close(x_adv, x + 0.04)


def test_pgd_does_not_mix_the_gradients_of_images():
    net, x, y = smooth_net(), uniform(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    attack = Pgd(eps=0.1, step=0.03, steps=5, random_start=False)
    together = perturb(attack, net, x, (y,), generator=torch_generator(0))
    alone = [
        perturb(attack, net, x[i : i + 1], (y[i : i + 1],), generator=torch_generator(0)) for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_random_start_depends_on_the_seed_and_a_start_at_the_image_does_not():
    net, x, y = smooth_net(), uniform(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])

    def twice(random_start):
        attack = Pgd(eps=0.1, step=0.001, steps=2, random_start=random_start)
        return [perturb(attack, net, x, (y,), generator=torch_generator(seed)) for seed in (0, 1)]

    assert not torch.equal(*twice(random_start=True))
    assert torch.equal(*twice(random_start=False))


def test_more_steps_raise_the_loss():
    net, x, y = smooth_net(), uniform(16, 1, 4, 4), torch.arange(16) % 3

    def mean_loss(steps):
        attack = Pgd(eps=0.1, step=0.02, steps=steps, random_start=False)
        return nn.functional.cross_entropy(
            net(perturb(attack, net, x, (y,), generator=torch_generator(0))), y
        )

    with torch.no_grad():
        clean = nn.functional.cross_entropy(net(x), y)
    assert clean < mean_loss(1) < mean_loss(3) < mean_loss(5)


def test_margin_is_the_best_wrong_logit_minus_the_right_one():
    logits = 3 * torch.randn(20, 5, generator=torch_generator(0), dtype=torch.float64)
    y = torch.arange(20) % 5
    expected = [
        np.delete(row, label).max() - row[label] for row, label in zip(logits.numpy(), y, strict=True)
    ]
    assert margin(logits, y).tolist() == pytest.approx(expected)


def test_margin_is_positive_exactly_where_the_prediction_is_wrong():
    logits = torch.randn(200, 5, generator=torch_generator(0))
    y = torch.arange(200) % 5
    wrong = logits.argmax(dim=1) != y
    assert 0 < wrong.sum() < 200
    assert torch.equal(margin(logits, y) > 0, wrong)


def test_margin_leaves_the_logits_alone():
    logits = torch.randn(4, 3, generator=torch_generator(0))
    before = logits.clone()
    margin(logits, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(logits, before)


def test_divergence_is_the_formula_with_the_reference_first():
    logits, reference = (
        2 * torch.randn(9, 4, generator=torch_generator(s), dtype=torch.float64) for s in (0, 1)
    )
    q, p = (np.exp(t) / np.exp(t).sum(axis=1, keepdims=True) for t in (logits.numpy(), reference.numpy()))
    assert divergence(logits, reference).tolist() == pytest.approx((p * np.log(p / q)).sum(axis=1))
    backwards = (q * np.log(q / p)).sum(axis=1)
    assert np.abs(backwards - (p * np.log(p / q)).sum(axis=1)).max() > 0.01, "the direction matters"


def test_kl_leaves_the_image_itself_where_its_gradient_is_zero():
    net, x, _, _ = two_classes()
    y = torch.zeros(len(x), dtype=torch.int64)
    attack = Pgd(eps=0.05, step=0.02, steps=6, objective="kl", random_start=False)
    x_adv = perturb(attack, net, x, (y,), generator=torch_generator(0))
    normal = (net.heads[0].weight[0] - net.heads[0].weight[1]).sign().reshape(1, 1, 4, 4)
    # The divergence of a linear network grows towards both of these corners of the ball.
    for image, center in zip(x_adv, x, strict=True):
        shift = (image - center) * normal[0]
        torch.testing.assert_close(shift.abs(), torch.full_like(shift, 0.05))
        assert shift.sign().unique().numel() == 1


def test_kl_starts_at_a_gaussian_of_a_thousandth():
    x = torch.full((50, 1, 10, 10), 0.5)
    seen = []

    class Watch(nn.Module):
        def forward(self, z):
            seen.append(z.detach().clone())
            return z.flatten(1)

    net = RobustNet(Watch(), 100, 1, [2]).eval()
    attack = Pgd(eps=0.1, steps=1, objective="kl", random_start=False)
    perturb(attack, net, x, (torch.zeros(50, dtype=torch.int64),), generator=torch_generator(0))
    assert torch.equal(seen[0], x), "the reference is the clean image"
    noise = seen[1] - x
    assert abs(noise.mean()) < 1e-4
    assert noise.std().item() == pytest.approx(0.001, rel=0.05)
    assert noise.abs().max() > 0.0025, "a Gaussian has tails"


def test_kl_ascends_the_divergence_and_ignores_the_label():
    net, x = smooth_net(), uniform(8, 1, 4, 4)
    attack = Pgd(eps=0.1, step=0.03, steps=8, objective="kl", random_start=False)
    first, second = (
        perturb(attack, net, x, (torch.full((8,), label),), generator=torch_generator(0)) for label in (0, 2)
    )
    assert torch.equal(first, second)
    with torch.no_grad():
        noise = uniform_start(x, 0.1, torch_generator(5)).clamp(0, 1)
        assert (divergence(net(first), net(x)) > divergence(net(noise), net(x))).all()


def test_margin_still_has_a_gradient_where_cross_entropy_has_saturated():
    net, x, y, distances = two_classes(scale=1e5)
    sure = distances > 0.005
    x, y, eps = x[sure], y[sure], float(distances.max()) * 1.1
    net, x = net.float(), x.float()

    def attacked(objective):
        attack = Pgd(eps=eps, step=eps / 2, steps=4, random_start=False, objective=objective)
        return net(perturb(attack, net, x, (y,), generator=torch_generator(0))).argmax(dim=1)

    assert torch.equal(attacked("cross_entropy"), y), "masked: no image moves"
    assert (attacked("margin") != y).all()


def test_no_attack_returns_the_images():
    net, x = smooth_net(), uniform(3, 1, 4, 4)
    y = torch.tensor([0, 1, 2])
    assert NoAttack().eps == 0
    assert torch.equal(perturb(NoAttack(), net, x, (y,), generator=torch_generator(0)), x)


def softmax_gradient(weights, biases, x, y):
    """Gradient of the cross-entropy of ``weights x + biases`` by numpy: (B, P), (B,) -> (B, P)."""
    logits = x @ weights.T + biases
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p - np.eye(len(weights))[y]) @ weights


def pgd_by_numpy(gradient_of, x, start, *, norm, eps, step, steps):
    """The published iteration, on flattened images."""

    def project(z):
        eta = z - x
        if norm == "linf":
            eta = np.clip(eta, -eps, eps)
        else:
            eta = eta * np.minimum(1, eps / np.linalg.norm(eta, axis=1, keepdims=True).clip(1e-300))
        return np.clip(x + eta, 0, 1)

    z = project(start)
    for _ in range(steps):
        gradient = gradient_of(z)
        if norm == "linf":
            gradient = np.sign(gradient)
        else:
            gradient = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
        z = project(z + step * gradient)
    return z


@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 0.6)])
def test_pgd_is_the_published_iteration(norm, eps, random_start):
    weights, biases = 4 * (uniform(3, PIXELS, seed=1) - 0.5), uniform(3, seed=2)
    x, y = (1.4 * uniform(6, 1, 4, 4, seed=3) - 0.2).clamp(0, 1), torch.arange(6) % 3
    attack = Pgd(eps=eps, step=eps / 4, steps=7, norm=norm, random_start=random_start)
    net = linear_net(weights, biases)
    x_adv = perturb(attack, net, x, (y,), generator=torch_generator(5))

    start = uniform_start(x, eps, torch_generator(5), norm=norm) if random_start else x
    expected = pgd_by_numpy(
        lambda z: softmax_gradient(weights.numpy(), biases.numpy(), z, y.numpy()),
        x.flatten(1).numpy(),
        start.flatten(1).numpy(),
        norm=norm,
        eps=eps,
        step=eps / 4,
        steps=7,
    )
    assert x_adv.flatten(1).numpy() == pytest.approx(expected, abs=1e-12)
    assert ((x_adv == 0) | (x_adv == 1)).any(), "the border of [0, 1] is met"


@pytest.mark.parametrize(("steps", "length"), [(1, 0.02), (2, 0.04), (9, 0.05)])
def test_l2_pgd_on_a_linear_network_walks_along_the_normal(steps, length):
    net, x, y, _ = two_classes("l2")
    attack = Pgd(eps=0.05, step=0.02, steps=steps, norm="l2", random_start=False)
    eta = perturb(attack, net, x, (y,), generator=torch_generator(0)) - x
    normal = (net.heads[0].weight[1] - net.heads[0].weight[0]).detach()
    away = torch.where(y == 0, 1.0, -1.0).unsqueeze(1) * normal / normal.square().sum().sqrt()
    torch.testing.assert_close(eta.flatten(1), length * away, atol=1e-12, rtol=0)


def test_fast_adversarial_training_starts_anywhere_and_steps_beyond_the_ball():
    net, x, y = smooth_net(), uniform(8, 1, 4, 4), torch.arange(8) % 3
    attack = Fgsm(eps=0.1, random_start=True, step=0.125)
    x_adv = perturb(attack, net, x, (y,), generator=torch_generator(3))

    start = uniform_start(x, 0.1, torch_generator(3)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(start), y), start)
    expected = (start + 0.125 * gradient.sign()).detach()
    expected = torch.max(torch.min(expected, x + 0.1), x - 0.1).clamp(0, 1)
    torch.testing.assert_close(x_adv, expected)
    inside = (x_adv - x).abs() < 0.09
    assert inside.any(), "a step from the far side of the ball does not reach the near one"


@pytest.mark.parametrize("attack", [Fgsm(eps=0.1, norm="l2"), Fgsm(eps=0.1, norm="l2", step=0.04)])
def test_fgsm_steps_by_its_own_length_or_by_eps(attack):
    net, x, y, _ = two_classes("l2")
    eta = perturb(attack, net, x, (y,), generator=torch_generator(0)) - x
    length = attack.eps if attack.step is None else attack.step
    torch.testing.assert_close(eta.flatten(1).norm(dim=1), torch.full((8,), length, dtype=torch.float64))


@pytest.mark.parametrize("target", ["random", "least_likely"])
def test_target_is_a_wrong_class(target):
    logits = torch.randn(500, 4, generator=torch_generator(0))
    y = torch.arange(500) % 4
    chosen = wrong_class(logits, y, target, torch_generator(1))
    assert chosen.dtype == torch.int64
    assert chosen.shape == y.shape
    assert (chosen != y).all()
    assert chosen.min() >= 0
    assert chosen.max() <= 3


def test_least_likely_target_is_the_wrong_class_of_the_smallest_logit():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, -2.0, -1.5]])
    targets = wrong_class(logits, torch.tensor([0, 1, 1]), "least_likely", torch_generator(0))
    assert targets.tolist() == [1, 2, 2], "the label itself is no target, though it is the smallest"


def test_random_targets_are_all_wrong_classes_alike_and_the_generator_decides():
    y = torch.zeros(6000, dtype=torch.int64) + 2
    drawn = [wrong_class(torch.zeros(6000, 5), y, "random", torch_generator(seed)) for seed in (0, 0, 1)]
    counts = torch.bincount(drawn[0], minlength=5)
    assert counts[2] == 0
    assert counts[[0, 1, 3, 4]].tolist() == pytest.approx([1500] * 4, abs=4 * math.sqrt(1500))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
@pytest.mark.parametrize("targeted", ["random", "least_likely"])
def test_targeted_attack_raises_the_probability_of_its_target(targeted, objective, norm):
    net, x, y = smooth_net(), uniform(12, 1, 4, 4), torch.arange(12) % 3
    options = {"step": 0.1, "steps": 8, "norm": norm, "objective": objective, "random_start": False}
    attack = Pgd(eps=0.3, targeted=targeted, **options)
    x_adv = perturb(attack, net, x, (y,), generator=torch_generator(4))
    with torch.no_grad():
        target = wrong_class(net(x), y, targeted, torch_generator(4)).unsqueeze(1)
        clean, adversarial = (net(z).softmax(dim=1).gather(1, target) for z in (x, x_adv))
    assert (adversarial > clean).all()


def test_targeted_step_descends_the_loss_of_the_target():
    net, x, y = smooth_net(), 0.3 + 0.4 * uniform(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    x_adv = perturb(Fgsm(eps=0.07, targeted="least_likely"), net, x, (y,), generator=torch_generator(0))
    with torch.no_grad():
        target = wrong_class(net(x), y, "least_likely", torch_generator(0)).numpy()

    def loss(images):
        logits = net(images).detach().numpy()
        return sum(np.log(np.exp(row).sum()) - row[t] for row, t in zip(logits, target, strict=True))

    gradient = finite_differences(loss, x)
    torch.testing.assert_close(x_adv, x - 0.07 * gradient.sign(), atol=1e-12, rtol=0)


def test_divergence_has_no_target():
    with pytest.raises(SpecError, match=r"targeted: got 'random', but the objective kl"):
        Pgd(objective="kl", targeted="random")


def test_cross_entropy_is_minus_the_log_probability_of_each_row():
    logits = 3 * torch.randn(7, 4, generator=torch_generator(0), dtype=torch.float64)
    y = torch.arange(7) % 4
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    assert cross_entropy(logits, y).tolist() == pytest.approx(-np.log(p[np.arange(7), y.numpy()]))


def pooled_net():
    """A network whose features do not depend on the memory format."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return RobustNet(trunk, 8, 3, [4]).double().eval()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [True, False])
def test_memory_format_stays_at_every_step_and_changes_nothing(norm, random_start):
    net, x, y = pooled_net(), uniform(4, 3, 6, 5), torch.arange(4)
    attack = Pgd(eps=0.1, step=0.03, steps=3, norm=norm, random_start=random_start)
    expected = perturb(attack, net, x, (y,), generator=torch_generator(0))
    assert expected.is_contiguous()
    seen = []
    net.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0].stride()))
    last = x.contiguous(memory_format=torch.channels_last)
    x_adv = perturb(attack, net, last, (y,), generator=torch_generator(0))
    assert set(seen) == {last.stride()}
    assert x_adv.stride() == last.stride()
    torch.testing.assert_close(x_adv, expected)


class Constant(torch.autograd.Function):
    """Zero everywhere, with a gradient that belongs to somebody else."""

    @staticmethod
    def forward(ctx, x, gradient):
        ctx.gradient = gradient
        return x.new_zeros(len(x))

    @staticmethod
    def backward(ctx, _):
        return ctx.gradient, None


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_gradient_in_another_format_is_read_and_not_changed(norm):
    x = 0.4 + 0.2 * uniform(2, 3, 4, 4)
    gradient = (uniform(2, 3, 4, 4, seed=1) - 0.5).contiguous(memory_format=torch.channels_last)
    before = gradient.clone()
    x_adv = pgd(lambda z: Constant.apply(z, gradient), x, start=x, eps=0.1, step=0.03, steps=2, norm=norm)
    assert torch.equal(gradient, before)
    assert x_adv.is_contiguous()
    unit = gradient.sign() if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    torch.testing.assert_close(x_adv, x + 0.06 * unit)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_without_gradient_stays_where_it_starts(norm):
    x = uniform(3, 1, 4, 4)
    start = (x + 0.02).clamp(0, 1)
    x_adv = pgd(lambda z: (0 * z).sum(dim=(1, 2, 3)), x, start=start, eps=0.5, step=0.1, steps=3, norm=norm)
    torch.testing.assert_close(x_adv, start)


def test_attack_needs_no_gradient_mode_of_its_caller():
    net, x, y = smooth_net(), uniform(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    expected = perturb(Pgd(), net, x, (y,), generator=torch_generator(0))
    with torch.no_grad():
        assert torch.equal(perturb(Pgd(), net, x, (y,), generator=torch_generator(0)), expected)
        assert not torch.is_grad_enabled()


def test_text_of_an_attack_names_options_only_where_they_are_chosen():
    # Measuring derives random numbers from these texts: they must not change.
    assert repr(Pgd()) == "Pgd(eps=0.1, step=0.025, steps=7, random_start=True, objective='cross_entropy')"
    assert repr(Fgsm(eps=0.3)) == "Fgsm(eps=0.3)"
    assert repr(Fgsm(norm="l2", step=0.2)) == "Fgsm(eps=0.1, norm='l2', step=0.2)"
    assert repr(Pgd(targeted="random", mode="train")).startswith(
        "Pgd(eps=0.1, targeted='random', mode='train', step="
    )
