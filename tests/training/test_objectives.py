from dataclasses import replace
from typing import Annotated

import pytest
import torch
from torch import nn

from moosearch.attacks import Threat
from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.attacks.minimal import DeepFool
from moosearch.data import Split, Splits
from moosearch.data.digits import Digits
from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.evaluation import Candidate
from moosearch.evaluators import work
from moosearch.models import RobustNet
from moosearch.registry import build
from moosearch.training import OBJECTIVES, Objective, Subject, key_of
from moosearch.training.objectives import CleanAccuracy, RobustAccuracy

TASKS = Digits(auxiliary=("odd_even",)).tasks


def threshold_subject(values, labels, seed=0):
    """A network that says 1 where the only pixel is above one half, and images of one pixel."""
    net = RobustNet(nn.Flatten(), 1, 1, [2]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.heads[0].bias.copy_(torch.tensor([0.5, 0.0]))
    images = Split(torch.tensor(values).reshape(-1, 1, 1, 1), torch.tensor(labels))
    return Subject(net, images, (Task.main(["low", "high"]),), (1, 1, 1), seed)


def objectives():
    return [build(Annotated[Objective, OBJECTIVES], name) for name in OBJECTIVES]


def test_clean_accuracy_is_an_exact_fraction():
    subject = threshold_subject([0.1, 0.9, 0.9, 0.2, 0.6, 0.4, 0.8], [0, 1, 0, 1, 1, 0, 1])
    assert CleanAccuracy().measure(subject) == 5 / 7


def test_robust_accuracy_is_an_exact_fraction_by_distance_to_the_threshold():
    subject = threshold_subject([0.1, 0.9, 0.9, 0.35, 0.6, 0.45, 0.8], [0, 1, 0, 0, 1, 0, 1])
    # Right are those more than eps away from one half, on their own side.
    for eps, expected in (
        (0.01, 6 / 7),
        (0.07, 5 / 7),
        (0.12, 4 / 7),
        (0.2, 3 / 7),
        (0.35, 2 / 7),
        (0.45, 0),
    ):
        assert RobustAccuracy(attacks=(Fgsm(eps=eps),)).measure(subject) == expected


def test_robust_accuracy_is_the_worst_case_over_its_attacks():
    subject = threshold_subject([0.1, 0.9, 0.35, 0.6, 0.45, 0.8], [0, 1, 0, 1, 0, 1])
    weak, strong = Fgsm(eps=0.07), Pgd(eps=0.2, step=0.1, steps=5)
    single = [RobustAccuracy(attacks=(attack,)).measure(subject) for attack in (weak, strong)]
    assert single == [5 / 6, 3 / 6]
    assert RobustAccuracy(attacks=(weak, strong)).measure(subject) == 3 / 6


def test_subject_seed_decides_the_random_starts():
    values = torch.linspace(0.3, 0.7, 201).tolist()
    labels = [int(value > 0.5) for value in values]
    # A start that is hardly moved: what it hits depends on the seed.
    objective = RobustAccuracy(attacks=(Pgd(eps=0.1, step=1e-6, steps=1),))
    first, again, other = (objective.measure(threshold_subject(values, labels, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_robust_accuracy_needs_an_attack():
    with pytest.raises(SpecError, match="at least one attack"):
        RobustAccuracy(attacks=())


@pytest.mark.parametrize("objective", [o for o in objectives() if o.kind == "fraction"], ids=key_of)
def test_an_accuracy_is_a_share_of_images(objective):
    subject = threshold_subject([0.1, 0.9, 0.9], [0, 1, 0])
    assert objective.measure(subject) * 3 == pytest.approx(round(objective.measure(subject) * 3))
    assert 0 <= objective.measure(subject) <= 1
    assert (objective.sense, objective.unit) == ("maximize", "fraction")


@pytest.mark.parametrize("objective", [o for o in objectives() if o.kind == "fraction"], ids=key_of)
def test_accuracy_without_images_is_an_error(objective):
    with pytest.raises(ValueError, match="need images"):
        objective.measure(replace(threshold_subject([0.1], [0]), val=None))


def test_the_mean_is_over_the_accuracies_under_each_attack_alone():
    subject = threshold_subject([0.1, 0.9, 0.35, 0.6, 0.45, 0.8], [0, 1, 0, 1, 0, 1])
    attacks = (Fgsm(eps=0.07), Pgd(eps=0.2, step=0.1, steps=5), Fgsm(eps=0.01))
    mean = RobustAccuracy(attacks=attacks, over="mean")
    assert mean.measure(subject) == pytest.approx((5 / 6 + 3 / 6 + 1) / 3)
    assert not mean.is_proportion
    assert RobustAccuracy(attacks=attacks[:1], over="mean").measure(subject) == 5 / 6
    assert RobustAccuracy(attacks=attacks[:1], over="mean").is_proportion


def test_what_a_suite_confirms_is_its_worst_case_in_the_ball_of_each_attack():
    marks = {
        Threat("linf", 0.1): torch.tensor([True, True, True, False]),
        Threat("linf", 0.3): torch.tensor([False, True, False, True]),
    }
    clean = torch.tensor([True, True, True, True])
    attacks = (Fgsm(eps=0.1), Pgd(eps=0.3), DeepFool(eps=0.3))
    worst = RobustAccuracy(attacks=attacks)
    assert worst.confirmed(marks, clean) == 1 / 4
    assert worst.threats == tuple(marks)
    mean = RobustAccuracy(attacks=attacks, over="mean")
    assert mean.confirmed(marks, clean) == pytest.approx((3 / 4 + 2 / 4 + 2 / 4) / 3)
    assert RobustAccuracy(attacks=(Fgsm(eps=0.0),)).confirmed(marks, clean) == 1


@pytest.mark.parametrize("over", ["average", "worst"])
def test_another_way_over_attacks_is_refused_with_the_nearest(over):
    with pytest.raises(SpecError, match=r"over: got .*Known: mean, worst_case"):
        build(Annotated[Objective, OBJECTIVES], {"name": "robust_accuracy", "over": over})


def test_a_mean_over_attacks_has_no_wilson_interval():
    attacks = (Fgsm(eps=0.07), Fgsm(eps=0.2))
    both = [RobustAccuracy(attacks=attacks, over="mean"), RobustAccuracy(attacks=attacks, label="worst")]
    found = work._intervals(both, {"robust_accuracy": 0.7, "worst": 0.5}, 10)
    assert found.keys() == {"worst"}


def test_key_is_the_label_or_the_name_of_the_plug_in():
    assert [key_of(o) for o in objectives()] == list(OBJECTIVES)
    assert key_of(RobustAccuracy(label="fgsm_accuracy")) == "fgsm_accuracy"


class Untouchable:
    """A test split that selection must not look at."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was used: {name}")

    __len__ = __iter__ = __getitem__ = None


def test_a_candidate_is_measured_on_validation_images_and_never_on_test_images(monkeypatch):
    splits = Digits().load()
    small = Splits(
        Split(splits.train.x[:64], splits.train.y[:64]),
        Split(splits.val.x[:7], splits.val.y[:7]),
        Untouchable(),
    )
    measured = []
    monkeypatch.setattr(Digits, "load", lambda _: small)
    monkeypatch.setattr(
        "moosearch.training.objectives.correct_clean",
        lambda _, images: measured.append(images) or torch.arange(7) < 3,
    )
    work.load_once.cache_clear()  # it keeps the datasets of other tests, and must not keep this one
    try:
        candidate = Candidate(
            "0123456789ab",
            {},
            {
                "dataset": {"name": "digits"},
                "architecture": {"name": "small_cnn", "width": 4, "depth": 2},
                "training": {"epochs": 1, "attack": {"name": "none"}},
            },
        )
        todo = work.Work(seed=0, objectives=({"name": "clean_accuracy"}, {"name": "robust_accuracy"}))
        *_, outcome = work.evaluate(todo, work.Job(candidate))
        evaluation = outcome.evaluation
    finally:
        work.load_once.cache_clear()
    assert evaluation.status == "complete", evaluation.error
    assert evaluation.objectives["clean_accuracy"] == 3 / 7
    assert evaluation.objectives["robust_accuracy"] * 7 == pytest.approx(
        round(evaluation.objectives["robust_accuracy"] * 7)
    )
    assert torch.equal(measured[0].x.cpu(), splits.val.x[:7])
