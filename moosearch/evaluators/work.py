"""The work itself: a job in, an outcome out; in this process or in a Ray worker. It never raises."""

import functools
import importlib
import math
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moosearch.errors import DivergedError
from moosearch.evaluation import Evaluation
from moosearch.evaluators.allocator import keep_memory
from moosearch.evaluators.attempt import Attempt
from moosearch.evaluators.devices import use
from moosearch.evaluators.evaluation_on_test import evaluate_on_test
from moosearch.evaluators.faults import kind_of, release_memory
from moosearch.evaluators.task import Work
from moosearch.job import Begun, EpochDone, Job, Outcome, failure, light
from moosearch.provenance import versions
from moosearch.seeding import derive_seed

if TYPE_CHECKING:
    import torch

    from moosearch.data import Dataset, Splits
    from moosearch.training import CandidateSpec, Trained, Training


Load = Callable[["Dataset", "torch.device"], "Splits"]
"""Gives the images of a dataset, those for training and validation on the device."""


def evaluate(
    work: Work, job: Job, load: Load | None = None, gpu: int | None = None
) -> Iterator[Begun | EpochDone | Outcome]:
    """Train and measure a candidate.

    Everything random in it comes from the campaign's seed and the candidate's id. Whatever goes wrong
    becomes a failed evaluation with the traceback.

    Args:
        work: What is the same for all jobs.
        job: What to do.
        load: Where images come from; the dataset's own files if not given, read once a process.
        gpu: Which GPU to use where it is one, in the order in which torch counts; by default the current one.

    Yields:
        A `Begun`, an `EpochDone` after every epoch, and the `Outcome` at the end.
    """
    attempt = Attempt(work, job)
    provenance: dict[str, Any] = {
        "seed": work.seed_of(job),
        "started": datetime.now(UTC).isoformat(),
        "host": platform.node(),
        "pid": os.getpid(),
    }
    yield Begun(light(job), platform.node(), os.getpid())
    try:
        provenance |= versions()
        outcome = yield from _train_and_measure(attempt, provenance, load or load_once, gpu)
    except (KeyboardInterrupt, GeneratorExit):  # of whoever runs it
        raise
    except BaseException as error:  # a bad candidate is data, not the end of a campaign
        seconds = {"total": attempt.seconds}
        outcome = failure(job, kind_of(error), traceback.format_exc(), seconds, provenance)
    del attempt  # what an earlier one handed over
    if outcome.evaluation.failure == "memory" or _on_gpu():
        release_memory()  # for the next one, or others on the GPU; an error is gone by now, and its frames
    yield outcome


def _on_gpu() -> bool:
    """Whether this process holds memory of a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _train_and_measure(
    attempt: Attempt, provenance: dict[str, Any], load: Load, gpu: int | None
) -> Generator[EpochDone, None, Outcome]:
    import torch

    from moosearch.registry import build
    from moosearch.training import CandidateSpec

    work, job = attempt.work, attempt.job
    for module in work.imports:
        importlib.import_module(module)
    keep_memory()
    torch.set_num_threads(work.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 where candidates are judged
    device = use(work.device, gpu)
    provenance["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    spec: CandidateSpec = build(CandidateSpec, job.candidate.spec)
    splits = load(spec.dataset, device)
    attempt.resume(versions(), device.type)
    measured = _search if work.test_evaluation is None else _confirm
    return (yield from measured(attempt, spec, splits, provenance))


def _search(
    attempt: Attempt, spec: "CandidateSpec", splits: "Splits", provenance: dict[str, Any]
) -> Generator[EpochDone, None, Outcome]:
    """Train as often as asked for, and measure on validation images each time."""
    from moosearch.training import Subject

    work, job = attempt.work, attempt.job
    objectives, metrics = build_objectives(work.objectives), build_objectives(work.metrics)
    replicates: list[dict[str, float]] = attempt.found.get("replicates", [])
    first: dict[str, Any] = attempt.found.get("first", {})
    noise: dict[str, float] = {}
    for number in range(len(replicates), work.repeats):
        measured = {"replicates": replicates, "first": first}
        trained = yield from _trained(attempt, number, spec, splits, measured)
        subject = Subject(
            trained.net,
            splits.val,
            spec.dataset.tasks,
            spec.dataset.shape,
            derive_seed(work.seed, "judge"),
            spec,
            len(splits.train),
            noise=noise,
        )
        replicates.append(_measured([*objectives, *metrics], subject))
        first = first or _told(trained)
    values = {key: statistics.fmean(each[key] for each in replicates) for key in replicates[0]}
    several = work.repeats > 1
    evaluation = Evaluation(
        job.candidate,
        "complete",
        objectives={key: values[key] for key in map(_key, objectives)},
        metrics={key: values[key] for key in map(_key, metrics)},
        violations={str(c): c.violation(values[c.key]) for c in work.constraints},
        seconds=_seconds(attempt),
        attempts=job.attempt,
        provenance=provenance | first["provenance"] | ({"noise": noise} if noise else {}),
        replicates=tuple(replicates) if several else (),
        intervals={} if several else _intervals(objectives, values, len(splits.val)),
    )
    return Outcome(evaluation, light(job), _saved(first["states"]), tuple(first["history"]))


def _confirm(
    attempt: Attempt, spec: "CandidateSpec", splits: "Splits", provenance: dict[str, Any]
) -> Generator[EpochDone, None, Outcome]:
    """Train once, and judge on test images."""
    work, job = attempt.work, attempt.job
    assert work.test_evaluation is not None
    trained = yield from _trained(attempt, 0, spec, splits, {})
    images = splits.test.first(work.test_evaluation.images).to(splits.train.x.device)
    confirmed, judgment = evaluate_on_test(
        work.test_evaluation,
        trained.net,
        images,
        spec.dataset.tasks,
        spec.dataset.shape,
        build_objectives(work.objectives),
        seed=derive_seed(work.seed, "judge, test"),
    )
    told = _told(trained)
    evaluation = Evaluation(
        job.candidate,
        "complete",
        objectives=confirmed,
        seconds=_seconds(attempt),
        attempts=job.attempt,
        provenance=provenance | told["provenance"],
    )
    return Outcome(evaluation, light(job), _saved(told["states"]), tuple(told["history"]), judgment)


def _trained(
    attempt: Attempt,
    replicate: int,
    spec: "CandidateSpec",
    splits: "Splits",
    measured: Mapping[str, Any],
) -> Generator[EpochDone, None, "Trained"]:
    """Train, or go on where an earlier attempt was.

    Args:
        attempt: This attempt.
        replicate: Which training of a search it is.
        spec: The candidate.
        splits: The images.
        measured: What is to be handed over to the next attempt besides the training.
    """
    work, job = attempt.work, attempt.job
    earlier, before = attempt.training, time.perf_counter()
    training = _started(attempt, replicate, spec, splits)
    attempt.check("before training")
    while not training.finished:
        epoch = training.epoch()
        attempt.training = earlier + time.perf_counter() - before
        kept = attempt.keep({**measured, "state": training.state()}) if attempt.due() else b""
        yield EpochDone(light(job), epoch.epochs, epoch.row(), kept, replicate, work.repeats)
        attempt.check(f"after epoch {epoch.epoch} of {epoch.epochs}")
    trained = training.trained()
    attempt.training = earlier + time.perf_counter() - before
    return trained


def _started(attempt: Attempt, replicate: int, spec: "CandidateSpec", splits: "Splits") -> "Training":
    """Return the training where an earlier attempt left it, or before its first epoch."""
    from moosearch.training import Training

    work, job = attempt.work, attempt.job
    seed = work.seed_of(Job(job.candidate, replicate) if work.test_evaluation is None else job)

    def fresh() -> Training:
        return Training(spec, splits.train, splits.val, seed=seed, parts=job.parts)

    training, state = fresh(), attempt.found.pop("state", None)
    if state is None:
        return training
    try:
        training.load(state)
    except Exception as error:
        if kind_of(error) == "memory":
            raise
        return fresh()  # the user's own plug-in has changed since
    return training


def _seconds(attempt: Attempt) -> dict[str, float]:
    total = attempt.seconds
    return {"train": attempt.training, "measure": total - attempt.training, "total": total}


def _told(trained: "Trained") -> dict[str, Any]:
    """Return what is told of a training: the judged state, and the other one where it is of another epoch."""
    states = {"weights": trained.net.state_dict()}
    if trained.best != len(trained.history):
        states[trained.other] = dict(trained.states[trained.other])
    return {
        "states": states,
        "history": [epoch.row() for epoch in trained.history],
        "provenance": {"best_epoch": trained.best, "precision": trained.precision}
        | ({"fault": trained.fault} if trained.fault else {}),
    }


def _measured(objectives: list[Any], subject: Any) -> dict[str, float]:
    values = {_key(objective): objective.measure(subject) for objective in objectives}
    for key, value in values.items():
        if math.isnan(value):
            raise DivergedError(f"{key} is NaN")
    return values


def _key(objective: Any) -> str:
    from moosearch.training import key_of

    return key_of(objective)


def _intervals(objectives: list[Any], values: Mapping[str, float], images: int) -> dict[str, list[float]]:
    """Return Wilson intervals of the accuracies; an objective without ``images`` is measured on all.

    A mean of several shares of images has none.
    """
    from moosearch.judgment import wilson

    found = {}
    for objective in objectives:
        if objective.kind == "fraction" and objective.is_proportion:
            measured = min(objective.images or images, images)
            found[_key(objective)] = list(wilson(round(values[_key(objective)] * measured), measured))
    return found


def _saved(states: Mapping[str, Mapping[str, "torch.Tensor"]]) -> dict[str, bytes]:
    from safetensors.torch import save

    return {
        name: save({key: tensor.cpu().contiguous() for key, tensor in state.items()})
        for name, state in states.items()
    }


def build_objectives(nodes: tuple[Mapping[str, Any], ...]) -> list[Any]:
    """Build objectives from plain data."""
    from typing import Annotated

    from moosearch.registry import build
    from moosearch.training import OBJECTIVES, Objective

    return [build(Annotated[Objective, OBJECTIVES], node) for node in nodes]


@functools.lru_cache(maxsize=2)
def load_once(dataset: "Dataset", device: "torch.device") -> "Splits":
    """Load a dataset once a process, training and validation images on the device."""
    from moosearch.data import Splits

    splits = dataset.load()
    return Splits(splits.train.to(device), splits.val.to(device), splits.test)
