"""Scheduled numbers: their way from epoch to epoch, what they reach, what is refused, and going on."""

import json
import math
import operator
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves

from moosearch.attacks.gradient import Fgsm, NoAttack, Pgd
from moosearch.attacks.multitask import Mixed
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.losses import LOSSES, Criterion, Terms
from moosearch.losses.classification import CrossEntropy, Mart, Trades
from moosearch.losses.morel import Morel
from moosearch.models import DefenseSpec
from moosearch.models.defenses.denoising import Mean
from moosearch.models.defenses.squeezing import BitDepth, MedianFilter
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build, to_tree
from moosearch.space.space import SearchSpace
from moosearch.training import CandidateSpec, Training, train
from moosearch.training.regularization import RegularizationSpec
from moosearch.training.schedules import Schedule
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec
from moosearch.training.state import pack, unpack
from moosearch.training.train import Trainer

EPS, STEP, BETA = "training.attack.eps", "training.attack.step", "training.loss.beta"


@pytest.fixture(scope="module")
def few():
    images = Digits().load().train
    return Split(images.x[:48], images.y[:48])


def spec(*schedules, auxiliary=(), defenses=None, epochs=5, **training):
    options = {
        "batch_size": 48,
        "attack": Pgd(eps=0.2, step=0.1, steps=1),
        "validation": ValidationSpec(every=0),
    }
    optimizer = OptimizerSpec(lr=0.05, schedule="constant")
    built = TrainingSpec(
        **{**options, "optimizer": optimizer, **training}, epochs=epochs, schedules=tuple(schedules)
    )
    return CandidateSpec(
        Digits(auxiliary=auxiliary), SmallCnn(width=4, depth=2), built, defenses or DefenseSpec()
    )


def ways(path, candidate):
    return [candidate.scheduled(epoch)[path] for epoch in range(1, candidate.training.epochs + 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": 0.0}, [0.0, 0.05, 0.1, 0.15, 0.2]),
        ({"start": 0.4}, [0.4, 0.35, 0.3, 0.25, 0.2]),
        ({"start": 0.0, "until": 0.5}, [0.0, 0.1, 0.2, 0.2, 0.2]),
        ({"start": 0.0, "after": 0.5}, [0.0, 0.0, 0.0, 0.1, 0.2]),
        ({"start": 0.0, "after": 0.25, "until": 0.75}, [0.0, 0.0, 0.1, 0.2, 0.2]),
        ({"start": 0.0, "shape": "cosine"}, [0.1 * (1 - math.cos(math.pi * t / 4)) for t in range(5)]),
        ({"start": 0.0125, "shape": "exponential"}, [0.0125, 0.025, 0.05, 0.1, 0.2]),
        ({"start": 0.0, "shape": "step"}, [0.0, 0.0, 0.2, 0.2, 0.2]),
        ({"start": 0.0, "shape": "step", "until": 1.0}, [0.0, 0.0, 0.0, 0.0, 0.2]),
        ({"values": (0.3, 0.1)}, [0.3, 0.3, 0.1, 0.2, 0.2]),
    ],
    ids=str,
)
def test_way_from_the_start_to_the_value_in_the_spec(options, expected):
    assert ways(EPS, spec(Schedule(EPS, **options))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential", "step"])
@pytest.mark.parametrize("epochs", [2, 3, 7, 31])
def test_first_epoch_has_the_start_and_the_last_the_spec_exactly(shape, epochs):
    found = ways(EPS, spec(Schedule(EPS, start=0.01, shape=shape), epochs=epochs))
    assert (found[0], found[-1]) == (0.01, 0.2)
    assert found == sorted(found)


@pytest.mark.parametrize("epochs", [3, 6, 9, 30])
def test_values_and_the_spec_have_equal_shares_of_the_epochs(epochs):
    defenses = DefenseSpec(input=(BitDepth(bits=3),))
    found = ways(
        "defenses.input.0.bits",
        spec(Schedule("defenses.input.0.bits", values=(8, 5)), epochs=epochs, defenses=defenses),
    )
    assert found == [8] * (epochs // 3) + [5] * (epochs // 3) + [3] * (epochs // 3)


def test_a_training_of_one_epoch_is_that_of_the_spec():
    assert ways(EPS, spec(Schedule(EPS, start=0.0), epochs=1)) == [0.2]


def test_integers_are_rounded():
    candidate = spec(Schedule("training.attack.steps", start=4), epochs=4, attack=Pgd(steps=2))
    assert ways("training.attack.steps", candidate) == [4, 3, 3, 2]
    assert all(type(candidate.at(epoch).training.attack.steps) is int for epoch in range(1, 5))


@pytest.mark.parametrize("attack", [Pgd(eps=0.2, step=0.05), Mixed(eps=0.2, step=0.05)])
def test_the_step_keeps_its_ratio_to_a_scheduled_eps(attack):
    options = {"attack": attack, "auxiliary": ("odd_even",)}
    candidate = spec(Schedule(EPS, start=0.0), **options)
    assert ways(STEP, candidate) == pytest.approx([0.05, 0.0125, 0.025, 0.0375, 0.05])
    assert ways(STEP, candidate)[-1] == 0.05
    own = spec(Schedule(EPS, start=0.0), Schedule(STEP, start=0.1), **options)
    assert ways(STEP, own) == pytest.approx([0.1, 0.0875, 0.075, 0.0625, 0.05])
    assert STEP not in spec(Schedule(EPS, start=0.0), attack=Fgsm(eps=0.2)).scheduled(1)


def test_an_epoch_sees_its_numbers_and_everything_else_as_it_is():
    candidate = spec(
        Schedule(EPS, start=0.0, until=0.5),
        Schedule("training.attack.alpha0_min", start=0.9),
        Schedule("training.loss.base.beta", start=1.0),
        Schedule("training.regularization.jacobian", start=0.4),
        Schedule("defenses.input.1.bits", start=8),
        Schedule("defenses.denoise.strength", start=0.0),
        auxiliary=("odd_even",),
        attack=Mixed(eps=0.2, step=0.1, alpha0_min=0.5),
        loss=Morel(base=Trades(beta=5.0), alpha=0.001),
        defenses=DefenseSpec(input=(MedianFilter(), BitDepth(bits=4)), denoise=Mean(strength=1.0)),
    )
    second = candidate.at(2)
    expected = replace(
        candidate,
        training=replace(
            candidate.training,
            schedules=(),
            attack=Mixed(eps=0.1, step=0.05, alpha0_min=0.8),
            loss=Morel(base=Trades(beta=2.0), alpha=0.001),
            regularization=RegularizationSpec(jacobian=0.30000000000000004),
        ),
        defenses=DefenseSpec(input=(MedianFilter(), BitDepth(bits=7)), denoise=Mean(strength=0.25)),
    )
    assert second == expected
    assert candidate.at(5) == replace(candidate, training=replace(candidate.training, schedules=()))


def test_numbers_that_bound_each_other_change_together():
    """At first both are beyond the other's final value."""
    first, last = "training.loss.first", "training.loss.last"
    loss = {"name": "loat", "first": 0.1, "last": 0.2}
    schedules = [{"parameter": first, "start": 0.8}, {"parameter": last, "start": 0.9}]
    tree = to_tree(spec(), CandidateSpec)
    tree["training"] |= {"loss": loss, "schedules": schedules}
    assert build(CandidateSpec, tree).at(1).training.loss.first == 0.8


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            {"parameter": "training.attack.epss"},
            r"0\.parameter: got 'training\.attack\.epss', but no number.* mean 'training\.attack\.eps'",
        ),
        (
            {"parameter": BETA},
            rf"got '{BETA}', but no number stands there.*Known: defenses\.denoise\.strength, def",
        ),
        ({"parameter": "training.attack.norm"}, "no number stands there"),
        ({"parameter": "training.attack.random_start"}, "no number stands there"),
        ({"parameter": "defenses.input.1.bits"}, r"no number stands there.*mean 'defenses\.input\.0\.bits'"),
        ({"parameter": "defenses.input.0"}, "no number stands there"),
        ({"parameter": "architecture.width"}, "which no schedule can change"),
        ({"parameter": "training.optimizer.lr"}, "which no schedule can change"),
        ({"parameter": "training.schedules.0.after"}, "which no schedule can change"),
        ({"parameter": "training.loss.embedding"}, "which no schedule can change"),
        ({"parameter": "training.loss.heads"}, "which no schedule can change"),
        ({"parameter": "defenses.denoise.window"}, "which no schedule can change"),
        (
            {"parameter": EPS, "start": -0.1},
            r"in epoch 1: training\.attack\.eps: got -0\.1, expected at least 0",
        ),
        (
            {"parameter": "training.attack.steps", "values": [3, 0]},
            r"in epoch 3: training\.attack\.steps: got 0",
        ),
        (
            {"parameter": "defenses.input.0.bits", "start": 9},
            r"in epoch 1: defenses\.input\.0\.bits: got 9, expected at most 8",
        ),
        ({"parameter": "training.loss.gamma", "start": 1}, r"in epoch 1: training\.loss: gamma: got 1"),
        (
            {"parameter": EPS, "start": 0, "shape": "exponential"},
            r"schedules\.0\.start: got 0, expected the sign of 0\.2",
        ),
        (
            {"parameter": EPS, "start": None},
            r"schedules\.0: start: got None .*expected one of start and values",
        ),
        ({"parameter": EPS, "values": [1.0]}, "expected one of start and values"),
        (
            {"parameter": EPS, "start": None, "values": [1.0], "shape": "cosine"},
            "shape: got cosine with values",
        ),
        ({"parameter": EPS, "after": 0.5, "until": 0.5}, r"until: got 0\.5, expected more than after"),
        ({"parameter": EPS, "until": 0}, r"schedules\.0\.until: got 0"),
        ({"parameter": EPS, "shape": "liner"}, "Did you mean 'linear'"),
        ({"parameter": EPS, "from": 0.0}, "has no parameter 'from'"),
    ],
    ids=str,
)
def test_what_cannot_be_scheduled_is_refused_before_any_work(schedule, message):
    defenses = DefenseSpec(input=(BitDepth(bits=3),), denoise=Mean())
    tree = to_tree(spec(defenses=defenses, loss=Morel()), CandidateSpec)
    start = (
        {}
        if schedule.get("values") and "start" not in schedule and EPS not in schedule.values()
        else {"start": 0.0}
    )
    tree["training"]["schedules"] = [start | schedule]
    with pytest.raises(SpecError, match=message):
        build(CandidateSpec, tree)


def test_a_parameter_has_one_schedule():
    with pytest.raises(SpecError, match=rf"schedules\.1\.parameter: got '{EPS}' a second time"):
        spec(Schedule(EPS, start=0.0), Schedule(EPS, start=0.1))


def test_an_optional_schedule_waits_for_its_plugin():
    """A gene chooses the loss and the defense; where they have no such number nothing is scheduled."""
    schedules = (
        Schedule(BETA, start=1.0, optional=True),
        Schedule("defenses.input.0.bits", start=8, optional=True),
        Schedule("training.loss.base.k1", start=0.5, optional=True),
    )
    none = build(DefenseSpec, {"input": ["none"]})
    assert spec(*schedules, defenses=none).scheduled(1) == {}
    assert spec(*schedules, defenses=none, loss=Mart()).scheduled(1) == {BETA: 1.0}
    for path in ("training.loss.bata", "training.loss.beta.x", "training.attack.norm", "architecture.deep"):
        with pytest.raises(SpecError, match="no number stands there"):
            spec(Schedule(path, start=1.0, optional=True))
    with pytest.raises(SpecError, match="no number stands there"):
        spec(Schedule("defenses.input.1.bits", start=8, optional=True), defenses=none)


def test_genes_stand_in_schedules_and_under_them():
    tree = {
        "dataset": "digits",
        "architecture": "small_cnn",
        "training": {
            "epochs": {"integer": [1, 12]},
            "attack": {"name": "pgd", "eps": {"real": [0.1, 0.3]}},
            "loss": {"choice": ["cross_entropy", {"name": "trades", "beta": {"real": [1, 6]}}]},
            "schedules": [
                {"parameter": EPS, "start": {"real": [0, 0.1]}, "shape": {"choice": ["linear", "cosine"]}},
                {"parameter": BETA, "start": 1, "until": {"real": [0.1, 1]}, "optional": True},
                {"parameter": "defenses.input.0.bits", "values": [8, {"integer": [5, 7]}], "optional": True},
            ],
        },
        "defenses": {"input": [{"choice": ["none", {"name": "bit_depth", "bits": {"integer": [1, 4]}}]}]},
    }
    space = SearchSpace.parse(json.loads(json.dumps(tree)), CandidateSpec)
    assert {"training.schedules.0.start", "training.schedules.2.values.1"} < set(space.genes())
    for genome in space.corners():
        built = build(CandidateSpec, space.candidate(genome).spec)
        assert build(CandidateSpec, to_tree(built, CandidateSpec)) == built


def test_a_candidate_without_schedules_is_written_as_ever():
    assert "schedules" not in to_tree(spec(), CandidateSpec)["training"]
    assert spec().at(1) is not None
    assert spec().scheduled(1) == {}


def distances(candidate, images, monkeypatch):
    """How far the images of each epoch are perturbed."""
    found, inner = [], Trainer.perturb

    def spy(self, x, labels):
        x_adv = inner(self, x, labels)
        found.append((x_adv - x).abs().max().item())
        return x_adv

    monkeypatch.setattr(Trainer, "perturb", spy)
    history = train(candidate, images, seed=0).history
    return found, history


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_images_are_perturbed_within_the_ball_of_the_epoch(few, monkeypatch, mode):
    candidate = spec(Schedule(EPS, start=0.0), attack=Pgd(eps=0.2, step=0.2, steps=1, mode=mode))
    found, history = distances(candidate, few, monkeypatch)
    assert found == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2], abs=1e-6)
    columns = [row.row()[f"scheduled_{EPS}"] for row in history]
    assert columns == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def test_a_ball_that_closes_is_attacked_while_it_is_open(few, monkeypatch):
    """The inference copy of the network is there although the eps of the spec is 0."""
    candidate = spec(Schedule(EPS, start=0.2), attack=Pgd(eps=0.0, step=0.2, steps=1))
    assert Trainer(candidate, few, seed=0).frozen is not None
    assert Trainer(spec(attack=NoAttack()), few, seed=0).frozen is None
    found, _ = distances(candidate, few, monkeypatch)
    assert found == pytest.approx([0.2, 0.15, 0.1, 0.05, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    "loss", [Trades(beta=5.0), Morel(base=Trades(beta=5.0), scalarization="weighted_sum")]
)
def test_the_loss_has_the_weights_of_the_epoch(few, loss):
    path = BETA if isinstance(loss, Trades) else "training.loss.base.beta"
    trainer = Trainer(spec(Schedule(path, start=1.0), loss=loss), few, seed=0)
    parameters = list(trainer.criterion.parameters())
    outputs = [trainer.net.outputs(x) for x in (few.x, few.x.flip(3))]
    found = []
    for number in (1, 3, 5):
        trainer.begin(number)
        found.append(trainer.criterion(*outputs, (few.y,)).parts["divergence"].item())
    assert found[0] > 0
    assert found == pytest.approx([found[0], 3 * found[0], 5 * found[0]])
    assert all(one is other for one, other in zip(parameters, trainer.criterion.parameters(), strict=True))


def test_smoothed_labels_and_penalties_follow(few):
    candidate = spec(
        Schedule("training.regularization.label_smoothing", start=0.2),
        Schedule("training.regularization.jacobian", values=(0.1,)),
        epochs=3,
        attack=NoAttack(),
        loss=CrossEntropy(),
    )
    trainer = Trainer(candidate, few, seed=0)
    logits = trainer.net(few.x)
    for number, smoothing in ((1, 0.2), (2, 0.1), (3, 0.0)):
        trainer.begin(number)
        total = trainer.criterion(None, trainer.net.outputs(few.x), (few.y,)).total
        assert total.item() == pytest.approx(
            F.cross_entropy(logits, few.y, label_smoothing=smoothing).item(), rel=1e-5
        )
    history = train(candidate, few, seed=0).history
    assert [row.parts["jacobian"] > 0 for row in history] == [True, False, False]
    assert len({tuple(row.row()) for row in history}) == 1


DEFENSES = DefenseSpec(
    input=(build(DefenseSpec, {"input": ["none"]}).input[0], BitDepth(bits=3)), denoise=Mean(strength=1.0)
)
DEFENDED = (
    Schedule("defenses.input.1.bits", values=(8, 5)),
    Schedule("defenses.denoise.strength", start=0.0),
)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_defenses_follow_in_the_network_its_average_and_the_twin(few, average):
    candidate = spec(*DEFENDED, defenses=DEFENSES, average=average, batch_size=12)
    trainer = Trainer(candidate, few, seed=0)
    for number, bits in enumerate([8, 8, 5, 3, 3], start=1):
        trainer.epoch(number, few, torch.Generator().manual_seed(0))
        for net in (trainer.net, trainer.judged, trainer.frozen):
            assert net.guard[0].bits.item() == bits
            strengths = [buffer.item() for name, buffer in net.named_buffers() if name.endswith("strength")]
            assert strengths
            assert set(strengths) == {(number - 1) / 4}


def test_a_checkpoint_has_the_numbers_of_its_epoch(few):
    candidate = spec(*DEFENDED, defenses=DEFENSES, validation=ValidationSpec(every=1, images=20))
    trained = train(candidate, few, few, seed=0)
    assert trained.states["last"]["guard.0.bits"] == 3
    assert (
        trained.states["best"]["guard.0.bits"]
        == trained.history[trained.best - 1].scheduled["defenses.input.1.bits"]
    )
    assert trained.net.guard[0].bits == trained.states["best"]["guard.0.bits"]


def test_validation_is_in_the_ball_of_the_spec(few, monkeypatch):
    radii = []

    def spy(net, images, tasks, attacks, *, seed):
        radii.extend(attack.eps for attack in attacks)
        return torch.ones(len(images), dtype=torch.bool)

    monkeypatch.setattr(sys.modules[Trainer.__module__], "correct_under", spy)
    train(spec(Schedule(EPS, start=0.0), validation=ValidationSpec(every=1)), few, few, seed=0)
    assert radii == [0.2] * 5


def test_an_interrupted_training_goes_on_with_the_numbers_of_its_epoch(few):
    candidate = spec(
        Schedule(EPS, start=0.0),
        Schedule(BETA, start=1.0),
        Schedule("training.regularization.label_smoothing", start=0.3),
        Schedule("training.regularization.jacobian", start=0.1),
        *DEFENDED,
        defenses=DEFENSES,
        loss=Trades(beta=5.0),
        average=0.5,
        batch_size=24,
        validation=ValidationSpec(every=2, images=20),
    )
    whole = Training(candidate, few, few, seed=0)
    states = []
    while not whole.finished:
        whole.epoch()
        states.append(unpack(pack(whole.state(), "mark"), "mark"))
    for state in states[:-1]:
        again = Training(candidate, few, few, seed=0)
        again.load(state)
        while not again.finished:
            again.epoch()
        ends = (tree_leaves(unpack(pack(again.state(), "mark"), "mark")), tree_leaves(states[-1]))
        for ours, theirs in zip(*ends, strict=True):
            same = torch.equal if isinstance(ours, torch.Tensor) else operator.eq
            assert same(ours, theirs)


def test_a_training_of_unscheduled_parts_is_the_same_with_a_schedule_that_stands_still(few):
    plain = train(spec(), few, seed=0)
    still = train(spec(Schedule(EPS, start=0.2)), few, seed=0)
    assert all(
        torch.equal(tensor, still.states["last"][name]) for name, tensor in plain.states["last"].items()
    )


@dataclass(frozen=True)
class Rigid:
    """A user's loss whose criterion cannot change."""

    weight: float = 1.0
    needs_clean: ClassVar[bool] = False

    def criterion(self, features):
        class Own(Criterion):
            def forward(self, clean, adversarial, labels, *, progress=0.0):
                return Terms.sum(own=F.cross_entropy(adversarial.logits[0], labels[0]))

        return Own()


@pytest.mark.parametrize(
    ("path", "loss"), [("training.loss.weight", Rigid()), ("training.loss.base.weight", Morel(base=Rigid()))]
)
def test_a_criterion_that_cannot_follow_is_refused(few, monkeypatch, path, loss):
    monkeypatch.setattr(LOSSES, "_classes", dict(LOSSES._classes))
    LOSSES.register("rigid")(Rigid)
    with pytest.raises(SpecError, match=r"the loss '(rigid|morel)' cannot change .* no method `follow`"):
        spec(Schedule(path, start=2.0), loss=loss)
    assert train(spec(Schedule(EPS, start=0.0), loss=Rigid()), few, seed=0).history


@pytest.mark.slow
def test_an_easy_start_and_a_hard_end_learn_digits():
    """A curriculum of eps, bits and the loss's weight, end to end."""
    digits = Digits().load()
    candidate = spec(
        Schedule(EPS, start=0.0, until=0.5),
        Schedule(BETA, start=0.5, shape="cosine"),
        Schedule("defenses.input.0.bits", values=(8, 6)),
        attack=Pgd(eps=0.1, step=0.05, steps=2),
        loss=Trades(beta=3.0),
        batch_size=64,
        epochs=7,
        defenses=DefenseSpec(input=(BitDepth(bits=3),)),
        optimizer=OptimizerSpec(lr=0.1, schedule="one_cycle"),
        validation=ValidationSpec(every=1, images=100, steps=5),
    )
    images = Split(digits.train.x[:800], digits.train.y[:800])
    candidate = replace(candidate, architecture=SmallCnn(width=8, depth=3))
    trained = train(candidate, images, digits.val, seed=0)
    assert trained.history[-1].validation["clean_accuracy"] > 0.7
    assert trained.history[-1].validation["robust_accuracy"] > 0.3
