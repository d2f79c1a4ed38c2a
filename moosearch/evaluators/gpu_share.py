"""How many candidates share a GPU: as many as it has memory for, measured by a dry run of the largest."""

import dataclasses
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from moosearch.evaluators.devices import use
from moosearch.evaluators.faults import kind_of, release_memory

if TYPE_CHECKING:
    import torch

    from moosearch.evaluators.task import Work
    from moosearch.training import CandidateSpec

KEPT = 0.1
"""Share of a GPU's memory that is left free."""

MARGIN = 1.25
"""A candidate in the middle of the space, or a longer training, may take more than the corner tried."""

CONTEXT = 600 * 2**20
"""Bytes that CUDA and its libraries take for each process on a GPU."""

TRIED = 4
"""Corners that are tried, from the one that seems the largest."""


class Footprint(NamedTuple):
    """What was measured.

    Attributes:
        total: Bytes of the GPU's memory.
        peak: Bytes that torch held at most for a candidate, the dataset's images apart.
    """

    total: int
    peak: int


def sharing(found: Footprint | None, images: int, gpus: int) -> int:
    """Return how many candidates a GPU has memory for, 1 or more.

    Args:
        found: What was measured; None where it could not be.
        images: Bytes of the images of the datasets, which each process holds on its GPU.
        gpus: GPUs of a node: a process that has used one keeps its context there.

    Example:
        >>> sharing(Footprint(80 * 2**30, 4 * 2**30), 2**30, 1), sharing(None, 0, 1)
        (10, 1)
    """
    if found is None:
        return 1
    each = MARGIN * found.peak + images + CONTEXT * gpus
    return max(1, math.floor((1 - KEPT) * found.total / each))


def measure(work: "Work", gpu: int | None) -> Footprint | None:
    """Train the largest corners for a step, judge them, and see how much memory of the GPU that takes.

    Args:
        work: What is the same for all candidates, the corners of the space among it.
        gpu: Which GPU, in the order in which torch counts.

    Returns:
        None where torch has no GPU, or a corner cannot be tried.
    """
    import torch

    for module in work.imports:
        importlib.import_module(module)
    device = use(work.device, gpu)
    if device.type != "cuda" or not work.corners:
        return None
    total = int(torch.cuda.get_device_properties(device).total_memory)
    try:
        torch.cuda.reset_peak_memory_stats(device)
        for spec in largest(work.corners):
            dry_run(work, spec, device)
            release_memory()
        return Footprint(total, int(torch.cuda.max_memory_reserved(device)))
    except Exception as error:
        return Footprint(total, total) if kind_of(error) == "memory" else None


def largest(corners: Sequence[Mapping[str, Any]]) -> list["CandidateSpec"]:
    """Return the corners that seem to need the most memory, by what a forward pass holds and by weights."""
    from moosearch.models import count_parameters, peak_memory
    from moosearch.models.blank import blank
    from moosearch.registry import build
    from moosearch.training import CandidateSpec

    sizes: dict[Any, int] = {}
    rated = []
    for tree in corners:
        spec: CandidateSpec = build(CandidateSpec, tree)
        batch = spec.training.batch_size
        key = spec.architecture, spec.defenses, spec.dataset.shape, batch
        if key not in sizes:
            with blank("meta"):
                net = spec.build_network(seed=0).deployed()
            held = peak_memory(net, spec.dataset.shape, batch=batch)
            sizes[key] = held + 4 * count_parameters(net)
        rated.append((sizes[key], spec))
    rated.sort(key=lambda pair: -pair[0])
    return [spec for _, spec in rated[:TRIED]]


def dry_run(work: "Work", spec: "CandidateSpec", device: "torch.device") -> None:
    """Train for a step on noise, and judge as a search does on a batch of it."""
    from moosearch.evaluators.work import build_objectives
    from moosearch.judging.measure import batch_size
    from moosearch.training import Subject, Training

    step = dataclasses.replace(spec, training=dataclasses.replace(spec.training, epochs=1))
    images = _noise(step, spec.training.batch_size, device)
    judged = _noise(step, min(batch_size(images), 512), device)
    training = Training(step, images, judged, seed=0)
    training.epoch()
    subject = Subject(
        training.trained().net, judged, spec.dataset.tasks, spec.dataset.shape, 0, spec, len(images)
    )
    for objective in build_objectives((*work.objectives, *work.metrics)):
        if objective.kind == "fraction":
            objective.measure(subject)


def _noise(spec: "CandidateSpec", count: int, device: "torch.device") -> Any:
    import torch

    from moosearch.data import Split

    classes = len(spec.dataset.tasks[0].groups)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, *spec.dataset.shape, generator=generator)
    y = torch.arange(count) % classes
    if spec.dataset.tasks[0].top > 1:
        y = (torch.rand(count, classes, generator=generator).argsort(1) < spec.dataset.tasks[0].top).long()
    return Split(x, y).to(device)
