"""Jobs that go on where they were, run out of time or memory, and give what they would have given."""

import dataclasses
import weakref

import pytest
import torch
from safetensors.torch import load
from torch import nn

from moosearch.data import Split, Splits
from moosearch.data.digits import Digits
from moosearch.data.images import resized
from moosearch.evaluation import Candidate
from moosearch.evaluators import EpochDone, EvaluationOnTest, Job, Outcome, Work, attempt, work
from moosearch.evaluators.faults import Retries, again
from moosearch.evaluators.work import evaluate
from moosearch.training import Training
from moosearch.training.train import Trainer

OBJECTIVES = (
    {"name": "clean_accuracy"},
    {"name": "robust_accuracy", "attacks": [{"name": "pgd", "eps": 0.1, "step": 0.05, "steps": 2}]},
)
METRICS = ({"name": "parameters"},)
PGD = {"name": "pgd", "eps": 0.1, "step": 0.05, "steps": 2}
MIXED = {"name": "mixed", "eps": 0.1, "step": 0.05, "steps": 1}
LENET = {"name": "lenet", "width": 0.05}
RESNET = {"name": "small_resnet", "width": 4, "depth": 1}


@pytest.fixture(scope="module")
def images():
    """A few digits, as a job loads them."""
    splits = Digits().load()

    def load(dataset, device):
        few = Splits(splits.train.first(48), splits.val.first(32), splits.test.first(8))
        return Splits(*(Split(resized(split.x, dataset.size), split.y) for split in vars(few).values()))

    return load


def candidate(*, architecture=LENET, auxiliary=(), size=0, **training):
    training = {"epochs": 3, "batch_size": 16, "attack": PGD} | training
    dataset = {"name": "digits", "auxiliary": list(auxiliary), "size": size}
    return Candidate("0a", {}, {"dataset": dataset, "architecture": architecture, "training": training})


def todo(**fields):
    return Work(**{"seed": 3, "objectives": OBJECTIVES, "metrics": METRICS, "checkpoint": 0.0} | fields)


def run(job, images, **fields):
    """All that is heard of a job but its outcome, and the outcome."""
    *heard, outcome = evaluate(todo(**fields), job, images)
    assert isinstance(outcome, Outcome)
    return [event for event in heard if isinstance(event, EpochDone)], outcome


def result(outcome):
    """What must be the same bit for bit."""
    found = outcome.evaluation
    assert found.status == "complete", found.error
    return (
        outcome.checkpoints,
        outcome.history,
        outcome.judgment,
        found.objectives,
        found.metrics,
        found.replicates,
        found.provenance["best_epoch"],
    )


RECIPES = {
    "sgd, one cycle": candidate(optimizer={"kind": "sgd", "lr": 0.1, "schedule": "one_cycle"}),
    "adamw, cosine": candidate(optimizer={"kind": "adamw", "lr": 0.01, "schedule": "cosine"}),
    "steps": candidate(optimizer={"schedule": "step", "milestones": [0.7, 0.9]}, architecture=RESNET),
    "average": candidate(average=0.5, architecture=RESNET, checkpoint="last"),
    "morel": candidate(loss={"name": "morel", "embedding": 8}, optimizer={"kind": "adamw", "lr": 0.01}),
    "mixed": candidate(attack=MIXED, auxiliary=["odd_even"], augmentation={"crop": 1, "flip": True}),
    "train mode": candidate(attack=PGD | {"mode": "train"}, architecture=RESNET),
    "dropout": candidate(architecture={"name": "alexnet", "width": 0.02}, size=64),
    "no validation": candidate(validation={"every": 0}),
    "seldom": candidate(validation={"every": 2}, loss="trades"),
    "loat": candidate(loss={"name": "loat", "first": 0.4, "last": 0.7}),
    "contiguous": candidate(numerics={"memory_format": "contiguous"}, architecture=RESNET),
}


@pytest.mark.rotated(4)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_job_goes_on_after_any_epoch_as_if_nothing_had_been(recipe, images):
    job = Job(RECIPES[recipe])
    epochs, outcome = run(job, images)
    assert [epoch.row["epoch"] for epoch in epochs] == [1, 2, 3]
    for epoch in epochs:
        torch.manual_seed(int(epoch.row["epoch"]))  # nothing comes from the global generator
        left, late = run(dataclasses.replace(job, checkpoint=epoch.checkpoint, attempt=2), images)
        assert [e.row["epoch"] for e in left] == [e for e in (1, 2, 3) if e > epoch.row["epoch"]]
        assert result(late) == result(outcome)
        assert late.evaluation.attempts == 2
        assert late.evaluation.seconds["total"] > late.evaluation.seconds["train"] > 0
    assert all(event.job.checkpoint == b"" for event in [*epochs, *left, late])


@pytest.mark.slow
def test_a_job_of_several_trainings_goes_on_in_any_of_them(images):
    job = Job(candidate(architecture=RESNET, epochs=2))
    epochs, outcome = run(job, images, repeats=2)
    assert [(e.replicate, e.number, e.job.number) for e in epochs] == [(r, r, 0) for r in (0, 0, 1, 1)]
    assert len(outcome.evaluation.replicates) == 2
    assert outcome.checkpoints == run(job, images)[1].checkpoints
    for done, epoch in enumerate(epochs, start=1):
        left, late = run(dataclasses.replace(job, checkpoint=epoch.checkpoint), images, repeats=2)
        assert len(left) == len(epochs) - done
        assert result(late) == result(outcome)


def test_a_confirmation_goes_on_too(images, monkeypatch):
    def evaluate_on_test(test_evaluation, net, x, tasks, shape, objectives, *, seed):
        return {"clean_accuracy": 0.5}, {"logits": net(x.x).tolist()}

    monkeypatch.setattr(work, "evaluate_on_test", evaluate_on_test)
    test_evaluation = EvaluationOnTest((), ())
    job = Job(candidate(), number=2)
    epochs, outcome = run(job, images, test_evaluation=test_evaluation)
    left, late = run(
        dataclasses.replace(job, checkpoint=epochs[1].checkpoint), images, test_evaluation=test_evaluation
    )
    assert [e.number for e in left] == [2]
    assert result(late) == result(outcome)
    other, _ = run(
        dataclasses.replace(job, number=1, checkpoint=epochs[1].checkpoint),
        images,
        test_evaluation=test_evaluation,
    )
    assert len(other) == 3


def found(job, checkpoint, versions=None, device="cpu", **fields):
    """What an attempt at a job takes from a checkpoint."""
    now = attempt.Attempt(todo(**fields), dataclasses.replace(job, checkpoint=checkpoint))
    now.resume(versions or {"moosearch": "1", "torch": "2"}, device)
    return now.found


def test_a_checkpoint_of_somebody_else_or_damaged_is_no_checkpoint():
    job, now = Job(candidate()), attempt.Attempt(todo(), Job(candidate()))
    now.resume({"moosearch": "1", "torch": "2"}, "cpu")
    data = now.keep({"state": [torch.arange(100.0)]})
    assert found(job, data)["state"][0][7] == 7
    assert not found(Job(candidate(epochs=4)), data)
    assert not found(job, data, seed=4)
    assert not found(job, data, metrics=())
    assert not found(job, data, test_evaluation=EvaluationOnTest((), ()))
    assert not found(job, data, versions={"moosearch": "1", "torch": "3"})
    assert not found(job, data, versions={"moosearch": "2", "torch": "2"})
    assert not found(job, data, device="cuda")
    assert not any(found(job, data[:length]) for length in range(len(data)))
    assert not any(found(job, bad) for bad in (b"x", b"\0" * 64, data + b"\0", data[1:]))


def test_a_damaged_checkpoint_does_not_make_a_candidate_fail(images):
    job = Job(candidate())
    epochs, outcome = run(job, images)
    left, late = run(dataclasses.replace(job, checkpoint=epochs[1].checkpoint[:-1]), images)
    assert len(left) == 3
    assert result(late) == result(outcome)


def test_a_training_that_does_not_fit_starts_anew(images, monkeypatch):
    job = Job(candidate())
    epochs, outcome = run(job, images)
    trainer_load = Trainer.load

    def broken(trainer, state):
        trainer_load(trainer, state)
        raise KeyError("a field of a newer plug-in")

    monkeypatch.setattr(Trainer, "load", broken)
    left, late = run(dataclasses.replace(job, checkpoint=epochs[1].checkpoint), images)
    assert len(left) == 3
    assert result(late) == result(outcome)


@pytest.fixture
def clock(monkeypatch):
    """A clock that an epoch takes 10 s of, and all else nothing."""

    class Clock:
        now = 100.0

    trained = Training.epoch

    def epoch(training):
        Clock.now += 10
        return trained(training)

    monkeypatch.setattr(attempt, "perf_counter", lambda: Clock.now)
    monkeypatch.setattr(work.time, "perf_counter", lambda: Clock.now)
    monkeypatch.setattr(Training, "epoch", epoch)
    return Clock


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("every", "kept"), [(0, [1, 2, 3, 4, 5]), (10, [1, 2, 3, 4, 5]), (15, [2, 4]), (30, [3]), (60, [])]
)
def test_an_epoch_is_kept_when_so_many_seconds_have_passed_since_the_last(images, every, kept):
    epochs, _ = run(Job(candidate(epochs=5)), images, checkpoint=every)
    assert [epoch.row["epoch"] for epoch in epochs if epoch.checkpoint] == kept


@pytest.mark.usefixtures("clock")
def test_seconds_of_all_attempts_are_recorded(images):
    job = Job(candidate())
    epochs, outcome = run(job, images, repeats=2)
    expected = {"train": 60, "measure": 0, "total": 60}
    assert outcome.evaluation.seconds == expected
    for epoch in epochs:
        _, late = run(dataclasses.replace(job, checkpoint=epoch.checkpoint), images, repeats=2)
        assert late.evaluation.seconds == expected


@pytest.mark.usefixtures("clock")
def test_a_job_that_takes_too_long_fails_after_the_epoch(images):
    job = Job(candidate(epochs=4))
    epochs, outcome = run(job, images, limit=25.0)
    assert len(epochs) == 3
    assert outcome.evaluation.failure == "time"
    assert outcome.evaluation.seconds["total"] == 30
    assert "30.0 s, more than the limit of 25 s: stopped after epoch 3 of 4" in outcome.evaluation.reason
    late = dataclasses.replace(job, checkpoint=epochs[1].checkpoint)
    assert [epoch.row["epoch"] for epoch in run(late, images, limit=25.0)[0]] == [3]
    left, outcome = run(dataclasses.replace(job, checkpoint=epochs[2].checkpoint), images, limit=25.0)
    assert not left
    assert outcome.evaluation.failure == "time"
    assert run(job, images, limit=40.0)[1].evaluation.status == "complete"
    assert run(job, images, limit=39.0)[1].evaluation.failure == "time"  # before it is measured


@pytest.fixture
def short_of_memory(monkeypatch):
    """Let a convolution take no more images with gradients than so many."""

    def limit(most):
        forward = nn.Conv2d.forward

        def short(layer, x):
            if torch.is_grad_enabled() and len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(layer, x)

        monkeypatch.setattr(nn.Conv2d, "forward", short)

    return limit


LOSSES = ["cross_entropy", "trades", "mart", {"name": "morel", "embedding": 8, "base": "mart"}]


def through_all_tries(job, images, retries):
    """The outcome that stands, and the parts of every try."""
    tries = []
    while job is not None:
        tries.append(job.parts)
        *_, outcome = evaluate(todo(), job, images)
        job = again(outcome, retries)
    return outcome, tries


def same_results(outcome, expected):
    """Whether two outcomes are the same up to rounding."""
    for name, state in expected.checkpoints.items():
        ours = load(outcome.checkpoints[name])
        for key, tensor in load(state).items():
            torch.testing.assert_close(ours[key], tensor, atol=1e-5, rtol=1e-4, msg=key)
    assert outcome.evaluation.objectives == pytest.approx(expected.evaluation.objectives)
    for row, other in zip(outcome.history, expected.history, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_out_of_memory_is_tried_again_in_parts_until_it_fits(images, short_of_memory, monkeypatch):
    job = Job(candidate(attack=MIXED, auxiliary=["odd_even"]))
    _, expected = run(job, images)
    released = []
    monkeypatch.setattr(work, "release_memory", lambda: released.append(1))
    short_of_memory(8)
    outcome, tries = through_all_tries(job, images, Retries(memory=3))
    assert tries == [1, 2, 4]
    assert outcome.evaluation.attempts == 3
    assert len(released) == 2
    same_results(outcome, expected)


def test_what_a_failed_try_held_is_free_when_its_outcome_is_heard(images, monkeypatch):
    held = []

    def epoch(training):
        tensor = torch.ones(1)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Training, "epoch", epoch)
    for event in evaluate(todo(), Job(candidate()), images):
        if isinstance(event, Outcome):
            assert [kept() for kept in held] == [None]


def test_out_of_memory_stands_after_as_many_tries_as_allowed(images, short_of_memory):
    short_of_memory(0)
    outcome, tries = through_all_tries(Job(candidate()), images, Retries(memory=2))
    assert tries == [1, 2, 4]
    assert outcome.evaluation.failure == "memory"


def test_out_of_memory_after_an_epoch_goes_on_from_there_in_parts(images):
    job = Job(candidate(architecture=RESNET))
    epochs, expected = run(job, images)
    left, outcome = run(dataclasses.replace(job, checkpoint=epochs[1].checkpoint, parts=4), images)
    assert len(left) == 1
    same_results(outcome, expected)


@pytest.mark.rotated(4)
@pytest.mark.parametrize("architecture", [LENET, RESNET], ids=["lenet", "small_resnet"])
@pytest.mark.parametrize("attack", [PGD, MIXED], ids=["pgd", "mixed"])
@pytest.mark.parametrize("loss", LOSSES, ids=["cross_entropy", "trades", "mart", "morel"])
def test_results_in_parts_are_those_of_the_whole(loss, attack, architecture, images):
    tasks = ["odd_even"] if attack is MIXED else []
    job = Job(candidate(architecture=architecture, attack=attack, auxiliary=tasks, loss=loss, epochs=1))
    _, expected = run(job, images)
    for parts in (2, 8):
        _, outcome = run(dataclasses.replace(job, parts=parts), images)
        same_results(outcome, expected)
