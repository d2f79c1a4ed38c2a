"""Alignment against the cosines of all pairs, one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moosearch.attacks import perturb
from moosearch.attacks.gradient import Pgd
from moosearch.data import Split, labels_of
from moosearch.data.digits import Digits
from moosearch.judging.alignment import alignment, cosines, features
from moosearch.models import build_network
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def mean(values):
    return sum(values) / len(values) if values else math.nan


@settings(max_examples=40)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            *(
                hnp.arrays(
                    np.float32, (n, 3), elements=st.floats(-4, 4, width=16).filter(lambda v: abs(v) > 0.1)
                )
                for _ in range(2)
            ),
            st.lists(st.integers(0, 3), min_size=n, max_size=n),
        )
    )
)
@example((np.ones((1, 3), np.float32), np.array([[1, 2, 2]], np.float32), [0]))  # rounding leaves something
def test_means_are_those_of_all_pairs(drawn):
    z, z_adv, labels = drawn
    n = len(labels)
    pairs = {(i, j): cosine(z[i], z_adv[j]) for i in range(n) for j in range(n)}
    found = alignment(torch.from_numpy(z), torch.from_numpy(z_adv), torch.tensor(labels), 4)
    others = {(i, j): v for (i, j), v in pairs.items() if i != j}
    within = [v for (i, j), v in others.items() if labels[i] == labels[j]]
    between = [v for (i, j), v in others.items() if labels[i] != labels[j]]
    assert found.own == pytest.approx(mean([pairs[i, i] for i in range(n)]), abs=1e-5)
    assert found.within_class == pytest.approx(mean(within), abs=1e-5, nan_ok=True)
    assert found.between_classes == pytest.approx(mean(between), abs=1e-5, nan_ok=True)
    for a in range(4):
        for b in range(4):
            cell = [v for (i, j), v in others.items() if (labels[i], labels[j]) == (a, b)]
            assert float(found.by_class[a, b]) == pytest.approx(mean(cell), abs=1e-5, nan_ok=True)
    matrix = cosines(torch.from_numpy(z), torch.from_numpy(z_adv))
    assert all(float(matrix[i, j]) == pytest.approx(v, abs=1e-5) for (i, j), v in pairs.items())


def test_a_dead_feature_vector_is_like_nothing():
    assert cosines(torch.zeros(1, 3), torch.ones(2, 3)).tolist() == [[0, 0]]


def test_features_are_those_of_the_network_before_and_after_the_attack():
    tasks = Digits(auxiliary=("odd_even",)).tasks
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), tasks, seed=0)
    val = Digits().load().val
    images, attack = val.first(60), Pgd(eps=0.1, step=0.05, steps=3, random_start=False)
    told = []
    natural, adversarial = features(
        net, images, tasks, attack, seed=0, progress=lambda *parts: told.append(parts)
    )
    x = images.pixels()
    x_adv = perturb(attack, net, x, labels_of(tasks, images.y), generator=torch_generator(0))
    with torch.no_grad():
        torch.testing.assert_close(natural, net.eval().encode(x))
        torch.testing.assert_close(adversarial, net.encode(x_adv), atol=1e-4, rtol=1e-3)
    assert float((natural - adversarial).abs().max()) > 0.001
    assert told == [("features", 60, 60)]


def test_features_without_an_attack_that_moves_are_aligned():
    tasks = Digits().tasks
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), tasks, seed=0)
    images = Split(torch.rand(20, 1, 8, 8, generator=torch_generator(0)), torch.arange(20) % 10)
    natural, adversarial = features(net, images, tasks, Pgd(eps=0.0), seed=0)
    assert alignment(natural, adversarial, images.y, 10).own == pytest.approx(1)
