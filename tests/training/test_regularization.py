"""Penalties against closed forms, functional Jacobians and finite differences; smoothed labels."""

import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moosearch.attacks.gradient import NoAttack, Pgd
from moosearch.data import Split, Task
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.losses import LOSSES, Stateless, Terms
from moosearch.losses.classification import Alp, CrossEntropy, Mart, Trades
from moosearch.losses.loat import Loat
from moosearch.losses.morel import Morel
from moosearch.models import RobustNet, build_network
from moosearch.models.alexnet import AlexNet
from moosearch.models.defenses import DefenseSpec
from moosearch.models.defenses.denoising import EmbeddedGaussian
from moosearch.models.lenet import LeNet
from moosearch.models.network import Outputs
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, to_tree
from moosearch.seeding import torch_generator
from moosearch.training import CandidateSpec, train
from moosearch.training.numerics import NumericsSpec
from moosearch.training.regularization import (
    RegularizationSpec,
    penalties,
    squared_gradient,
    squared_jacobian,
)
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec
from moosearch.training.train import Trainer

BOTH = RegularizationSpec(input_gradient=0.7, jacobian=0.3, projections=2)


@pytest.fixture(scope="module")
def few():
    images = Digits().load().train
    return Split(images.x[:48], images.y[:48])


def spec(regularization=BOTH, *, auxiliary=(), architecture=None, **training):
    options = {"epochs": 1, "batch_size": 48, "attack": NoAttack(), "validation": ValidationSpec(every=0)}
    optimizer = OptimizerSpec(lr=0.05, schedule="constant")
    training = TrainingSpec(
        **{**options, "optimizer": optimizer, "regularization": regularization, **training}
    )
    return CandidateSpec(Digits(auxiliary=auxiliary), architecture or SmallCnn(width=4, depth=2), training)


def wave(*shape):
    return torch.randn(shape, generator=torch_generator(sum(shape)), dtype=torch.float64)


class Tiny(nn.Module):
    """A smooth trunk in float64, with or without images that meet in statistics."""

    def __init__(self, *, meet=False):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(2) if meet else nn.Identity()

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))).flatten(1))


def tiny(*, meet=False):
    torch.manual_seed(0)
    return RobustNet(Tiny(meet=meet), 3, 1, [4]).double()


def test_input_gradient_of_a_linear_network_is_its_closed_form():
    weights, x, y = wave(4, 9), wave(5, 1, 3, 3).requires_grad_(), torch.tensor([0, 1, 2, 3, 3])
    logits = x.flatten(1) @ weights.T
    found = squared_gradient(F.cross_entropy(logits, y, reduction="sum"), x)
    slopes = (logits.softmax(dim=1) - F.one_hot(y, 4)) @ weights  # of each image's own cross-entropy
    assert found.item() == pytest.approx(sum(row @ row for row in slopes.detach()).item() / 5)


def test_input_gradient_is_that_of_finite_differences():
    net, x, y = tiny(), wave(2, 1, 4, 4), torch.tensor([1, 3])
    step, total = 1e-6, 0.0
    for place in torch.eye(16, dtype=torch.float64).view(16, 1, 4, 4):
        up, down = (F.cross_entropy(net(x + sign * step * place), y, reduction="none") for sign in (1, -1))
        total += ((up - down) / (2 * step)).square().mean().item()
    found = penalties(net, x, y, RegularizationSpec(input_gradient=2.0), generator=torch_generator(0))
    assert list(found) == ["input_gradient"]
    assert found["input_gradient"].item() == pytest.approx(2 * total, rel=1e-6)


def jacobians(net, x):
    """(B, K, pixels), image by image."""
    return torch.stack([torch.func.jacrev(lambda image: net(image[None])[0])(image) for image in x]).flatten(
        2
    )


def test_jacobian_is_projected_in_the_directions_drawn():
    net, x = tiny(), wave(3, 1, 4, 4).requires_grad_()
    found = squared_jacobian(net(x), x, projections=2, generator=torch_generator(7))
    generator, expected = torch_generator(7), 0.0
    for _ in range(2):
        directions = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        directions = directions / directions.norm(dim=1, keepdim=True)
        for direction, jacobian in zip(directions, jacobians(net, x.detach()), strict=True):
            expected += 4 / 2 * (direction @ jacobian).square().sum().item() / 3
    assert found.item() == pytest.approx(expected)


def test_many_directions_give_the_squared_norm_of_the_jacobian():
    net, x = tiny(), wave(3, 1, 4, 4).requires_grad_()
    found = squared_jacobian(net(x), x, projections=1000, generator=torch_generator(0))
    expected = jacobians(net, x.detach()).square().sum(dim=(1, 2)).mean()
    assert found.item() == pytest.approx(expected.item(), rel=0.03)


@pytest.mark.parametrize("meet", [False, True], ids=["alone", "batch statistics"])
def test_derivatives_for_the_weights_are_those_of_finite_differences(meet):
    net, x, y = tiny(meet=meet).train(), wave(3, 1, 4, 4), torch.tensor([0, 2, 1])
    names, values = zip(
        *[(n, p.detach().clone().requires_grad_()) for n, p in net.named_parameters()], strict=True
    )

    class Called(nn.Module):
        def forward(self, *weights):
            for name, weight in zip(names, weights, strict=True):
                owner, _, last = name.rpartition(".")
                module = net.get_submodule(owner)
                module._parameters.pop(last, None)
                setattr(module, last, weight)
            found = penalties(net, x, y, BOTH, generator=torch_generator(0))
            return found["input_gradient"], found["jacobian"]

    assert torch.autograd.gradcheck(Called(), values, atol=1e-6)


def gradients(net, x, y):
    torch.manual_seed(5)  # of dropout
    found = penalties(net, x, y, BOTH, generator=torch_generator(0))
    sum(found.values()).backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("architecture", "side"),
    [
        (LeNet(width=0.1, activation="smooth_relu"), 8),
        (SmallCnn(width=4, depth=3, activation="softplus"), 8),
        (AlexNet(width=1 / 32, activation="silu"), 64),
    ],
    ids=["apart", "batch statistics", "dropout"],
)
@pytest.mark.parametrize("parts", [2, 4])
def test_layers_in_parts_have_the_same_derivatives(architecture, side, parts):
    x = torch.rand(6, 1, side, side, generator=torch_generator(1))
    y = torch.arange(6) % 4
    results = []
    for number in (1, parts):
        net = build_network(architecture, (1, side, side), (Task.main("abcd"),), seed=0).train()
        net.parts = number
        results.append(gradients(net, x, y))
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_attention_of_a_trunk_in_parts_is_computed_again_as_it_was(few):
    """Its fast kernels have no second derivatives, and keep other things than the one that has them."""
    denoised = DefenseSpec(denoise=EmbeddedGaussian(after=(1, 2)))
    found = []
    for parts in (1, 4):
        trainer = Trainer(replace(spec(), defenses=denoised), few, seed=0, parts=parts)
        trainer.penalize(few.x, few.y)
        found.append({name: p.grad for name, p in trainer.net.named_parameters() if p.grad is not None})
    assert any(gradient.abs().sum() > 0 for name, gradient in found[0].items() if "norm" in name)
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_a_layer_that_cuts_the_graph_costs_no_penalty():
    class Threshold(nn.Module):
        def forward(self, x):
            return (x > 0.5).to(x.dtype)

    net = tiny()
    net.guard = nn.Sequential(Threshold())
    found = gradients(net, wave(3, 1, 4, 4), torch.tensor([0, 2, 1]))
    assert not any(gradient.any() for gradient in found.values())


def test_statistics_do_not_learn_from_the_pass(few):
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), (Task.main("abcdefghij"),), seed=0).train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    gradients(net, few.x, few.y)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_parts_of_the_loss_are_the_weighted_penalties_of_clean_images(few):
    candidate = spec(attack=Pgd(eps=0.3, steps=1))
    trainer = Trainer(candidate, few, seed=4)
    expected = penalties(trainer.net, few.x, few.y, BOTH, generator=trainer.directions)
    trainer.begin(1)
    loss, _, parts = trainer.step(few.x, few.y)
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value.item(), rel=1e-5)
    assert loss.item() == pytest.approx(sum(parts.values()).item(), rel=1e-6)


def test_a_step_goes_down_the_whole_loss(few):
    """The gradients of penalties and loss are those of their sum."""
    candidate = spec(optimizer=OptimizerSpec(lr=0.1, momentum=0, weight_decay=0, schedule="constant"))
    trainer, twin = (Trainer(candidate, few, seed=4) for _ in range(2))
    trainer.step(few.x, few.y)
    added = penalties(twin.net, few.x, few.y, BOTH, generator=twin.directions)
    (F.cross_entropy(twin.net(few.x), few.y) + sum(added.values())).backward()
    for (name, new), old in zip(trainer.net.named_parameters(), twin.net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * old.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_mixed_precision_leaves_the_penalties_in_float32(few):
    values = []
    for precision in ("fp32", "bf16"):
        trainer = Trainer(spec(numerics=NumericsSpec(precision)), few, seed=4)
        values.append(trainer.step(few.x, few.y)[2])
    for name in ("input_gradient", "jacobian"):
        assert values[1][name].dtype == torch.float32
        assert values[1][name].item() == pytest.approx(values[0][name].item(), rel=1e-5)


def test_without_weights_nothing_is_computed(few, monkeypatch):
    monkeypatch.setattr(sys.modules[Trainer.__module__], "penalties", None)
    (row,) = train(spec(RegularizationSpec(projections=3)), few, seed=0).history
    assert list(row.parts) == ["cross_entropy"]


@pytest.mark.rotated(2)
@pytest.mark.parametrize(("name", "weight"), [("input_gradient", 0.3), ("jacobian", 0.03)])
def test_a_network_trained_with_it_is_less_steep_and_still_right(few, name, weight):
    found = []
    for value in (0.0, weight):
        candidate = spec(
            RegularizationSpec(**{name: value}),
            epochs=30,
            batch_size=24,
            architecture=SmallCnn(width=8, depth=3),
        )
        net = train(candidate, few, seed=0).net
        assert (net(few.x).argmax(dim=1) == few.y).float().mean() > 0.8
        weights = RegularizationSpec(input_gradient=1, jacobian=1, projections=4)
        measured = penalties(net, few.x, few.y, weights, generator=torch_generator(0))
        found.append({key: value.item() for key, value in measured.items()})
    without, with_it = found
    assert with_it[name] < without[name]
    assert with_it["jacobian"] < 0.5 * without["jacobian"]


SMOOTHING = 0.3


def smoothed(logits, y):
    log_p = logits.log_softmax(dim=1)
    own = -log_p[torch.arange(len(y)), y].mean()
    return (1 - SMOOTHING) * own + SMOOTHING * -log_p.mean()


def outputs(seed):
    generator = torch_generator(seed)
    return Outputs(torch.randn(6, 5, generator=generator), (2 * torch.randn(6, 4, generator=generator),))


Y = torch.tensor([0, 1, 2, 3, 3, 0])
CLEAN, ADVERSARIAL = outputs(0), outputs(1)
WHOSE = {
    "cross_entropy": (CrossEntropy(), (ADVERSARIAL,)),
    "trades": (Trades(), (CLEAN,)),
    "mart": (Mart(), (ADVERSARIAL,)),
    "alp": (Alp(), (CLEAN, ADVERSARIAL)),
    "alp, adversarial": (Alp(images="adversarial"), (ADVERSARIAL,)),
    "loat": (Loat(base=Trades()), (CLEAN,)),
    "morel": (
        Morel(base=Loat(base=Alp()), k1=0.5, k2=1.0, scalarization="weighted_sum"),
        (CLEAN, ADVERSARIAL),
    ),
}


@pytest.mark.parametrize("name", WHOSE)
def test_labels_are_smoothed_in_the_cross_entropy_of_every_loss(name):
    loss, whose = WHOSE[name]
    torch.manual_seed(0)
    criterion = loss.criterion(5)
    before = criterion(CLEAN, ADVERSARIAL, (Y,)).total
    criterion.follow(loss, smoothing=SMOOTHING)
    after = criterion(CLEAN, ADVERSARIAL, (Y,)).total
    expected = sum(smoothed(o.logits[0], Y) - F.cross_entropy(o.logits[0], Y) for o in whose) / len(whose)
    assert abs(expected) > 0.01
    assert (after - before).item() == pytest.approx(expected.item(), abs=1e-5)


def test_all_losses_of_the_package_take_smoothed_labels():
    for name in LOSSES:
        assert spec(RegularizationSpec(label_smoothing=0.1), loss=LOSSES.get(name)())


def test_labels_of_auxiliary_tasks_are_smoothed_too(few):
    rows = [
        Trainer(spec(RegularizationSpec(label_smoothing=s), auxiliary=("odd_even",)), few, seed=4).step(
            few.x, few.y
        )
        for s in (0.0, SMOOTHING)
    ]
    net = Trainer(spec(auxiliary=("odd_even",)), few, seed=4).net
    main, odd = net.outputs(few.x).logits
    parts = rows[1][2]
    assert parts["cross_entropy"].item() == pytest.approx(smoothed(main, few.y).item(), rel=1e-5)
    y = Digits(auxiliary=("odd_even",)).tasks[1].labels(few.y)
    assert parts["auxiliary"].item() == pytest.approx(smoothed(odd, y).item(), rel=1e-5)
    assert rows[0][2]["auxiliary"].item() == pytest.approx(F.cross_entropy(odd, y).item(), rel=1e-5)


@dataclass(frozen=True)
class Own(Stateless):
    """A user's loss, written before there were smoothed labels."""

    needs_clean: ClassVar[bool] = False

    def terms(self, clean, adversarial, labels):
        return Terms.sum(own=F.multi_margin_loss(adversarial.logits[0], labels[0]))


@pytest.mark.parametrize(
    "wrap", [lambda loss: loss, lambda loss: Loat(base=loss), lambda loss: Morel(base=loss)]
)
def test_a_loss_without_a_cross_entropy_refuses_smoothed_labels(few, monkeypatch, wrap):
    monkeypatch.setattr(LOSSES, "_classes", dict(LOSSES._classes))
    LOSSES.register("own")(Own)
    with pytest.raises(SpecError, match=r"label_smoothing: got 0\.1, but the loss '(own|loat|morel)' has no"):
        spec(RegularizationSpec(label_smoothing=0.1), loss=wrap(Own()))
    assert train(spec(BOTH, loss=wrap(Own())), few, seed=0).history[0].parts["own"] > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("input_gradient", -1),
        ("jacobian", -1),
        ("projections", 0),
    ],
)
def test_values_out_of_range_are_refused_at_their_place(field, value):
    tree = to_tree(spec(), CandidateSpec)
    tree["training"]["regularization"] = {field: value}
    with pytest.raises(SpecError, match=rf"training\.regularization\.{field}: got {value}"):
        build(CandidateSpec, tree)


def test_a_candidate_without_regularization_is_written_as_ever():
    assert "regularization" not in to_tree(spec(RegularizationSpec()), CandidateSpec)["training"]
    written = to_tree(spec(BOTH), CandidateSpec)
    assert written["training"]["regularization"]["jacobian"] == 0.3
    assert build(CandidateSpec, written) == spec(BOTH)
