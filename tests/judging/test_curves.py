"""Curves against closed forms, and against judging at every point on its own."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.attacks.gradient import Fgsm, NoAttack, Pgd
from moosearch.attacks.multitask import Mta
from moosearch.attacks.transfer import Transfer
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.judging import judge, measure
from moosearch.judging.curves import at_radius, by_radius, by_steps, walks
from moosearch.models import RobustNet, build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import seeded_torch

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


@pytest.fixture(scope="module")
def digits():
    """A network that knows digits, and withstands some of what it meets: (net, 120 images, tasks)."""
    splits, tasks = Digits().load(), Digits().tasks
    net = build_network(SmallCnn(width=8, depth=2), (1, 8, 8), tasks, seed=0)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    with seeded_torch(0):
        for batch in [part for _ in range(8) for part in splits.train.batches(100)]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch.x), batch.y).backward()
            optimizer.step()
    return net.eval(), splits.val.first(120), tasks


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=8),
    st.lists(st.integers(0, 110), min_size=1, max_size=6, unique=True),
)
def test_an_image_withstands_the_radii_below_its_distance_to_the_boundary(values, grid):
    """Closed form: pixels are hundredths, the boundary lies between two of them."""
    images = pixels([v / 100 for v in values], [int(v > 40) for v in values])
    radii = [r / 100 for r in sorted(grid)]
    attack = Pgd(eps=0.1, step=0.1, steps=2, random_start=False, objective="margin")
    found = by_radius(left_right_net(0.405), images, TWO, attack, radii, seed=0)
    assert found.tolist() == [sum(r < abs(v / 100 - 0.405) for r in radii) for v in values]


def test_an_image_that_is_wrong_as_it_is_withstands_nothing():
    images = pixels([0.1, 0.9, 0.2], [1, 1, 0])
    attack = Pgd(eps=0.1, step=0.1, steps=1)
    assert by_radius(left_right_net(), images, TWO, attack, [0.0, 0.05, 0.9], seed=0).tolist() == [0, 2, 2]
    assert by_steps(left_right_net(), images, TWO, attack, [1, 2], seed=0).tolist() == [0, 2, 2]


@pytest.mark.parametrize("attack", [Pgd(eps=0.1, step=0.03, steps=5, objective="margin"), Fgsm(eps=0.1)])
def test_the_points_of_a_curve_are_judgments_up_to_their_radius(digits, attack):
    """Twin: every radius judged on all images; a smaller ball lies in a larger one."""
    net, images, tasks = digits
    radii = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 1.0]
    found = by_radius(net, images, tasks, attack, radii, seed=3)
    attacks = {str(r): at_radius(attack, r) for r in radii if r}
    judgment = judge(net, images, tasks, attacks, seed=3)
    marks = judgment.clean.clone()
    for k, r in enumerate(radii):
        marks &= judgment.attacked[str(r)].robust if r else judgment.clean
        assert torch.equal(found > k, marks)
    assert 0 < int((found > 2).sum()) < int((found > 0).sum())


@pytest.mark.parametrize(
    "attack",
    [
        Pgd(eps=0.15, step=0.02, objective="margin", random_start=False),
        Pgd(eps=0.15, step=0.02, objective="cross_entropy", random_start=False, targeted="least_likely"),
        Pgd(eps=0.6, norm="l2", step=0.1, objective="dlr", random_start=False),
    ],
)
def test_the_points_of_a_walk_are_pgd_with_so_many_steps(digits, attack):
    """Without random starts PGD-n is the beginning of PGD-N: judged on its own, n by n."""
    net, images, tasks = digits
    steps = [1, 2, 3, 7, 12, 20]
    found = by_steps(net, images, tasks, attack, steps, seed=0)
    attacks = {str(n): Pgd(**{**vars(attack), "steps": n}) for n in steps}
    judgment = judge(net, images, tasks, attacks, seed=0)
    for k, n in enumerate(steps):
        assert torch.equal(found > k, judgment.attacked[str(n)].robust)
    assert len(set(found.tolist())) > 2


def test_the_last_point_of_a_walk_is_judged_with_the_same_random_starts(digits):
    net, images, tasks = digits
    attack = Pgd(eps=0.15, step=0.02, steps=12, objective="margin")
    found = by_steps(net, images, tasks, Pgd(**{**vars(attack), "steps": 3}), [1, 5, 12], seed=7)
    assert torch.equal(found > 2, judge(net, images, tasks, {"a": attack}, seed=7).attacked["a"].robust)


def test_curves_do_not_depend_on_how_images_are_batched(digits, monkeypatch):
    net, images, tasks = digits
    attack = Pgd(eps=0.1, step=0.03, steps=4, random_start=False)

    def both():
        yield by_radius(net, images, tasks, attack, [0.0, 0.1, 0.2], seed=0)
        yield by_steps(net, images, tasks, attack, [1, 4], seed=0)

    whole = list(both())
    monkeypatch.setattr(measure, "BATCH", 50)
    assert all(torch.equal(a, b) for a, b in zip(both(), whole, strict=True))


@dataclass(frozen=True)
class Counting:
    """Moves every image to the other side within its ball; notes radius and images asked for."""

    eps: float
    norm: ClassVar[str] = "linf"
    mode: ClassVar[str] = "eval"
    multitask: ClassVar[bool] = False
    seen: list = field(default_factory=list)

    def __call__(self, net, x, labels, *, generator):
        raise AssertionError("judging seeks")

    def seek(self, net, x, labels, *, rows, generator):
        self.seen.append((self.eps, rows.tolist()))
        return 1 - x[rows]


def test_larger_balls_are_searched_for_survivors_alone():
    images = pixels([0.1, 0.45, 0.7, 0.3, 0.9], [0, 0, 1, 1, 1])  # the fourth is wrong as it is
    attack = Counting(0.1)
    found = by_radius(left_right_net(), images, TWO, attack, [0.0, 0.1, 0.3, 0.45, 0.5], seed=0)
    assert attack.seen == [(0.1, [0, 1, 2, 4]), (0.3, [0, 2, 4]), (0.45, [0, 4])]
    assert found.tolist() == [3, 1, 2, 0, 3]


@pytest.mark.parametrize("curve", [by_radius, by_steps])
def test_progress_ends_where_it_should(digits, curve, monkeypatch):
    monkeypatch.setattr(measure, "BATCH", 50)
    net, images, tasks = digits
    told = []
    curve(
        net, images, tasks, Pgd(eps=0.1, step=0.1), [1, 2], seed=0, progress=lambda *parts: told.append(parts)
    )
    assert told == sorted(told)
    assert len(told) == 6
    assert told[-1] == (told[0][0], 240, 240)


def test_steps_grow_with_the_radius():
    assert at_radius(Pgd(eps=0.2, step=0.05, steps=9), 0.1) == Pgd(eps=0.1, step=0.025, steps=9)
    assert at_radius(Fgsm(eps=0.2), 0.1) == Fgsm(eps=0.1)
    assert at_radius(Fgsm(eps=0.2, step=0.3), 0.1) == Fgsm(eps=0.1, step=0.15)
    carried = Transfer("there", Pgd(eps=0.2, step=0.05))
    assert at_radius(carried, 0.1) == Transfer("there", Pgd(eps=0.1, step=0.025))


@pytest.mark.parametrize("attack", [NoAttack(), Fgsm(eps=0.0)])
def test_an_attack_without_a_radius_is_refused(attack):
    with pytest.raises(SpecError, match="eps above 0"):
        at_radius(attack, 0.1)


def test_only_pgd_on_labels_walks():
    assert walks(Pgd(objective="dlr", targeted="random"))
    assert not any(walks(attack) for attack in (Pgd(objective="kl"), Fgsm(), Mta(), NoAttack()))
