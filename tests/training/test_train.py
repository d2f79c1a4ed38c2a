import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moosearch.attacks import perturb
from moosearch.attacks.gradient import Fgsm, NoAttack, Pgd
from moosearch.attacks.multitask import Mixed
from moosearch.data import Split, labels_of
from moosearch.data.augment import Augmentation
from moosearch.data.digits import Digits
from moosearch.errors import EvaluationError
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.losses.classification import Trades
from moosearch.models.alexnet import AlexNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import derive_seed, torch_generator
from moosearch.training import CandidateSpec, Training, numerics, train
from moosearch.training.numerics import NumericsSpec
from moosearch.training.optimizer import make_average, make_optimizer, make_schedule
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec
from moosearch.training.train import Trainer

AUXILIARY = ("odd_even", "prime_composite")


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def few(digits):
    return Split(digits.train.x[:96], digits.train.y[:96])


def spec(*, auxiliary=(), optimizer=None, **training):
    """A small candidate; by default one natural epoch in one batch of at most 96 images."""
    options = {"epochs": 1, "batch_size": 96, "attack": NoAttack()} | training
    training_spec = TrainingSpec(**options, optimizer=optimizer or OptimizerSpec(lr=0.1, schedule="constant"))
    return CandidateSpec(Digits(auxiliary=auxiliary), SmallCnn(width=4, depth=2), training_spec)


def fit(candidate, images, *, seed):
    """Train without validation: the network and the history."""
    trained = train(candidate, images, seed=seed)
    return trained.net, trained.history


def same_weights(first, second):
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def at_start(candidate, images, seed):
    """The network as training starts with it."""
    net = candidate.build_network(derive_seed(seed, "initialization"))
    net.normalize.fit(*images.moments())
    return net.train()


@pytest.mark.parametrize("attack", [Pgd(steps=2), Mixed(steps=2)], ids=["pgd", "mixed"])
def test_seed_decides_every_bit_of_the_weights_and_the_global_generator_none(few, attack):
    candidate = spec(auxiliary=AUXILIARY, epochs=2, batch_size=32, attack=attack)
    torch.manual_seed(1)
    first, history = fit(candidate, few, seed=0)
    torch.manual_seed(2)
    again, history_again = fit(candidate, few, seed=0)
    other, _ = fit(candidate, few, seed=1)
    assert same_weights(first, again)
    assert history == history_again
    assert not same_weights(first, other)


def test_training_leaves_the_global_generator_and_the_images_alone(few):
    state, x = torch.get_rng_state(), few.x.clone()
    train(spec(attack=Pgd(steps=2), batch_size=32), few, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(few.x, x)


def test_first_step_is_that_of_nesterov_sgd_on_the_loss_of_the_batch(few):
    candidate = spec(optimizer=OptimizerSpec(lr=0.1, momentum=0.5, weight_decay=0, schedule="constant"))
    trained, _ = fit(candidate, few, seed=4)
    net = at_start(candidate, few, seed=4)
    F.cross_entropy(net(few.x), few.y).backward()
    for (name, new), old in zip(trained.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * 1.5 * old.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_auxiliary_tasks_are_added_with_their_weight(few):
    candidate = spec(auxiliary=AUXILIARY, auxiliary_weight=0.3)
    _, (row,) = fit(candidate, few, seed=4)
    logits = at_start(candidate, few, seed=4).outputs(few.x).logits
    main, odd, prime = (
        F.cross_entropy(z, y).item()
        for z, y in zip(logits, labels_of(candidate.dataset.tasks, few.y), strict=True)
    )
    assert row.loss == pytest.approx(main + 0.3 * (odd + prime), rel=1e-5)
    assert row.robust_accuracy == pytest.approx(
        (logits[0].argmax(dim=1) == few.y).float().mean().item(), abs=1e-6
    )


def test_auxiliary_tasks_of_weight_zero_change_nothing(few):
    alone, _ = fit(spec(epochs=2, batch_size=32), few, seed=0)
    muted, _ = fit(spec(auxiliary=AUXILIARY, auxiliary_weight=0.0, epochs=2, batch_size=32), few, seed=0)
    heard, _ = fit(spec(auxiliary=AUXILIARY, epochs=2, batch_size=32), few, seed=0)
    torch.testing.assert_close(muted(few.x), alone(few.x))
    assert not torch.allclose(heard(few.x), alone(few.x), atol=1e-3)


def test_loss_is_taken_on_the_perturbed_images(few):
    candidate = spec(attack=Fgsm(eps=0.2))
    _, (row,) = fit(candidate, few, seed=4)
    net = at_start(candidate, few, seed=4)
    x_adv = perturb(Fgsm(eps=0.2), net, few.x, (few.y,), generator=torch_generator(0))
    logits = net(x_adv)
    assert row.loss == pytest.approx(F.cross_entropy(logits, few.y).item(), rel=1e-4)
    assert row.loss != pytest.approx(F.cross_entropy(net(few.x), few.y).item(), rel=1e-3)


def test_trades_gets_the_clean_and_the_perturbed_outputs_in_this_order(few):
    candidate = spec(attack=Fgsm(eps=0.2), loss=Trades(beta=5.0))
    _, (row,) = fit(candidate, few, seed=4)
    net = at_start(candidate, few, seed=4)
    x_adv = perturb(Fgsm(eps=0.2), net, few.x, (few.y,), generator=torch_generator(0))
    with torch.no_grad():
        p, q = net(few.x).softmax(dim=1), net(x_adv).softmax(dim=1)
    rows = torch.arange(len(few))
    expected = (-p[rows, few.y].log() + 5 * (p * (p / q).log()).sum(dim=1)).mean().item()
    swapped = (-q[rows, few.y].log() + 5 * (q * (q / p).log()).sum(dim=1)).mean().item()
    assert row.loss == pytest.approx(expected, rel=1e-4)
    assert row.loss != pytest.approx(swapped, rel=1e-3)


def test_batch_normalization_learns_from_training_batches_and_not_from_attacks(few):
    candidate = spec(attack=Pgd(eps=0.2, steps=5))
    trained, _ = fit(candidate, few, seed=0)
    norms = [m for m in trained.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_batches_tracked.item() for m in norms] == [1, 1]


def test_trained_network_is_in_eval_mode_and_its_parameters_are_trainable(few):
    net, _ = fit(spec(attack=Pgd(steps=1)), few, seed=0)
    assert not any(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_normalization_takes_the_statistics_of_the_training_images(few):
    net, _ = fit(spec(), few, seed=0)
    assert net.normalize.mean.item() == pytest.approx(few.x.mean().item(), rel=1e-5)
    assert net.normalize.std.item() == pytest.approx(few.x.std().item(), rel=1e-5)


def test_loss_falls_and_the_history_has_a_row_an_epoch(few):
    candidate = spec(epochs=20, batch_size=32, attack=Pgd(eps=0.05, steps=2))
    _, history = fit(candidate, few, seed=0)
    assert [row.epoch for row in history] == list(range(1, 21))
    assert history[-1].loss < 0.8 * history[0].loss
    assert history[-1].robust_accuracy > history[0].robust_accuracy
    assert all(0 <= row.robust_accuracy <= 1 for row in history)


def test_last_batch_of_a_single_image_is_left_out(few):
    images = Split(few.x[:65], few.y[:65])
    net, history = fit(spec(batch_size=32, epochs=2), images, seed=0)
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 4
    assert len(history) == 2


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step", "constant"])
def test_every_schedule_survives_a_training_of_one_step(few, schedule):
    _, history = fit(spec(optimizer=OptimizerSpec(schedule=schedule)), few, seed=0)
    assert len(history) == 1


def test_diverged_training_raises_an_evaluation_error(few):
    candidate = spec(epochs=3, batch_size=32, optimizer=OptimizerSpec(lr=1e20, schedule="constant"))
    with pytest.raises(EvaluationError, match="diverged"):
        fit(candidate, few, seed=0)


def rates(optimizer_spec, steps):
    """Learning rate of each step, as training takes them."""
    optimizer = make_optimizer([nn.Linear(2, 2)], optimizer_spec)
    schedule = make_schedule(optimizer, optimizer_spec, epochs=10, steps=steps // 10)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return used


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_cosine_starts_at_the_largest_rate_and_ends_at_zero(kind):
    used = rates(OptimizerSpec(kind=kind, lr=0.2, schedule="cosine"), 50)
    assert used == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 50)) for step in range(50)])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_one_cycle_rises_for_thirty_percent_and_falls_to_nothing(kind):
    used = rates(OptimizerSpec(kind=kind, lr=0.2, schedule="one_cycle"), 100)
    top = used.index(max(used))
    assert used[0] == pytest.approx(0.2 / 25)
    assert max(used) == pytest.approx(0.2, rel=1e-3)
    assert 28 <= top <= 31
    assert used[: top + 1] == sorted(used[: top + 1])
    assert used[top:] == sorted(used[top:], reverse=True)
    assert used[-1] < 0.002


def test_step_falls_after_its_shares_of_the_epochs():
    used = rates(OptimizerSpec(lr=0.2, schedule="step", milestones=(0.5, 0.9), decay=0.1), 100)
    assert used == pytest.approx([0.2] * 50 + [0.02] * 40 + [0.002] * 10)


def test_constant_rate_stays():
    assert rates(OptimizerSpec(lr=0.2, schedule="constant"), 20) == [0.2] * 20


def test_one_cycle_leaves_momentum_alone():
    optimizer_spec = OptimizerSpec(momentum=0.7, schedule="one_cycle")
    optimizer = make_optimizer([nn.Linear(2, 2)], optimizer_spec)
    make_schedule(optimizer, optimizer_spec, epochs=2, steps=5)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_history_tells_the_rate_of_the_last_step_of_each_epoch(few):
    optimizer = OptimizerSpec(lr=0.2, schedule="cosine")
    _, history = fit(spec(epochs=2, batch_size=32, optimizer=optimizer), few, seed=0)
    expected = [0.1 * (1 + math.cos(math.pi * step / 6)) for step in (2, 5)]
    assert [row.lr for row in history] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_matrices_and_nothing_else(kind):
    net = spec().build_network(0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = make_optimizer([net], OptimizerSpec(kind=kind, lr=0.1, momentum=0.0, weight_decay=0.2))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert shrunk == {"trunk.0.weight", "trunk.3.weight", "heads.0.weight"}
    for name in shrunk:
        torch.testing.assert_close(net.get_parameter(name), before[name] * (1 - 0.1 * 0.2))


def test_optimizer_moves_every_parameter_once():
    net = spec(auxiliary=AUXILIARY).build_network(0)
    optimizer = make_optimizer([net], OptimizerSpec())
    moved = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in net.parameters())


def test_sgd_without_momentum_is_allowed(few):
    optimizer = OptimizerSpec(momentum=0.0, schedule="constant")
    assert len(fit(spec(optimizer=optimizer), few, seed=0)[1]) == 1


def test_mean_of_the_task_losses_by_name(few):
    total, mean = (
        fit(spec(auxiliary=AUXILIARY, task_losses=kind), few, seed=4)[1][0].loss for kind in ("sum", "mean")
    )
    assert mean == pytest.approx(total / 3)


def test_parts_of_the_loss_are_in_the_history(few):
    _, (row,) = fit(spec(attack=Fgsm(eps=0.2), loss=Trades(beta=5.0)), few, seed=4)
    assert sum(row.parts.values()) == pytest.approx(row.loss)
    assert {f"loss_{name}" for name in row.parts} < set(row.row())


def test_dropout_is_decided_by_the_seed_alone(few):
    alexnet = AlexNet(width=1 / 32, dropout=0.5)
    images = Split(torch.rand(8, 1, 64, 64, generator=torch_generator(0)), few.y[:8])
    states = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        candidate = replace(spec(), dataset=Digits(size=64), architecture=alexnet)
        trainer = Trainer(candidate, images, seed=seed)
        trainer.net.load_state_dict(Trainer(candidate, images, seed=0).net.state_dict())
        trainer.epoch(1, images, torch_generator(0))
        states.append(trainer.net)
    assert same_weights(states[0], states[1])
    assert not same_weights(states[0], states[2])


def validated(digits, *, checkpoint="best", every=1, **training):
    candidate = spec(
        epochs=4,
        batch_size=32,
        checkpoint=checkpoint,
        validation=ValidationSpec(every=every, images=40),
        **training,
    )
    return train(candidate, Split(digits.train.x[:96], digits.train.y[:96]), digits.val, seed=3)


def test_best_checkpoint_is_the_first_of_the_highest_robust_accuracy(digits):
    trained = validated(digits, attack=Pgd(eps=0.1, step=0.1, steps=2), optimizer=OptimizerSpec(lr=0.8))
    robust = [row.validation["robust_accuracy"] for row in trained.history]
    assert trained.best == robust.index(max(robust)) + 1
    assert set(trained.states) == {"best", "last"}
    assert all(torch.equal(v, trained.states["best"][k]) for k, v in trained.net.state_dict().items())
    same = validated(
        digits, checkpoint="last", attack=Pgd(eps=0.1, step=0.1, steps=2), optimizer=OptimizerSpec(lr=0.8)
    )
    assert all(torch.equal(v, same.states["last"][k]) for k, v in same.net.state_dict().items())
    assert same.best == trained.best


def test_best_checkpoint_is_what_training_was_at_that_epoch(digits):
    """The weights kept are a copy: later epochs do not move them."""
    trained = validated(digits, attack=NoAttack())
    images = Split(digits.val.x[:40], digits.val.y[:40])
    again = fraction(correct_clean(trained.net, images))
    assert again == trained.history[trained.best - 1].validation["clean_accuracy"]


def test_validation_happens_every_so_often_and_at_the_end(digits):
    trained = validated(digits, every=3)
    assert [bool(row.validation) for row in trained.history] == [False, False, True, True]
    assert not any(row.validation for row in validated(digits, every=0).history)
    assert validated(digits, every=0).best == 4


def test_validation_does_not_change_the_training(digits):
    weights = [validated(digits, every=every).states["last"] for every in (0, 1)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_epochs_come_one_by_one(few):
    training = Training(spec(epochs=2), few, seed=0)
    assert [training.epoch().epoch, training.finished] == [1, False]
    assert [training.epoch().epoch, training.finished] == [2, True]


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_parts_hold_for_the_attack_validation_and_what_comes_out(few, average):
    training = Training(spec(attack=Pgd(steps=1), average=average), few, few, seed=0, parts=4)
    trainer = training._trainer
    assert trainer.net.parts == trainer.frozen.parts == trainer.judged.parts == 4
    training.epoch()
    assert training.trained().net.parts == 4
    assert train(spec(), few, seed=0).net.parts == 1


def test_moving_average_of_weights_is_what_is_judged(few):
    """Twin: the exponential average, started at the first step's weights, with a decay that warms up."""
    plain = spec(epochs=3, batch_size=32)
    images = Split(few.x[:32], few.y[:32])
    expected = None
    trainer = Trainer(plain, images, seed=0)
    order = torch_generator(derive_seed(0, "order"))
    for number in range(1, 4):
        trainer.epoch(number, images, order)
        now = {name: p.detach().clone() for name, p in trainer.net.named_parameters()}
        decay = min(0.2, number / (9 + number))
        expected = (
            now if expected is None else {k: decay * v + (1 - decay) * now[k] for k, v in expected.items()}
        )
    averaged, _ = fit(spec(epochs=3, batch_size=32, average=0.2), images, seed=0)
    for name, parameter in averaged.named_parameters():
        torch.testing.assert_close(parameter, expected[name], msg=name)
    assert make_average(nn.Linear(1, 1), 0.0) is None


def test_a_slow_average_does_not_spoil_a_short_training(digits):
    candidate = spec(epochs=5, batch_size=64, average=0.999, optimizer=OptimizerSpec(schedule="one_cycle"))
    averaged = train(candidate, digits.train, seed=0)
    assert fraction(correct_clean(averaged.net, digits.val)) > 0.6


def test_network_that_diverges_in_its_last_step_fails(few):
    candidate = spec(checkpoint="last", optimizer=OptimizerSpec(lr=1e30, schedule="constant"))
    net, _ = fit(candidate, few, seed=0)
    with pytest.raises(EvaluationError, match="not finite"):
        correct_clean(net, few)


def test_augmentation_varies_the_images_of_every_epoch(few):
    seen = []

    class Spy(Augmentation):
        def __call__(self, x, generator):
            seen.append(super().__call__(x, generator))
            return seen[-1]

    images = Split(few.x[:8], few.y[:8])
    fit(spec(epochs=2, augmentation=Spy(crop=2, flip=True)), images, seed=0)
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])


def test_attack_in_train_mode_meets_batch_statistics_and_leaves_them_alone(few):
    eval_mode, train_mode = (
        fit(spec(attack=Pgd(eps=0.2, steps=2, mode=mode)), few, seed=0)[0] for mode in ("eval", "train")
    )
    norms = [m for m in train_mode.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_batches_tracked.item() for m in norms] == [1, 1]
    assert not same_weights(eval_mode, train_mode)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numerics_change_the_weights_by_rounding_only(few, precision, memory_format):
    reference, (first,) = fit(spec(numerics=NumericsSpec("fp32", "contiguous")), few, seed=0)
    net, (row,) = fit(spec(numerics=NumericsSpec(precision, memory_format)), few, seed=0)
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    assert row.loss == pytest.approx(first.loss, rel=tolerance)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    assert all(p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("wanted", [True, False])
def test_trunk_and_twin_are_compiled_on_demand(few, monkeypatch, wanted):
    compiled = []

    def spy(module):
        compiled.append(module)

    monkeypatch.setattr(nn.Module, "compile", spy)
    trainer = Trainer(spec(attack=Pgd(steps=1), numerics=NumericsSpec(compile=wanted)), few, seed=0)
    assert compiled == ([trainer.net.trunk, trainer.frozen.trunk] if wanted else [])


@pytest.mark.parametrize(("side", "dtype"), [(8, torch.float32), (32, torch.bfloat16)])
def test_automatic_precision_is_bf16_where_it_pays(monkeypatch, side, dtype):
    monkeypatch.setattr(numerics, "has_bf16", lambda _: True)
    chosen = NumericsSpec().on(torch.device("cpu"), (3, side, side))
    assert (chosen.dtype, chosen.memory_format) == (dtype, torch.channels_last)
    monkeypatch.setattr(numerics, "has_bf16", lambda _: False)
    assert NumericsSpec().on(torch.device("cpu"), (3, side, side)).dtype == torch.float32


@pytest.fixture(scope="module")
def measured(digits):
    """Clean and PGD accuracy on validation digits of an adversarial and a natural training, same budget."""
    training = TrainingSpec(
        epochs=5,
        attack=Pgd(eps=0.1, step=0.05, steps=3),
        optimizer=OptimizerSpec(lr=0.1, schedule="one_cycle"),
    )
    judge = Pgd(eps=0.1, step=0.025, steps=10, objective="margin")
    results = {}
    for name, attack in (("adversarial", training.attack), ("natural", NoAttack())):
        candidate = CandidateSpec(Digits(), SmallCnn(width=8, depth=4), replace(training, attack=attack))
        net, _ = fit(candidate, digits.train, seed=0)
        robust = correct_under(net, digits.val, candidate.dataset.tasks, [judge], seed=1)
        results[name] = fraction(correct_clean(net, digits.val)), fraction(robust)
    return results


def test_short_adversarial_training_learns_digits(measured):
    clean, robust = measured["adversarial"]
    assert clean > 0.85
    assert 0.6 < robust <= clean


def test_natural_training_is_accurate_but_less_robust(measured):
    clean, robust = measured["natural"]
    assert clean > 0.85
    assert robust < measured["adversarial"][1] - 0.1


def test_a_trunk_that_looks_at_nothing_can_be_checked(few):
    """Its features depend neither on images nor on weights: there is nothing to differentiate."""

    class Blind(nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)

    trainer = Trainer(spec(), few, seed=0)
    trainer.net.trunk = Blind()
    assert trainer._fault(len(few)) == ""
