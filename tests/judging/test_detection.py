"""Feature squeezing: scores, threshold and rates by plain loops; an attack that knows of the detector."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score
from torch import nn

from moosearch.attacks.gradient import Pgd
from moosearch.data import Task
from moosearch.data.dataset import Split
from moosearch.data.digits import Digits
from moosearch.errors import DivergedError
from moosearch.judging.detection import (
    Scored,
    area,
    attack_rates,
    clean_rates,
    rate,
    score_images,
    score_under,
    scores,
    threshold_of,
    views,
    worst_case,
)
from moosearch.judging.evasion import Evasion, agreement
from moosearch.judgment import wilson
from moosearch.models import RobustNet
from moosearch.models.defenses.squeezing import BitDepthLayer, MedianFilterLayer
from moosearch.seeding import seeded_torch

SQUEEZERS = (BitDepthLayer(1), MedianFilterLayer(2))
TASKS = (Task.main(tuple("0123456789")),)


@pytest.fixture(scope="module")
def net():
    """A small network, trained naturally on digits for a few seconds: squeezing detects PGD on it."""
    train = Digits().load().train
    with seeded_torch(0):
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        net = RobustNet(trunk, 32, 1, [10])
    optimizer = torch.optim.Adam(net.parameters(), 0.005)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(train.pixels()), train.y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def images():
    return Digits().load().test.first(120)


def test_scores_are_the_largest_distances_of_probabilities(net, images):
    x = images.pixels()[:7]
    with torch.no_grad():
        found = scores(views(net, SQUEEZERS, x))
        for number in range(7):
            image = x[number : number + 1]
            plain, distances = torch.softmax(net(image)[0].double(), 0), []
            for squeeze in SQUEEZERS:
                squeezed = torch.softmax(net(squeeze(image))[0].double(), 0)
                distances.append(sum(abs(float(a) - float(b)) for a, b in zip(plain, squeezed, strict=True)))
            assert float(found[number]) == pytest.approx(max(distances), abs=1e-5)


def test_scores_reach_from_0_to_2():
    sure = torch.tensor([100.0, 0.0, 0.0])
    logits = torch.stack([sure, sure, sure.flip(0)]).unsqueeze(1)
    assert scores(logits[:2]).tolist() == [0.0]
    assert scores(logits).tolist() == [2.0]


@given(
    arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0])),
    st.floats(0.001, 0.999),
)
def test_threshold_is_the_least_score_that_few_enough_exceed(values, fpr):
    threshold = threshold_of(torch.from_numpy(values), fpr)
    allowed = math.floor(fpr * len(values) + 1e-9)
    fits = [value for value in values if (values > value).sum() <= allowed]
    assert threshold == min(fits)


@pytest.mark.parametrize(("fpr", "rejected"), [(0.05, 5), (0.29, 29), (0.001, 0), (0.9999999999999, 99)])
def test_threshold_rejects_the_share_asked_for(fpr, rejected):
    values = torch.randperm(100, generator=torch.Generator().manual_seed(0)).float()
    assert int((values > threshold_of(values, fpr)).sum()) == rejected


def test_threshold_needs_scores_and_a_share():
    with pytest.raises(ValueError, match="no score"):
        threshold_of(torch.empty(0), 0.05)
    for fpr in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="fpr"):
            threshold_of(torch.ones(3), fpr)


def drawn(seed, count=200):
    """Made-up answers, scores in steps so that there are ties."""
    numbers = np.random.default_rng(seed)
    right, score = numbers.random(count) < 0.7, numbers.integers(0, 9, count) / 4
    return Scored(torch.from_numpy(right), torch.from_numpy(score))


def test_rates_by_a_plain_loop():
    clean, attacked, threshold = drawn(1), drawn(2), 1.0
    counts = Counter()
    for was, is_, before, after in zip(
        clean.right.tolist(),
        attacked.right.tolist(),
        clean.score.tolist(),
        attacked.score.tolist(),
        strict=True,
    ):
        if not was:
            counts["wrong"] += 1
            counts["wrong_rejected"] += before > threshold
            continue
        counts["right"] += 1
        counts["fp"] += before > threshold
        counts["accepted"] += before <= threshold
        counts["stays"] += is_
        counts["kept"] += is_ or after > threshold
        kind, found = ("failed", "failed_detected") if is_ else ("fooled", "detected")
        counts[kind] += 1
        counts[found] += after > threshold
    told, under = clean_rates(clean, threshold), attack_rates(clean, attacked, threshold)
    pairs = [
        (told["false_positives"], "fp", "right"),
        (told["wrong_rejected"], "wrong_rejected", "wrong"),
        (told["right_and_accepted"], "accepted", None),
        (under["fooled"], "fooled", "right"),
        (under["detected"], "detected", "fooled"),
        (under["failed_detected"], "failed_detected", "failed"),
        (under["right"], "stays", None),
        (under["defended"], "kept", None),
    ]
    for entry, count, of in pairs:
        total = 200 if of is None else counts[of]
        assert (entry["count"], entry["of"]) == (counts[count], total)
        assert entry["rate"] == counts[count] / total
        assert entry["interval"] == list(wilson(counts[count], total))
    legitimate = [s for s, r in zip(clean.score.tolist(), clean.right.tolist(), strict=True) if r]
    fooling = attacked.score[clean.right & ~attacked.right].tolist()
    pairs = [(a > b) + (a == b) / 2 for a in fooling for b in legitimate]
    assert under["auc"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_area_is_scikit_learns_and_needs_both_kinds():
    legitimate, adversarial = drawn(3).score[:50], drawn(4).score
    truth, values = [0] * 50 + [1] * 200, np.concatenate([legitimate, adversarial])
    assert area(legitimate, adversarial) == roc_auc_score(truth, values)
    assert area(torch.zeros(0), adversarial) is None
    assert area(legitimate, torch.zeros(0)) is None


def test_nothing_of_nothing_has_no_rate():
    assert rate(0, 0) == {"count": 0, "of": 0, "rate": None, "interval": None}
    none = Scored(torch.zeros(4, dtype=torch.bool), torch.zeros(4))
    told = attack_rates(none, none, 0.5)
    assert told["detected"]["rate"] is None
    assert told["auc"] is None
    assert told["defended"]["count"] == 0


def test_a_score_at_the_threshold_is_accepted():
    clean = Scored(torch.tensor([True, True]), torch.tensor([0.5, 0.75]))
    assert clean_rates(clean, 0.5)["false_positives"]["count"] == 1
    fooled = Scored(torch.tensor([False, False]), torch.tensor([0.5, 0.75]))
    assert attack_rates(clean, fooled, 0.5)["detected"]["count"] == 1


def test_worst_case_is_image_by_image():
    clean = Scored(torch.tensor([True, True, True, False]), torch.zeros(4))
    first = Scored(torch.tensor([False, True, False, False]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    second = Scored(torch.tensor([True, False, True, False]), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    told = worst_case(clean, [first, second], 0.5)
    assert told["right"]["count"] == 0
    assert (told["defended"]["count"], told["defended"]["of"]) == (2, 4)


def test_batches_change_nothing_and_are_told(net, images):
    told = []
    whole = score_images(net, SQUEEZERS, images)
    parts = score_images(net, SQUEEZERS, images, batch=50, told=lambda *now: told.append(now))
    assert told == [(50, 120), (100, 120), (120, 120)]
    assert torch.equal(whole.right, parts.right)
    assert torch.allclose(whole.score, parts.score, atol=1e-6)


def test_logits_that_are_not_finite_are_an_error(net):
    with pytest.raises(DivergedError):
        score_images(net, SQUEEZERS, Split(torch.full((1, 1, 8, 8), torch.nan), torch.zeros(1).long()))


class Recorder:
    """An attack that keeps what it was asked, and leaves the ball."""

    eps, norm, mode, multitask = 0.1, "linf", "eval", False

    def __init__(self):
        self.asked = []

    def __call__(self, net, x, labels, *, generator):
        self.asked.append((x, labels))
        return x + 5


def test_what_is_right_is_attacked_within_the_ball_and_the_rest_stays(net, images):
    clean, attack, told = score_images(net, SQUEEZERS, images), Recorder(), []
    clean.right[::3] = False
    found = score_under(
        attack, net, SQUEEZERS, images, TASKS, clean, seed=0, batch=50, told=lambda *now: told.append(now)
    )
    x, y = images.pixels()[clean.right], images.y[clean.right]
    assert torch.equal(torch.cat([part for part, _ in attack.asked]), x)
    assert torch.equal(torch.cat([labels[0] for _, labels in attack.asked]), y)
    expected = score_images(net, SQUEEZERS, Split((x + 0.1).clamp(max=1), y))
    assert torch.equal(found.right[clean.right], expected.right)
    assert torch.allclose(found.score[clean.right], expected.score, atol=1e-6)
    assert not found.right[::3].any()
    assert torch.equal(found.score[~clean.right], clean.score[~clean.right])
    assert told[-1] == (len(y), len(y))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adaptive_attack_stays_in_the_ball_and_is_detected_less(net, images, norm):
    eps, squeezers = {"linf": 0.2, "l2": 1.0}[norm], (BitDepthLayer(1),)
    clean = score_images(net, squeezers, images)
    threshold = threshold_of(clean.score[clean.right], 0.05)
    evasion = Evasion(squeezers, threshold, eps, norm)
    plain = Pgd(eps=eps, norm=norm, step=eps / 10, steps=20)
    x, y, generator = images.pixels(), images.y, torch.Generator().manual_seed(0)
    x_adv = evasion(net, x, (y,), generator=generator)
    eta = (x_adv - x).flatten(1)
    length = eta.abs().amax(dim=1) if norm == "linf" else eta.norm(dim=1)
    assert float(length.max()) <= eps + 1e-5
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    told = {}
    for name, attack in (("plain", plain), ("adaptive", evasion)):
        found = score_under(attack, net, squeezers, images, TASKS, clean, seed=0)
        told[name] = attack_rates(clean, found, threshold)
    assert told["adaptive"]["fooled"]["count"] >= 0.95 * told["plain"]["fooled"]["count"] > 60
    assert told["adaptive"]["detected"]["rate"] < 0.6 * told["plain"]["detected"]["rate"]
    assert told["adaptive"]["defended"]["count"] < told["plain"]["defended"]["count"] - 15


def test_adaptive_attack_fools_as_often_as_pgd_where_nothing_is_rejected(net, images):
    clean = score_images(net, SQUEEZERS, images)
    plain = Pgd(eps=0.1, step=0.01, steps=40, objective="margin")
    fooled = [
        int((clean.right & ~score_under(a, net, SQUEEZERS, images, TASKS, clean, seed=0).right).sum())
        for a in (plain, Evasion(SQUEEZERS, 2.0, 0.1))
    ]
    assert fooled[1] >= fooled[0] - 2


def test_views_that_agree_lower_the_score_and_weights_do_again(net, images):
    """Nothing is below this threshold, so that no walk is left out; all attacks fool all images."""
    squeezers = (BitDepthLayer(2),)
    clean = score_images(net, squeezers, images)
    attacks = (
        Pgd(eps=0.2, step=0.02, steps=40),
        Evasion(squeezers, 0.0, 0.2, weights=()),
        Evasion(squeezers, 0.0, 0.2, weights=(10.0,)),
        Evasion(squeezers, 0.0, 0.2, weights=(0.0,)),
    )
    means = []
    for attack in attacks:
        found = score_under(attack, net, squeezers, images, TASKS, clean, seed=0)
        assert not found.right.any()
        means.append(float(found.score[clean.right].mean()))
    plain, agreeing, weighed, unweighed = means
    assert agreeing < 0.5 * plain
    assert weighed < 0.6 * min(agreeing, unweighed)


def test_first_walk_leads_where_views_agree_though_the_image_alone_would_lead_elsewhere():
    """Class 1 wins by x + 5, and by 5 - 10 x in the squeezed view: only a small x is seen alike."""

    class Opposite(nn.Module):
        def forward(self, x):
            return -10 * x

    def net(x):
        return torch.cat([torch.zeros(len(x), 1), x.flatten(1) + 5], dim=1)

    x, y = torch.full((8, 1, 1, 1), 0.5), torch.zeros(8, dtype=torch.long)
    for rounds in (1, 2):
        attack = Evasion((Opposite(),), 0.0, 0.3, rounds=rounds, weights=())
        found = attack(net, x, (y,), generator=torch.Generator().manual_seed(0))
        assert torch.allclose(found, torch.full_like(x, 0.2))


def test_adaptive_attack_is_the_same_again(net, images):
    clean = score_images(net, SQUEEZERS, images)
    attack = Evasion(SQUEEZERS, 0.3, 0.1, steps=5)
    again = [score_under(attack, net, SQUEEZERS, images, TASKS, clean, seed=s).score for s in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


def test_adaptive_attack_returns_the_least_score_of_the_points_that_fool(net, images):
    """Whatever a walk meets is remembered, not only where it ends."""
    x, y, met = images.pixels()[:20], images.y[:20], []

    class Seen(nn.Module):
        def forward(self, images):
            if not met or met[-1] is not images:
                met.append(images.detach().clone())
            return net(images)

    def judged(points):
        with torch.no_grad():
            logits = views(net, SQUEEZERS, points)
            return logits[0].argmax(dim=1) != y, scores(logits)

    attack = Evasion(SQUEEZERS, 0.0, 0.2, steps=6, weights=(10.0,))
    wrong, score = judged(attack(Seen(), x, (y,), generator=torch.Generator().manual_seed(0)))
    least = torch.full((20,), torch.inf)
    for points in met:
        within = (points - x).abs().amax(dim=(1, 2, 3)) <= 0.2 + 1e-6  # squeezed views are asked too
        fools, value = judged(points)
        least = torch.where(fools & within, torch.minimum(least, value), least)
    assert wrong.any()
    assert torch.equal(wrong, least.isfinite())
    assert torch.allclose(score[wrong], least[wrong], atol=1e-5)


def test_agreement_by_a_plain_loop():
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 3, 0])
    for row, label in enumerate(y.tolist()):
        others = [k for k in range(4) if k != label]
        target = max(others, key=lambda k, row=row: float(logits[:, row, k].sum()))
        gaps = [float(logits[v, row, target] - logits[v, row, label]) for v in range(3)]
        expected = sum(-math.log1p(math.exp(-gap)) for gap in gaps)
        assert float(agreement(logits, y)[row]) == pytest.approx(expected, abs=1e-5)
