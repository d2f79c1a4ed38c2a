"""What every loss promises. A new plug-in is covered as soon as it is registered."""

import copy
from dataclasses import replace
from typing import Annotated

import pytest
import torch
from torch import nn

from moosearch.losses import LOSSES, Criterion, Loss
from moosearch.models.network import Outputs
from moosearch.registry import build, field_hints, to_tree
from moosearch.seeding import seeded_torch, torch_generator

HINT = Annotated[Loss, LOSSES]
CLASSES, FEATURES = 10, 16
PHASES = (0.0, 0.5, 0.999)
COMPARES_ROWS = {"morel"}
"""Losses in which an image is compared with the others of its batch, so that repeating it matters."""


@pytest.fixture(params=list(LOSSES))
def loss(request):
    return build(HINT, request.param)


@pytest.fixture(params=PHASES)
def progress(request):
    return request.param


class Network(nn.Module):
    """A trunk, a main head and an auxiliary head."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, FEATURES), nn.Tanh())
        self.main, self.auxiliary = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, 2)

    def outputs(self, x):
        features = self.trunk(x)
        return Outputs(features, (self.main(features), self.auxiliary(features)))


def network():
    with seeded_torch(0):
        return Network()


def criterion_of(loss):
    with seeded_torch(1):
        return loss.criterion(FEATURES)


def batch(size=12, seed=0):
    generator = torch_generator(seed)
    x = torch.rand(size, 1, 8, 8, generator=generator)
    x_adv = (x + 0.2 * torch.rand(x.shape, generator=generator) - 0.1).clamp(0, 1)
    return x, x_adv, torch.randint(0, CLASSES, (size,), generator=generator)


def labels_of(y):
    return y, y % 2


def terms(loss, net, x, x_adv, y, progress=0.0):
    clean = net.outputs(x) if loss.needs_clean else None
    return criterion_of(loss)(clean, net.outputs(x_adv), labels_of(y), progress=progress)


def saturated(y, scale):
    """Outputs that are sure of the label (positive scale) or of another class (negative)."""
    logits = torch.zeros(len(y), CLASSES)
    logits[torch.arange(len(y)), y] = scale
    return Outputs(torch.zeros(len(y), FEATURES), (logits, torch.zeros(len(y), 2)))


def test_its_criterion_is_a_module_of_its_own(loss):
    first, second = criterion_of(loss), criterion_of(loss)
    assert isinstance(first, Criterion)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states), "initialized from the seed"


def test_total_is_a_finite_non_negative_scalar(loss, progress):
    value = terms(loss, network(), *batch(), progress).total
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= 0


def test_progress_may_be_left_out(loss):
    net, (x, x_adv, y) = network(), batch()
    found = criterion_of(loss)(net.outputs(x), net.outputs(x_adv), labels_of(y))
    assert torch.equal(found.total, terms(loss, net, x, x_adv, y, 0.0).total)


def test_batch_of_one(loss, progress):
    assert torch.isfinite(terms(loss, network(), *batch(1), progress).total)


@pytest.mark.parametrize("label", [3, None], ids=["one class", "all classes different"])
def test_batch_without_variety(loss, progress, label):
    x, x_adv, y = batch(CLASSES)
    y = torch.arange(CLASSES) if label is None else torch.full_like(y, label)
    net = network()
    value = terms(loss, net, x, x_adv, y, progress).total
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(p.grad).all() for p in net.trunk.parameters())


@pytest.mark.parametrize("scale", [1e3, -1e3])
@pytest.mark.parametrize("clean_scale", [1e3, -1e3])
def test_very_confident_networks_have_finite_loss_and_gradient(loss, progress, scale, clean_scale):
    y = torch.arange(CLASSES)
    clean, adversarial = saturated(y, clean_scale), saturated(y, scale)
    tensors = [*clean.logits[:1], *adversarial.logits[:1], clean.features, adversarial.features]
    for tensor in tensors:
        tensor.requires_grad_()
    value = criterion_of(loss)(clean, adversarial, labels_of(y), progress=progress).total
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors if tensor.grad is not None)


def test_sure_and_right_costs_less_than_sure_and_wrong(loss, progress):
    y, criterion = torch.arange(CLASSES), criterion_of(loss)
    right, wrong = saturated(y, 20.0), saturated((y + 1) % CLASSES, 20.0)
    cheap, dear = (
        criterion(outputs, outputs, labels_of(y), progress=progress).total for outputs in (right, wrong)
    )
    assert cheap < dear


def test_being_fooled_costs_something(loss, progress):
    y, criterion = torch.arange(CLASSES), criterion_of(loss)
    clean, fooled = saturated(y, 5.0), saturated(y, -5.0)
    cheap, dear = (
        criterion(clean, outputs, labels_of(y), progress=progress).total for outputs in (clean, fooled)
    )
    assert cheap < dear


def test_order_of_the_batch_does_not_matter(loss, progress):
    net, (x, x_adv, y) = network(), batch()
    order = torch.randperm(len(y), generator=torch_generator(1))
    found = terms(loss, net, x[order], x_adv[order], y[order], progress)
    expected = terms(loss, net, x, x_adv, y, progress)
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.parts, expected.parts)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - COMPARES_ROWS))
def test_it_is_a_mean_over_the_batch(name, progress):
    loss, net, (x, x_adv, y) = build(HINT, name), network(), batch()
    twice = terms(loss, net, x.repeat(2, 1, 1, 1), x_adv.repeat(2, 1, 1, 1), y.repeat(2), progress)
    torch.testing.assert_close(twice.total, terms(loss, net, x, x_adv, y, progress).total)


def test_auxiliary_tasks_are_not_its_business(loss, progress):
    net, (x, x_adv, y) = network(), batch()
    clean, adversarial = net.outputs(x), net.outputs(x_adv)
    alone = [Outputs(outputs.features, outputs.logits[:1]) for outputs in (clean, adversarial)]
    expected = criterion_of(loss)(*alone, (y,), progress=progress).total
    found = criterion_of(loss)(clean, adversarial, labels_of(y), progress=progress).total
    assert torch.equal(found, expected)


def test_gradient_reaches_trunk_main_head_and_what_it_adds(loss, progress):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch()
    criterion(net.outputs(x), net.outputs(x_adv), labels_of(y), progress=progress).total.backward()
    for name, parameter in [
        *net.trunk.named_parameters(),
        *net.main.named_parameters(),
        *criterion.named_parameters(),
    ]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.rotated(3)
def test_gradient_is_that_of_the_total(loss, progress):
    """By finite differences: no term is left out or cut off."""
    criterion, y = criterion_of(loss).double(), torch.arange(4) % 3
    shapes = [(4, FEATURES), (4, 3)] * 2
    tensors = [
        torch.randn(shape, generator=torch_generator(seed), dtype=torch.float64).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]

    def total(z, f, z_adv, f_adv):
        return criterion(Outputs(z, (f,)), Outputs(z_adv, (f_adv,)), (y,), progress=progress).total

    assert torch.autograd.gradcheck(total, tensors)


def test_a_few_steps_lower_it(loss, progress):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch(64)
    optimizer = torch.optim.SGD([*net.parameters(), *criterion.parameters()], lr=0.05)
    values = []
    for _ in range(20):
        value = criterion(net.outputs(x), net.outputs(x_adv), labels_of(y), progress=progress).total
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_clean_outputs_are_needed_exactly_where_it_says_so(loss, progress):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch()
    adversarial, labels = net.outputs(x_adv), labels_of(y)
    if loss.needs_clean:
        with pytest.raises(ValueError, match="clean"):
            criterion(None, adversarial, labels, progress=progress)
    else:
        found = [criterion(clean, adversarial, labels, progress=progress) for clean in (None, net.outputs(x))]
        assert torch.equal(found[0].total, found[1].total)


def test_neither_outputs_nor_its_own_state_are_changed(loss, progress):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch()
    clean, adversarial = net.outputs(x), net.outputs(x_adv)
    state, outputs = (
        copy.deepcopy(criterion.state_dict()),
        copy.deepcopy(
            [tensor.detach() for out in (clean, adversarial) for tensor in (out.features, *out.logits)]
        ),
    )
    criterion(clean, adversarial, labels_of(y), progress=progress)
    after = [tensor for out in (clean, adversarial) for tensor in (out.features, *out.logits)]
    assert all(torch.equal(new, old) for new, old in zip(after, outputs, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in criterion.state_dict().items())


def test_parts_are_finite_scalars_without_a_graph_whose_names_stay_the_same(loss):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch()
    found = [
        criterion(net.outputs(x), net.outputs(x_adv), labels_of(y), progress=progress).parts
        for progress in PHASES
    ]
    assert found[0]
    assert all(list(parts) == list(found[0]) for parts in found)
    for name, part in [item for parts in found for item in parts.items()]:
        assert part.shape == (), name
        assert torch.isfinite(part), name
        assert not part.requires_grad, name


def test_a_step_draws_no_random_numbers(loss, progress):
    net, criterion, (x, x_adv, y) = network(), criterion_of(loss), batch()
    before = torch.get_rng_state()
    criterion(net.outputs(x), net.outputs(x_adv), labels_of(y), progress=progress).total.backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_fields_round_trip_through_plain_data(loss):
    assert build(HINT, to_tree(loss, HINT)) == loss


def test_it_follows_other_numbers_and_keeps_its_parameters(loss):
    """A schedule may change its numbers from epoch to epoch, all but those that it calls fixed."""
    criterion, (x, x_adv, y), net = criterion_of(loss), batch(), network()
    before = dict(criterion.named_parameters())
    clean, adversarial = net.outputs(x), net.outputs(x_adv)
    expected = criterion(clean, adversarial, labels_of(y)).total
    criterion.follow(loss, smoothing=0.0)
    assert torch.equal(criterion(clean, adversarial, labels_of(y)).total, expected)
    assert all(parameter is before[name] for name, parameter in criterion.named_parameters())
    numbers = [
        name
        for name in field_hints(type(loss))
        if isinstance(getattr(loss, name), float) and name not in loss.fixed
    ]
    for name in numbers:
        other = replace(loss, **{name: 0.95 * getattr(loss, name)})
        criterion.follow(other, smoothing=0.0)
        for progress in PHASES:
            found = criterion(clean, adversarial, labels_of(y), progress=progress).total
            again = criterion_of(other)(clean, adversarial, labels_of(y), progress=progress).total
            assert torch.equal(found, again), name


def test_it_smooths_labels_where_it_says_so(loss):
    criterion, (x, x_adv, y), net = criterion_of(loss), batch(), network()
    clean, adversarial = net.outputs(x), net.outputs(x_adv)
    before = criterion(clean, adversarial, labels_of(y)).total
    if not loss.smooths:
        pytest.skip("has no cross-entropy")
    criterion.follow(loss, smoothing=0.3)
    assert criterion(clean, adversarial, labels_of(y)).total != before
