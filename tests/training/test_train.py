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
from moosearch.data.digits import Digits
from moosearch.errors import EvaluationError
from moosearch.losses.classification import Trades
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import derive_seed, torch_generator
from moosearch.training import CandidateSpec, train
from moosearch.training.measure import correct_clean, correct_under, fraction
from moosearch.training.spec import OptimizerSpec, TrainingSpec
from moosearch.training.train import make_optimizer, make_schedule

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


def same_weights(first, second):
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def at_start(candidate, images, seed):
    """The network as training starts with it."""
    net = candidate.build_network(derive_seed(seed, "initialization"))
    net.normalize.fit(images.x)
    return net.train()


@pytest.mark.parametrize("attack", [Pgd(steps=2), Mixed(steps=2)], ids=["pgd", "mixed"])
def test_seed_decides_every_bit_of_the_weights_and_the_global_generator_none(few, attack):
    candidate = spec(auxiliary=AUXILIARY, epochs=2, batch_size=32, attack=attack)
    torch.manual_seed(1)
    first, history = train(candidate, few, seed=0)
    torch.manual_seed(2)
    again, history_again = train(candidate, few, seed=0)
    other, _ = train(candidate, few, seed=1)
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
    trained, _ = train(candidate, few, seed=4)
    net = at_start(candidate, few, seed=4)
    F.cross_entropy(net(few.x), few.y).backward()
    for (name, new), old in zip(trained.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * 1.5 * old.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_auxiliary_tasks_are_added_with_their_weight(few):
    candidate = spec(auxiliary=AUXILIARY, auxiliary_weight=0.3)
    _, (row,) = train(candidate, few, seed=4)
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
    alone, _ = train(spec(epochs=2, batch_size=32), few, seed=0)
    muted, _ = train(spec(auxiliary=AUXILIARY, auxiliary_weight=0.0, epochs=2, batch_size=32), few, seed=0)
    heard, _ = train(spec(auxiliary=AUXILIARY, epochs=2, batch_size=32), few, seed=0)
    torch.testing.assert_close(muted(few.x), alone(few.x))
    assert not torch.allclose(heard(few.x), alone(few.x), atol=1e-3)


def test_loss_is_taken_on_the_perturbed_images(few):
    candidate = spec(attack=Fgsm(eps=0.2))
    _, (row,) = train(candidate, few, seed=4)
    net = at_start(candidate, few, seed=4)
    x_adv = perturb(Fgsm(eps=0.2), net, few.x, (few.y,), generator=torch_generator(0))
    logits = net(x_adv)
    assert row.loss == pytest.approx(F.cross_entropy(logits, few.y).item(), rel=1e-4)
    assert row.loss != pytest.approx(F.cross_entropy(net(few.x), few.y).item(), rel=1e-3)


def test_trades_gets_the_clean_and_the_perturbed_outputs_in_this_order(few):
    candidate = spec(attack=Fgsm(eps=0.2), loss=Trades(beta=5.0))
    _, (row,) = train(candidate, few, seed=4)
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
    trained, _ = train(candidate, few, seed=0)
    norms = [m for m in trained.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_batches_tracked.item() for m in norms] == [1, 1]


def test_trained_network_is_in_eval_mode_and_its_parameters_are_trainable(few):
    net, _ = train(spec(attack=Pgd(steps=1)), few, seed=0)
    assert not any(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_normalization_takes_the_statistics_of_the_training_images(few):
    net, _ = train(spec(), few, seed=0)
    assert net.normalize.mean.item() == pytest.approx(few.x.mean().item(), rel=1e-5)
    assert net.normalize.std.item() == pytest.approx(few.x.std().item(), rel=1e-5)


def test_loss_falls_and_the_history_has_a_row_an_epoch(few):
    candidate = spec(epochs=20, batch_size=32, attack=Pgd(eps=0.05, steps=2))
    _, history = train(candidate, few, seed=0)
    assert [row.epoch for row in history] == list(range(1, 21))
    assert history[-1].loss < 0.8 * history[0].loss
    assert history[-1].robust_accuracy > history[0].robust_accuracy
    assert all(0 <= row.robust_accuracy <= 1 for row in history)


def test_last_batch_of_a_single_image_is_left_out(few):
    images = Split(few.x[:65], few.y[:65])
    net, history = train(spec(batch_size=32, epochs=2), images, seed=0)
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 4
    assert len(history) == 2


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant"])
def test_every_schedule_survives_a_training_of_one_step(few, schedule):
    _, history = train(spec(optimizer=OptimizerSpec(schedule=schedule)), few, seed=0)
    assert len(history) == 1


def test_diverged_training_raises_an_evaluation_error(few):
    candidate = spec(epochs=3, batch_size=32, optimizer=OptimizerSpec(lr=1e20, schedule="constant"))
    with pytest.raises(EvaluationError, match="diverged"):
        train(candidate, few, seed=0)


def rates(optimizer_spec, steps):
    """Learning rate of each step, as training takes them."""
    optimizer = make_optimizer(nn.Linear(2, 2), optimizer_spec)
    schedule = make_schedule(optimizer, optimizer_spec, steps)
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


def test_constant_rate_stays():
    assert rates(OptimizerSpec(lr=0.2, schedule="constant"), 20) == [0.2] * 20


def test_one_cycle_leaves_momentum_alone():
    optimizer_spec = OptimizerSpec(momentum=0.7, schedule="one_cycle")
    optimizer = make_optimizer(nn.Linear(2, 2), optimizer_spec)
    make_schedule(optimizer, optimizer_spec, 10)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_history_tells_the_rate_of_the_last_step_of_each_epoch(few):
    optimizer = OptimizerSpec(lr=0.2, schedule="cosine")
    _, history = train(spec(epochs=2, batch_size=32, optimizer=optimizer), few, seed=0)
    expected = [0.1 * (1 + math.cos(math.pi * step / 6)) for step in (2, 5)]
    assert [row.lr for row in history] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_matrices_and_nothing_else(kind):
    net = spec().build_network(0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = make_optimizer(net, OptimizerSpec(kind=kind, lr=0.1, momentum=0.0, weight_decay=0.2))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert shrunk == {"trunk.0.weight", "trunk.3.weight", "heads.0.weight"}
    for name in shrunk:
        torch.testing.assert_close(net.get_parameter(name), before[name] * (1 - 0.1 * 0.2))


def test_optimizer_moves_every_parameter_once():
    net = spec(auxiliary=AUXILIARY).build_network(0)
    optimizer = make_optimizer(net, OptimizerSpec())
    moved = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in net.parameters())


def test_sgd_without_momentum_is_allowed(few):
    optimizer = OptimizerSpec(momentum=0.0, schedule="constant")
    assert len(train(spec(optimizer=optimizer), few, seed=0)[1]) == 1


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
        net, _ = train(candidate, digits.train, seed=0)
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
