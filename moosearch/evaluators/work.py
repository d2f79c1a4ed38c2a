"""The work itself: a candidate in, an outcome out; in this process or in a Ray worker. It never raises."""

import functools
import importlib
import math
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from moosearch.evaluation import Candidate, Constraint, Evaluation
from moosearch.evaluators.allocator import keep_memory
from moosearch.seeding import derive_seed

if TYPE_CHECKING:
    import torch

    from moosearch.data import Dataset, Splits
    from moosearch.training.train import Trained


@dataclass(frozen=True)
class Work:
    """What is the same for all candidates of a campaign; plain data, so that it travels.

    Attributes:
        seed: Seed of the campaign.
        objectives: Objectives as in the file, with all defaults.
        metrics: The same for what only constraints need: objectives that are measured but not optimized.
        constraints: Bounds on any of both.
        threads: CPU threads of a candidate. Results may depend on it, so every evaluator obeys it.
        imports: Modules that register the user's own plug-ins.
    """

    seed: int
    objectives: tuple[Mapping[str, Any], ...]
    metrics: tuple[Mapping[str, Any], ...] = ()
    constraints: tuple[Constraint, ...] = ()
    threads: int = 1
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochDone:
    """What is heard from a candidate in training.

    Attributes:
        candidate: Who trains.
        epochs: How many epochs there will be.
        row: The row of the training history, with ``epoch`` from 1.
    """

    candidate: Candidate
    epochs: int
    row: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What comes back from a candidate in the end.

    Attributes:
        evaluation: What is known of it now.
        checkpoints: States of the trained network as safetensors: ``weights``, which was judged, and the
            other of ``best`` and ``last`` where it is another one; empty when it failed.
        history: A row an epoch.
    """

    evaluation: Evaluation
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()


def evaluate(work: Work, candidate: Candidate) -> Iterator[EpochDone | Outcome]:
    """Train and measure a candidate.

    Everything random in it comes from the campaign's seed and the candidate's id. Whatever goes wrong
    becomes a failed evaluation with the traceback.

    Yields:
        An `EpochDone` after every epoch, and the `Outcome` at the end.
    """
    start = time.perf_counter()
    started = datetime.now(UTC).isoformat()
    seed = derive_seed(work.seed, "candidate", candidate.id)
    provenance = {"seed": seed, "started": started, "host": platform.node(), "pid": os.getpid()}
    try:
        provenance |= versions()
        yield from _train_and_measure(work, candidate, seed, provenance)
    except Exception:  # a bad candidate is data, not the end of a campaign
        seconds = {"total": time.perf_counter() - start}
        yield failure(candidate, traceback.format_exc(), seconds, provenance)


def failure(
    candidate: Candidate,
    error: str,
    seconds: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Outcome:
    """Return the outcome of a candidate that failed with an error text."""
    return Outcome(
        Evaluation(candidate, "failed", error=error, seconds=seconds or {}, provenance=provenance or {})
    )


def _train_and_measure(
    work: Work, candidate: Candidate, seed: int, provenance: dict[str, Any]
) -> Iterator[EpochDone | Outcome]:
    import torch

    from moosearch.registry import build
    from moosearch.training import CandidateSpec, Subject, key_of, train_by_epochs

    for module in work.imports:
        importlib.import_module(module)
    keep_memory()
    torch.set_num_threads(work.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 where candidates are judged
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    provenance["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    spec: CandidateSpec = build(CandidateSpec, candidate.spec)
    splits = _splits(spec.dataset, device)

    start = time.perf_counter()
    epochs = train_by_epochs(spec, splits.train, splits.val, seed=seed)
    while True:
        try:
            epoch = next(epochs)
        except StopIteration as stop:
            trained: Trained = stop.value
            break
        yield EpochDone(candidate, epoch.epochs, epoch.row())
    between = time.perf_counter()
    provenance |= {"best_epoch": trained.best, "precision": trained.precision}
    judge = derive_seed(work.seed, "judge")
    subject = Subject(trained.net, splits.val, spec.dataset.tasks, spec.dataset.shape, judge)
    measured = [
        {key_of(objective): objective.measure(subject) for objective in build_objectives(nodes)}
        for nodes in (work.objectives, work.metrics)
    ]
    end = time.perf_counter()

    values = measured[0] | measured[1]
    for key, value in values.items():
        if math.isnan(value):
            raise ValueError(f"{key} is NaN")
    evaluation = Evaluation(
        candidate,
        "complete",
        objectives=measured[0],
        metrics=measured[1],
        violations={str(c): c.violation(values[c.key]) for c in work.constraints},
        seconds={"train": between - start, "measure": end - between, "total": end - start},
        provenance=provenance,
    )
    yield Outcome(evaluation, _checkpoints(trained), tuple(epoch.row() for epoch in trained.history))


def _checkpoints(trained: "Trained") -> dict[str, bytes]:
    """Write the judged checkpoint, and the other one where it comes from another epoch."""
    from safetensors.torch import save

    states = {"weights": trained.net.state_dict()}
    if trained.best != len(trained.history):
        states[trained.other] = trained.states[trained.other]
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
def _splits(dataset: "Dataset", device: "torch.device") -> "Splits":
    """Load a dataset once a process, training and validation images on the device."""
    from moosearch.data import Splits

    splits = dataset.load()
    return Splits(splits.train.to(device), splits.val.to(device), splits.test)


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    names = ("moosearch", "torch", "torchvision", "pymoo", "optuna", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "ray" in sys.modules:
        found["ray"] = version("ray")
    return found
