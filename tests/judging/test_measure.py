from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from moosearch.attacks.gradient import Fgsm, NoAttack, Pgd, uniform_start
from moosearch.attacks.multitask import Mta
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.data.tasks import Task
from moosearch.judging import measure
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.models import RobustNet, build_network
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

TWO = (Task.main(["left", "right"]),)


def left_right_net(threshold=0.5):
    """Says 'right' (1) where the only pixel is above a threshold."""
    net = RobustNet(nn.Flatten(), 1, 1, [2]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.heads[0].bias.copy_(torch.tensor([threshold, 0.0]))
    return net


def pixels(values, labels):
    return Split(torch.tensor(values).reshape(-1, 1, 1, 1), torch.tensor(labels))


@dataclass(frozen=True)
class Shift:
    """Adds a constant."""

    by: float
    eps: float = 1.0
    norm: ClassVar[str] = "linf"
    mode: ClassVar[str] = "eval"
    multitask: ClassVar[bool] = False

    def __call__(self, net, x, labels, *, generator):
        return x + self.by


class Recorder:
    """Notes which images it gets and the random numbers that it could draw."""

    eps, norm, mode = 0.1, "linf", "eval"
    multitask = False

    def __init__(self, name):
        self.name, self.images, self.starts = name, [], []

    def __repr__(self):
        return f"Recorder({self.name})"

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def __call__(self, net, x, labels, *, generator):
        self.images.append(x.clone())
        self.starts.append(uniform_start(torch.zeros_like(x), 1.0, generator))
        return x


@pytest.fixture
def digits_net():
    tasks = Digits(auxiliary=("odd_even",)).tasks
    return build_network(SmallCnn(width=4, depth=2), (1, 8, 8), tasks, seed=0).eval(), tasks


def random_split(count=40):
    generator = torch_generator(0)
    return Split(
        torch.rand(count, 1, 8, 8, generator=generator), torch.randint(0, 10, (count,), generator=generator)
    )


def test_clean_marks_are_those_of_right_predictions():
    images = pixels([0.1, 0.9, 0.2, 0.8], [0, 1, 1, 0])
    assert correct_clean(left_right_net(), images).tolist() == [True, True, False, False]


def test_wrong_clean_image_does_not_count_although_the_attack_repairs_it():
    images = pixels([0.4, 0.9, 0.2], [1, 1, 0])  # the first is wrong, and right once it is shifted up
    marks = correct_under(left_right_net(), images, TWO, [Shift(0.2)], seed=0)
    assert marks.tolist() == [False, True, True]


def test_image_counts_only_if_it_is_right_under_every_attack():
    images = pixels([0.1, 0.9, 0.4, 0.6], [0, 1, 0, 1])
    net = left_right_net()
    up, down = (correct_under(net, images, TWO, [Shift(by)], seed=0) for by in (0.2, -0.2))
    both = correct_under(net, images, TWO, [Shift(0.2), Shift(-0.2)], seed=0)
    assert up.tolist() == [True, True, False, True]
    assert down.tolist() == [True, True, True, False]
    assert both.tolist() == [True, True, False, False]


def test_worst_case_is_the_conjunction_of_single_attacks(digits_net):
    _, tasks = digits_net
    net = build_network(LeNet(width=0.1), (1, 8, 8), tasks, seed=0)
    images = random_split(200)
    with torch.no_grad():
        images = Split(images.x, net(images.x).argmax(dim=1))  # all are right
    attacks = [Shift(0.2), Shift(-0.2), Fgsm(eps=0.01), Mta(eps=0.01, random_start=False), NoAttack()]
    single = [correct_under(net, images, tasks, [attack], seed=0) for attack in attacks]
    together = correct_under(net, images, tasks, attacks, seed=0)
    assert torch.equal(together, torch.stack(single).all(dim=0))
    assert 0 < together.sum() < min(marks.sum() for marks in single)


def test_accuracy_under_an_attack_is_at_most_the_clean_one(digits_net):
    net, tasks = digits_net
    images = random_split(200)
    clean = correct_clean(net, images)
    under = correct_under(net, images, tasks, [Pgd(eps=0.05, steps=3)], seed=0)
    assert not (under & ~clean).any()


def test_two_networks_meet_the_same_images_and_random_numbers(monkeypatch):
    monkeypatch.setattr(measure, "BATCH", 2)
    images = pixels([0.1, 0.9, 0.4, 0.6, 0.7], [0, 1, 0, 1, 1])
    seen = []
    for net in (left_right_net(0.5), left_right_net(-9.0), left_right_net(0.65)):
        recorders = [Recorder("a"), Recorder("b")]
        correct_under(net, images, TWO, recorders, seed=3)
        seen.append(recorders)
    for recorder in range(2):
        for other in seen[1:]:
            for kind in ("images", "starts"):
                mine, its = getattr(seen[0][recorder], kind), getattr(other[recorder], kind)
                assert len(mine) == len(its) == 3
                assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


def test_batches_attacks_and_seeds_have_different_random_numbers(monkeypatch):
    monkeypatch.setattr(measure, "BATCH", 2)
    images = pixels([0.1, 0.9, 0.4, 0.6], [0, 1, 0, 1])
    recorders = [Recorder("a"), Recorder("b"), Recorder("a")]
    correct_under(left_right_net(), images, TWO, recorders[:2], seed=3)
    correct_under(left_right_net(), images, TWO, recorders[2:], seed=4)
    starts = [tuple(start.flatten().tolist()) for recorder in recorders for start in recorder.starts]
    assert len(set(starts)) == 6


def test_what_else_is_listed_does_not_change_an_attacks_random_numbers(digits_net):
    net, tasks = digits_net
    images = random_split(200)
    attack, other = Pgd(eps=0.05, steps=2), Pgd(eps=0.02, steps=1)
    alone = [correct_under(net, images, tasks, [a], seed=0) for a in (attack, other)]
    for attacks in ([attack, other], [other, attack]):
        assert torch.equal(correct_under(net, images, tasks, attacks, seed=0), alone[0] & alone[1])


def test_an_attack_that_is_listed_twice_starts_anew():
    images = pixels([0.1, 0.9, 0.4, 0.6], [0, 1, 0, 1])
    recorders = [Recorder("a"), Recorder("a")]
    correct_under(left_right_net(), images, TWO, recorders, seed=3)
    assert not torch.equal(recorders[0].starts[0], recorders[1].starts[0])


def test_marks_do_not_depend_on_what_was_measured_before_nor_on_the_global_generator(digits_net):
    net, tasks = digits_net
    images, attack = random_split(100), Pgd(eps=0.01, step=0.005, steps=1)
    torch.manual_seed(1)
    first = correct_under(net, images, tasks, [attack], seed=0)
    torch.manual_seed(2)
    correct_under(build_network(SmallCnn(width=3), (1, 8, 8), tasks, seed=9), images, tasks, [attack], seed=0)
    assert torch.equal(correct_under(net, images, tasks, [attack], seed=0), first)


def test_measuring_leaves_weights_statistics_and_global_generator_alone(digits_net):
    net, tasks = digits_net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    correct_under(net, random_split(), tasks, [Pgd(steps=2)], seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in net.parameters())


def test_marks_are_in_the_order_of_the_images_across_batches(monkeypatch):
    images = pixels([0.1, 0.9, 0.45, 0.55, 0.7, 0.3, 0.2], [0, 1, 0, 1, 1, 1, 0])
    attacks = [Shift(0.1), Shift(-0.1)]
    whole = correct_under(left_right_net(), images, TWO, attacks, seed=0)
    monkeypatch.setattr(measure, "BATCH", 3)
    assert torch.equal(correct_under(left_right_net(), images, TWO, attacks, seed=0), whole)
    assert whole.tolist() == [True, True, False, False, True, False, True]


def test_network_in_training_mode_is_measured_in_eval_mode(digits_net):
    net, tasks = digits_net
    images = random_split(100)
    expected = correct_under(net, images, tasks, [Fgsm(eps=0.01)], seed=0)
    assert torch.equal(correct_under(net.train(), images, tasks, [Fgsm(eps=0.01)], seed=0), expected)


@pytest.mark.parametrize(("right", "of"), [(0, 3), (1, 3), (3, 3), (7, 360)])
def test_fraction_is_the_exact_quotient(right, of):
    assert fraction(torch.arange(of) < right) == right / of
