"""Which images are shown, and what is said of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moosearch.attacks.gradient import Pgd
from moosearch.data import Split
from moosearch.data.tasks import Task
from moosearch.errors import EvaluationError
from moosearch.judging.gallery import gallery, spread
from moosearch.models import RobustNet

TWO = (Task.main(["left", "right"]),)
ATTACK = Pgd(eps=0.2, step=0.05, steps=8, objective="margin")


def left_right_net():
    """Says 'right' (1) where the only pixel is above 0.5."""
    net = RobustNet(nn.Flatten(), 1, 1, [2]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([[0.0], [10.0]]))
        net.heads[0].bias.copy_(torch.tensor([5.0, 0.0]))
    return net


def pixels(values):
    x = torch.tensor(values).reshape(-1, 1, 1, 1)
    return Split(x, (x.flatten() > 0.5).long())


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(0, 12), st.integers(0, 4))
def test_classes_are_met_as_evenly_as_they_can_be(labels, count, first):
    y = torch.tensor(labels, dtype=torch.int64)
    chosen = spread(y, count, 5, first=first).tolist()
    assert len(chosen) == len(set(chosen)) == min(count, len(labels))
    numbers = [labels[i] for i in chosen]
    for label in range(5):
        mine = [i for i in chosen if labels[i] == label]
        everything = [i for i, other in enumerate(labels) if other == label]
        assert mine == everything[: len(mine)]
        if len(mine) < len(everything):  # more were to be had: no class has more than one more
            assert all(numbers.count(other) <= len(mine) + 1 for other in range(5))
    turns = [(label - first) % 5 for label in numbers]
    assert turns == sorted(turns)


def test_half_of_them_were_fooled_and_the_others_withstood():
    near, far = [0.45, 0.4, 0.55, 0.6, 0.35], [0.1, 0.2, 0.9, 0.8, 0.0]
    images = pixels([*near, *far])
    shown = gallery(left_right_net(), images, TWO, ATTACK, count=6, seed=0)
    assert shown.fooled.tolist() == [True] * 3 + [False] * 3
    assert shown.number.tolist() == [0, 1, 2, 7, 8, 5]  # the class that was met less comes first: 1, 1, 0
    assert torch.equal(shown.x, images.x[shown.number])
    assert torch.equal(shown.y, images.y[shown.number])
    assert float((shown.x_adv - shown.x).abs().max()) <= 0.2 + 1e-6
    with torch.no_grad():
        for probabilities, x in ((shown.clean, shown.x), (shown.adversarial, shown.x_adv)):
            torch.testing.assert_close(probabilities, left_right_net()(x).softmax(1))


def test_those_that_were_fooled_are_shown_at_the_end_of_the_way():
    shown = gallery(left_right_net(), pixels([0.45, 0.55]), TWO, ATTACK, count=2, seed=0)
    torch.testing.assert_close(shown.x_adv.flatten(), torch.tensor([0.65, 0.35]))


@pytest.mark.parametrize(("values", "fooled"), [([0.45, 0.55, 0.4], 3), ([0.1, 0.9, 0.95], 0)])
def test_where_one_kind_is_missing_the_other_fills_up(values, fooled):
    shown = gallery(left_right_net(), pixels(values), TWO, ATTACK, count=3, seed=0)
    assert int(shown.fooled.sum()) == fooled
    assert len(shown.y) == 3


def test_fewer_images_than_asked_for():
    shown = gallery(left_right_net(), pixels([0.45, 0.9]), TWO, ATTACK, count=10, seed=0)
    assert shown.number.tolist() == [0, 1]


def test_an_image_that_is_wrong_as_it_is_is_not_shown():
    images = pixels([0.1, 0.2, 0.9])
    images.y[0] = 1
    shown = gallery(left_right_net(), images, TWO, ATTACK, count=3, seed=0)
    assert sorted(shown.number.tolist()) == [1, 2]
    with pytest.raises(EvaluationError, match="nothing to attack"):
        gallery(
            left_right_net(), Split(images.x, 1 - pixels([0.1, 0.2, 0.9]).y), TWO, ATTACK, count=3, seed=0
        )
