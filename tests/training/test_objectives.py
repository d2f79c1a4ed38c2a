from typing import Annotated

import pytest
import torch
from torch import nn

from moosearch.attacks.gradient import Fgsm, Pgd
from moosearch.data import Split, Splits
from moosearch.data.digits import Digits
from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.evaluation import Candidate
from moosearch.evaluators import work
from moosearch.models import RobustNet, build_network
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build
from moosearch.training import OBJECTIVES, Objective, Subject, key_of
from moosearch.training.objectives import CleanAccuracy, Flops, Latency, Parameters, RobustAccuracy

TASKS = Digits(auxiliary=("odd_even",)).tasks


def threshold_subject(values, labels, seed=0):
    """A network that says 1 where the only pixel is above one half, and images of one pixel."""
    net = RobustNet(nn.Flatten(), 1, 1, [2]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.heads[0].bias.copy_(torch.tensor([0.5, 0.0]))
    images = Split(torch.tensor(values).reshape(-1, 1, 1, 1), torch.tensor(labels))
    return Subject(net, images, (Task.main(["low", "high"]),), (1, 1, 1), seed)


def cost_subject(architecture=None, shape=(1, 8, 8), tasks=TASKS):
    net = build_network(architecture or SmallCnn(width=4, depth=2), shape, tasks, seed=0).eval()
    return Subject(net, None, tasks, shape, 0)


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


@pytest.mark.parametrize("objective", objectives(), ids=key_of)
def test_value_fits_the_kind(objective):
    if objective.kind == "fraction":
        subject = threshold_subject([0.1, 0.9, 0.9], [0, 1, 0])
        assert objective.measure(subject) * 3 == pytest.approx(round(objective.measure(subject) * 3))
        assert 0 <= objective.measure(subject) <= 1
        assert objective.sense == "maximize"
    else:
        assert objective.measure(cost_subject()) > 0
        assert objective.sense == "minimize"
    assert objective.unit


@pytest.mark.parametrize("objective", [o for o in objectives() if o.kind == "fraction"], ids=key_of)
def test_accuracy_without_images_is_an_error(objective):
    with pytest.raises(ValueError, match="need images"):
        objective.measure(cost_subject())


@pytest.mark.parametrize("objective", [o for o in objectives() if o.kind == "counted"], ids=key_of)
def test_counted_cost_depends_on_the_deployed_architecture_alone(objective):
    alone = objective.measure(cost_subject(tasks=TASKS[:1]))
    subject = cost_subject(tasks=TASKS)
    assert objective.measure(subject) == alone
    with torch.no_grad():
        for parameter in subject.net.parameters():
            parameter.zero_()
    assert objective.measure(subject) == alone
    assert objective.measure(cost_subject(SmallCnn(width=8, depth=2))) > alone
    assert isinstance(alone, float)


def test_parameters_and_flops_by_hand():
    subject = cost_subject(LeNet(width=1), (1, 28, 28))
    assert Parameters().measure(subject) == 3_274_634
    multiply_accumulates = 28 * 28 * 32 * 25 + 14 * 14 * 64 * 32 * 25 + 3136 * 1024 + 1024 * 10
    assert Flops().measure(subject) == 2 * multiply_accumulates


def test_latency_is_a_time_of_its_own_batch(monkeypatch):
    seen = {}

    def fake(network, shape, *, batch, repeats):
        seen.update(network=network, shape=shape, batch=batch, repeats=repeats)
        return 1.5

    monkeypatch.setattr("moosearch.training.objectives.measure_latency", fake)
    subject = cost_subject()
    assert Latency(batch=3, repeats=4).measure(subject) == 1.5
    assert (seen["shape"], seen["batch"], seen["repeats"]) == ((1, 8, 8), 3, 4)
    assert len(list(seen["network"].parameters())) == len(list(subject.net.parameters())) - 2


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
