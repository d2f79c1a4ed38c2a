"""What every loss promises. A new plug-in is covered as soon as it is registered."""

from typing import Annotated

import pytest
import torch

from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.losses import LOSSES, Loss
from moosearch.models import Outputs, build_network
from moosearch.models.lenet import LeNet
from moosearch.registry import build, to_tree
from moosearch.seeding import torch_generator

TASKS = Digits(auxiliary=("odd_even", "prime_composite")).tasks


@pytest.fixture(params=list(LOSSES))
def loss(request):
    return build(Annotated[Loss, LOSSES], request.param)


def batch(size=12, seed=0):
    generator = torch_generator(seed)
    x = torch.rand(size, 1, 8, 8, generator=generator)
    x_adv = (x + 0.2 * torch.rand(x.shape, generator=generator) - 0.1).clamp(0, 1)
    return x, x_adv, torch.randint(0, 10, (size,), generator=generator)


def network():
    return build_network(LeNet(width=0.1), (1, 8, 8), TASKS, seed=0).eval()


def total(loss, net, x, x_adv, y):
    clean = net.outputs(x) if loss.needs_clean else None
    return loss(clean, net.outputs(x_adv), labels_of(TASKS, y)).total


def saturated(y, scale):
    """Outputs that are sure of the label (positive scale) or of another class (negative)."""
    logits = torch.zeros(len(y), 10)
    logits[torch.arange(len(y)), y] = scale
    auxiliary = tuple(torch.zeros(len(y), task.size) for task in TASKS[1:])
    return Outputs(torch.zeros(len(y), 4), (logits, *auxiliary))


def test_total_is_a_finite_non_negative_scalar(loss):
    value = total(loss, network(), *batch())
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= 0


def test_batch_of_one(loss):
    assert torch.isfinite(total(loss, network(), *batch(1)))


def test_batch_of_one_class(loss):
    x, x_adv, y = batch()
    assert torch.isfinite(total(loss, network(), x, x_adv, torch.full_like(y, 3)))


@pytest.mark.parametrize("scale", [1e3, -1e3])
def test_very_confident_networks_have_finite_loss_and_gradient(loss, scale):
    y = torch.arange(10)
    clean, adversarial = saturated(y, 1e3), saturated(y, scale)
    adversarial.logits[0].requires_grad_()
    value = loss(clean, adversarial, labels_of(TASKS, y)).total
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(adversarial.logits[0].grad).all()


def test_sure_and_right_costs_less_than_sure_and_wrong(loss):
    y = torch.arange(10)
    labels = labels_of(TASKS, y)
    right, wrong = saturated(y, 20.0), saturated((y + 1) % 10, 20.0)
    assert loss(right, right, labels).total < loss(wrong, wrong, labels).total


def test_order_of_the_batch_does_not_matter(loss):
    net, (x, x_adv, y) = network(), batch()
    order = torch.randperm(len(y), generator=torch_generator(1))
    expected = total(loss, net, x, x_adv, y)
    torch.testing.assert_close(total(loss, net, x[order], x_adv[order], y[order]), expected)


def test_it_is_a_mean_over_the_batch(loss):
    net, (x, x_adv, y) = network(), batch()
    twice = total(loss, net, x.repeat(2, 1, 1, 1), x_adv.repeat(2, 1, 1, 1), y.repeat(2))
    torch.testing.assert_close(twice, total(loss, net, x, x_adv, y))


def test_gradient_reaches_trunk_and_main_head(loss):
    net = network()
    total(loss, net, *batch()).backward()
    for name, parameter in [*net.trunk.named_parameters(), *net.heads[0].named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_being_fooled_costs_something(loss):
    y = torch.arange(10)
    clean, fooled = saturated(y, 5.0), saturated(y, -5.0)
    assert loss(clean, clean, labels_of(TASKS, y)).total < loss(clean, fooled, labels_of(TASKS, y)).total


def test_clean_outputs_are_needed_exactly_where_it_says_so(loss):
    net, (x, x_adv, y) = network(), batch()
    adversarial, labels = net.outputs(x_adv), labels_of(TASKS, y)
    if loss.needs_clean:
        with pytest.raises(ValueError, match="clean"):
            loss(None, adversarial, labels)
    else:
        assert torch.equal(
            loss(None, adversarial, labels).total, loss(net.outputs(x), adversarial, labels).total
        )


def test_outputs_are_not_changed(loss):
    net, (x, x_adv, y) = network(), batch()
    clean, adversarial = net.outputs(x), net.outputs(x_adv)
    before = [tensor.clone() for tensor in (*clean.logits, *adversarial.logits)]
    loss(clean, adversarial, labels_of(TASKS, y))
    after = (*clean.logits, *adversarial.logits)
    assert all(torch.equal(new, old) for new, old in zip(after, before, strict=True))


def test_parts_are_finite_scalars_without_a_graph(loss):
    net, (x, x_adv, y) = network(), batch()
    parts = loss(net.outputs(x), net.outputs(x_adv), labels_of(TASKS, y)).parts
    for name, part in parts.items():
        assert part.shape == (), name
        assert torch.isfinite(part), name
        assert not part.requires_grad, name


def test_it_draws_no_random_numbers(loss):
    before = torch.get_rng_state()
    total(loss, network(), *batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_fields_round_trip_through_plain_data(loss):
    hint = Annotated[Loss, LOSSES]
    assert build(hint, to_tree(loss, hint)) == loss
