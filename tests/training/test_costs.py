"""Costs of networks and of trainings; that of a training against real steps, operation by operation."""

import dataclasses
from typing import Annotated

import pytest
import torch

from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.models import build_network
from moosearch.models.cost import FlopCounter
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.models.timing import Measured
from moosearch.registry import build, to_tree
from moosearch.training import OBJECTIVES, CandidateSpec, Objective, Subject, key_of
from moosearch.training.costs import Energy, Flops, Latency, Parameters, PeakMemory, TrainingCost
from moosearch.training.effort import rough_training_flops, step_flops, training_flops
from moosearch.training.numerics import NumericsSpec
from moosearch.training.train import Trainer

TASKS = Digits(auxiliary=("odd_even",)).tasks
HINT = Annotated[Objective, OBJECTIVES]


def cost_subject(architecture=None, shape=(1, 8, 8), tasks=TASKS, **known):
    net = build_network(architecture or SmallCnn(width=4, depth=2), shape, tasks, seed=0).eval()
    return Subject(net, None, tasks, shape, 0, **known)


def objectives(kind):
    return [o for o in (build(HINT, name) for name in OBJECTIVES) if o.kind == kind]


def candidate(architecture="small_cnn", **training):
    """A candidate on images whose sides no first layer has a faster gradient for."""
    dataset = {"name": "digits", "size": 10, "auxiliary": ["odd_even", "prime_composite"]}
    training = {"epochs": 1, "numerics": {"precision": "fp32", "memory_format": "contiguous"}} | training
    tree = {"dataset": dataset, "architecture": architecture, "training": training}
    return build(CandidateSpec, tree)


@pytest.mark.parametrize("objective", objectives("counted"), ids=key_of)
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
    assert objective.sense == "minimize"
    assert objective.unit


def test_parameters_and_flops_by_hand():
    subject = cost_subject(LeNet(width=1), (1, 28, 28))
    assert Parameters().measure(subject) == 3_274_634
    multiply_accumulates = 28 * 28 * 32 * 25 + 14 * 14 * 64 * 32 * 25 + 3136 * 1024 + 1024 * 10
    assert Flops().measure(subject) == 2 * multiply_accumulates


def test_peak_memory_is_that_of_its_batch():
    assert PeakMemory(batch=3).measure(cost_subject()) == 3 * PeakMemory().measure(cost_subject())


def test_latency_is_a_time_of_its_own_batch_and_threads(monkeypatch):
    seen = {}

    def fake(network, shape, **how):
        seen.update(network=network, shape=shape, how=how)
        return Measured(1.5, 0.02)

    monkeypatch.setattr("moosearch.training.costs.measure_latency", fake)
    subject = cost_subject()
    latency = Latency(batch=30, repeats=4, threads=2, rounds=3, label="fast")
    assert latency.measure(subject) == 1.5
    assert seen["shape"] == (1, 8, 8)
    assert seen["how"] == {"batch": 30, "repeats": 4, "rounds": 3, "threads": 2}
    assert len(list(seen["network"].parameters())) == len(list(subject.net.parameters())) - 2
    assert subject.noise == {"fast": 0.02}
    latency.measure(cost_subject(rough=True))
    assert seen["how"] == {"batch": 16, "repeats": 1, "rounds": 1, "threads": 2}


def test_fields_that_came_later_change_no_older_recipe():
    assert to_tree(Latency(), HINT) == {"name": "latency", "batch": 1, "repeats": 50, "label": ""}
    assert "over" not in to_tree(build(HINT, "robust_accuracy"), HINT)


def test_energy_needs_a_gpu_before_anything_is_measured():
    for rough in (True, False):
        with pytest.raises(SpecError, match="energy is that of an NVIDIA GPU"):
            Energy().measure(cost_subject(rough=rough))


def test_energy_is_that_of_an_image_as_the_meter_says(monkeypatch):
    monkeypatch.setattr("moosearch.training.costs.energy_meter", lambda _: "meter")
    seen = {}

    def fake(network, shape, meter, **how):
        seen.update(how, meter=meter)
        return Measured(7.0, 0.1)

    monkeypatch.setattr("moosearch.training.costs.measure_energy", fake)
    subject = cost_subject()
    assert Energy(batch=8, seconds=2.0, rounds=4).measure(subject) == 7.0
    assert seen == {"meter": "meter", "batch": 8, "seconds": 2.0, "rounds": 4}
    assert subject.noise == {"energy": 0.1}


def real_step(spec, size):
    """Count a real step."""
    x, y = torch.rand(size, *spec.dataset.shape), torch.arange(size) % 10
    trainer = Trainer(spec, Split(x, y), seed=0)
    with FlopCounter() as counter:
        trainer.step(x, y)
    return counter.total


PGD = {"name": "pgd", "steps": 3}


@pytest.mark.rotated(3)
@pytest.mark.parametrize(
    "training",
    [
        {"attack": "none", "loss": "cross_entropy"},
        {"attack": "fgsm", "loss": "alp"},
        {"attack": PGD, "loss": "trades", "average": 0.9},
        {"attack": PGD | {"mode": "train"}, "loss": "mart"},
        {"attack": {"name": "mta", "steps": 2}, "loss": "loat", "task_losses": "mean"},
        {"attack": {"name": "mixed", "steps": 2}, "loss": {"name": "morel", "base": {"name": "trades"}}},
        {"attack": PGD, "regularization": {"input_gradient": 0.1}},
        {"attack": PGD, "regularization": {"input_gradient": 0.1, "jacobian": 0.1, "projections": 2}},
        {"attack": PGD, "regularization": {"jacobian": 0.1}},
    ],
    ids=lambda training: "-".join(
        str(v.get("name", "penalty") if isinstance(v, dict) else v) for v in training.values()
    ),
)
@pytest.mark.parametrize(
    "architecture", ["small_resnet", {"name": "lenet", "width": 0.1}], ids=["bn", "plain"]
)
def test_a_step_counts_what_a_real_step_computes(training, architecture):
    spec = candidate(architecture, **training)
    assert step_flops(spec, 3) == real_step(spec, 3)


def test_a_step_of_a_network_with_defenses_counts_what_a_real_step_computes():
    spec = candidate("small_resnet", attack=PGD, loss="trades")
    tree = to_tree(spec, CandidateSpec) | {
        "defenses": {
            "input": [{"name": "perturbation_filter"}],
            "denoise": {"name": "mean", "after": [1]},
        }
    }
    defended = build(CandidateSpec, tree)
    assert step_flops(defended, 3) == real_step(defended, 3) > step_flops(spec, 3)


def test_a_training_is_the_sum_of_its_steps():
    spec = candidate(attack=PGD, loss={"name": "morel", "base": {"name": "trades"}}, epochs=3, batch_size=8)
    assert training_flops(spec, 21) == 3 * (2 * step_flops(spec, 8) + step_flops(spec, 5))
    assert training_flops(spec, 17) == 3 * 2 * step_flops(spec, 8), "a last image alone is left out"
    assert training_flops(spec, 16) == training_flops(spec, 17)


def test_a_schedule_changes_the_effort_only_where_it_changes_what_is_done():
    spec = candidate(attack=PGD, epochs=4)

    def with_schedule(parameter, **how):
        schedule = {"parameter": parameter} | how
        return candidate(attack=PGD, epochs=4, schedules=[schedule])

    plain = training_flops(spec, 64)
    assert training_flops(with_schedule("training.attack.eps", start=0.01), 64) == plain
    natural = training_flops(candidate(attack="none", epochs=1), 64)
    closed = with_schedule("training.attack.eps", start=0.0, shape="step", until=0.3)
    assert training_flops(closed, 64) == plain * 3 / 4 + natural
    fewer = with_schedule("training.attack.steps", values=[1])
    one = training_flops(candidate(attack=PGD | {"steps": 1}, epochs=2), 64)
    assert training_flops(fewer, 64) == plain / 2 + one


def test_rough_counts_order_trainings():
    specs = [
        candidate({"name": "small_resnet", "width": width}, attack=attack, loss=loss)
        for width in (4, 16)
        for attack, loss in (("none", "cross_entropy"), (PGD, "trades"), (PGD | {"steps": 9}, "mart"))
    ]
    rough = [rough_training_flops(spec, 100) for spec in specs]
    counted = [training_flops(spec, 100) for spec in specs]
    for one, other in zip(rough, counted, strict=True):
        assert one == pytest.approx(other, rel=0.15)


def test_training_cost_needs_the_training():
    with pytest.raises(ValueError, match="needs to know the training"):
        TrainingCost().measure(cost_subject())
    spec = candidate(attack=PGD)
    subject = cost_subject(spec=spec, trained_on=100)
    assert TrainingCost().measure(subject) == training_flops(spec, 100)
    assert TrainingCost().kind == "spent"


def test_precision_changes_no_count():
    spec = candidate("small_resnet", attack=PGD)
    low = dataclasses.replace(
        spec, training=dataclasses.replace(spec.training, numerics=NumericsSpec("bf16", "channels_last"))
    )
    assert training_flops(low, 64) == training_flops(spec, 64)


def test_a_tolerance_is_a_share():
    with pytest.raises(SpecError, match="tolerance: got 5, expected at most 1"):
        build(HINT, {"name": "latency", "tolerance": 5})
