import math
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
from moosearch.judging.measure import correct_clean, correct_under, fraction, judge, judgments
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


@dataclass(frozen=True)
class Cross:
    """Moves every pixel just across the threshold of `left_right_net`, however far that is."""

    eps: float = 0.2
    threshold: float = 0.5
    norm: ClassVar[str] = "linf"
    mode: ClassVar[str] = "eval"
    multitask: ClassVar[bool] = False

    def __call__(self, net, x, labels, *, generator):
        across = torch.where(x > self.threshold, self.threshold - 0.01, self.threshold + 0.01)
        return torch.where((x - 0.8).abs() < 1e-3, x + 0.1, across)  # 0.8 stays on its side


def test_judgment_of_an_attack_is_what_it_does_alone(digits_net):
    net, tasks = digits_net
    images = random_split(100)
    attacks = {"fgsm": Fgsm(eps=0.02), "pgd": Pgd(eps=0.02, step=0.01, steps=2), "up": Shift(0.2)}
    found = judge(net, images, tasks, attacks, seed=5)
    assert torch.equal(found.clean, correct_clean(net, images))
    for name, attack in attacks.items():
        alone = correct_under(net, images, tasks, [attack], seed=5)
        assert torch.equal(found.attacked[name].robust, alone)
        assert found.attacked[name].accuracy == fraction(alone)
    together = correct_under(net, images, tasks, list(attacks.values()), seed=5)
    assert torch.equal(found.worst_case, together)
    assert found.average_robust == pytest.approx(
        sum(found.attacked[name].accuracy for name in attacks) / 3, abs=1e-12
    )


def test_distance_is_kept_where_an_attack_fools_beyond_its_radius_and_nowhere_else():
    images = pixels([0.1, 0.4, 0.9, 0.55, 0.8, 0.3], [0, 0, 1, 1, 1, 1])  # the last is wrong as it is
    found = judge(left_right_net(), images, TWO, {"cross": Cross(eps=0.2)}, seed=0).attacked["cross"]
    assert found.images == 5
    assert found.robust.tolist() == [True, False, True, False, True, False]
    expected = [0.41, 0.11, 0.41, 0.06, torch.nan, torch.nan]
    torch.testing.assert_close(found.distance, torch.tensor(expected), equal_nan=True)


def test_without_attacks_there_is_no_average_and_the_worst_case_is_the_clean_one():
    images = pixels([0.1, 0.9, 0.8], [0, 1, 0])
    found = judge(left_right_net(), images, TWO, {}, seed=0)
    assert math.isnan(found.average_robust)
    assert found.worst_case.tolist() == [True, True, False]


def test_an_attack_sees_only_batches_with_an_image_that_is_right():
    images = pixels([0.1, 0.9, 0.4, 0.6], [1, 0, 0, 1])
    recorder = Recorder("a")
    told = []
    judge(
        left_right_net(), images, TWO, {"a": recorder}, seed=0, batch=2,
        progress=lambda *what: told.append(what),
    )  # fmt: skip
    assert len(recorder.images) == 1
    assert told == [("a", 0, 2), ("a", 2, 2)]
    wrong = pixels([0.1, 0.9], [1, 0])
    assert judge(left_right_net(), wrong, TWO, {"a": Recorder("b")}, seed=0).attacked["a"].images == 0


def test_batch_bounds_what_network_and_attack_get(digits_net, monkeypatch):
    net, tasks = digits_net
    sizes = []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    recorder = Recorder("a")
    attacks = {"pgd": Pgd(eps=0.1, steps=2), "a": recorder}
    judge(net, random_split(50), tasks, attacks, seed=0, batch=7)
    assert sizes
    assert max(sizes) == max(len(batch) for batch in recorder.images) == 7


def test_default_batch_holds_fewer_images_the_larger_they_are():
    sizes = [
        measure.batch_size(Split(torch.zeros(1, 3, side, side), torch.zeros(1))) for side in (8, 32, 224)
    ]
    assert sizes == [512, 512, 10]
    assert measure.batch_size(Split(torch.empty(1, 3, 4000, 4000, device="meta"), torch.zeros(1))) == 1


class Interrupting:
    """Is interrupted as soon as it starts."""

    eps, norm, mode = 0.1, "linf", "eval"
    multitask = False

    def __call__(self, net, x, labels, *, generator):
        raise KeyboardInterrupt


def test_what_was_judged_before_an_interruption_is_known():
    images = pixels([0.1, 0.9, 0.4, 0.6], [0, 1, 0, 1])
    attacks = {"up": Shift(0.2), "down": Shift(-0.2), "never": Interrupting()}
    known = []
    with pytest.raises(KeyboardInterrupt):
        known += judgments(left_right_net(), images, TWO, attacks, seed=0)
    assert [list(judgment.attacked) for judgment in known] == [[], ["up"], ["up", "down"]]
    assert known[-1].worst_case.tolist() == [True, True, False, False]
