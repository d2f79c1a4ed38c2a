"""How long programs take on this machine, by batch size."""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moosearch.models.timing import seconds_of, undisturbed

BATCHES = (1, 8, 64, 256)
"""Images at a time."""

REPEATS = 30
"""Timed passes, as long as they fit into `SECONDS`; at least 3."""

SECONDS = 0.3
"""For one program and one batch size, about; a batch of which a pass takes `LONGEST` is left out."""

LONGEST = 1.5
"""Seconds that a pass may be expected to take."""

MEMORY = 2**30
"""Bytes that the layers' outputs of one batch may take together."""


def measure(
    programs: Mapping[str, Callable[[Tensor], Tensor]],
    model: nn.Module,
    shape: tuple[int, int, int],
    batches: Sequence[int] = BATCHES,
) -> dict[str, Any]:
    """Measure inference on the CPU.

    Args:
        programs: (B, C, H, W) float32 images -> logits, by name.
        model: The network, from which the memory of a batch is estimated.
        shape: (C, H, W) of an image.
        batches: Images at a time.

    Returns:
        ``device``, ``cpu``, ``cores`` (of the machine), ``threads`` (that the programs may use), ``batches``,
        and ``milliseconds``: by program the median of a batch of each size, None where it was left out as
        too large for the bounds of this module.
    """
    per_image = _bytes(model, shape)
    found: dict[str, list[float | None]] = {name: [] for name in programs}
    expected = dict.fromkeys(programs, 0.0)  # seconds an image
    for batch in batches:
        fits = batch == 1 or batch * per_image <= MEMORY
        running = {name: p for name, p in programs.items() if fits and expected[name] * batch <= LONGEST}
        with undisturbed():
            seconds = _medians(running, torch.zeros(batch, *shape)) if running else {}
        for name in programs:
            found[name].append(1e3 * seconds[name] if name in seconds else None)
        expected |= {name: value / batch for name, value in seconds.items()}
    return {
        "device": "cpu",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "batches": list(batches),
        "milliseconds": found,
    }


@torch.inference_mode()
def _medians(programs: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor) -> dict[str, float]:
    """Return the median of repeated passes after warming up, in seconds.

    Programs take turns, so that what else the machine does strikes all of them.
    """
    warm = {name: [_seconds(program, x) for _ in range(2)][-1] for name, program in programs.items()}
    repeats = int(SECONDS * len(programs) / max(sum(warm.values()), 1e-6))
    turns = [
        {name: _seconds(program, x) for name, program in programs.items()}
        for _ in range(max(3, min(REPEATS, repeats)))
    ]
    return {name: statistics.median(turn[name] for turn in turns) for name in programs}


def _seconds(program: Callable[[Tensor], Tensor], x: Tensor) -> float:
    return seconds_of(lambda: program(x), x.device)


@torch.no_grad()
def _bytes(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Add up the outputs of all layers for one image."""
    total = 0

    def add(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal total
        total += output.nbytes if isinstance(output, Tensor) and not any(module.children()) else 0

    hooks = [module.register_forward_hook(add) for module in model.modules()]
    model(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return total


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
