"""What inference takes, measured: time and energy. Other work on the machine disturbs it as little as can be.

A measurement has warm-up passes, and then rounds of timed ones; of each round the median counts, and of the
rounds the least: what else a machine does can make a pass longer, never shorter.
"""

import contextlib
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from moosearch.errors import SpecError
from moosearch.extras import require

SECONDS = 5.0
"""After so long a measurement ends, but for one pass of every round."""

PATIENCE = 10.0
"""Seconds that the meter of a GPU may stand still under load."""


@dataclass(frozen=True)
class Measured:
    """A value that was measured in rounds.

    Attributes:
        value: The least of the rounds' values.
        variation: Coefficient of variation of the rounds' values: their standard deviation by their mean; 0
            for a single one.
    """

    value: float
    variation: float

    @classmethod
    def of(cls, rounds: list[float]) -> "Measured":
        """Take the least of the rounds' values."""
        spread = statistics.stdev(rounds) / statistics.fmean(rounds) if len(rounds) > 1 else 0.0
        return cls(min(rounds), spread)


@contextlib.contextmanager
def undisturbed(threads: int | None = None) -> Iterator[None]:
    """Be the only one on this machine that measures, and compute with so many CPU threads.

    Who else wants to measure waits. The threads are put back afterwards.

    Args:
        threads: CPU threads of torch; as many as it has if not given.
    """
    owner = getattr(os, "getuid", int)()  # another user's lock cannot be opened
    before = torch.get_num_threads()
    with FileLock(Path(tempfile.gettempdir()) / f"moosearch-timing-{owner}.lock"):
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Return how long a call computes: on a GPU by its own events, waited for."""
    if device.type == "cuda":
        events: Any = torch.cuda.Event  # which has no types
        start, end = events(enable_timing=True), events(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def measure_latency(
    network: nn.Module,
    shape: tuple[int, int, int],
    *,
    batch: int,
    repeats: int,
    rounds: int = 1,
    threads: int = 1,
) -> Measured:
    """Measure the inference time of a batch, in milliseconds.

    Args:
        network: A deployed network on the device to measure, as it is: nothing is folded or compiled.
        shape: (C, H, W) of an image.
        batch: Images at a time.
        repeats: Timed passes in all, after a fifth as many (3, or all, at least) for warming up; fewer, one a
            round at least, where they would take longer than `SECONDS`.
        rounds: In how many rounds; others may measure in between.
        threads: CPU threads.
    """
    run, device = _passing(network, shape, batch)
    warm_up, each = max(min(3, repeats), repeats // 5), -(-repeats // rounds)
    medians = []
    with torch.inference_mode():
        for number in range(rounds):
            with undisturbed(threads):
                for _ in _until(SECONDS / 5, warm_up if number == 0 else 1):
                    seconds_of(run, device)
                times = [seconds_of(run, device) for _ in _until(SECONDS / rounds, each)]
            medians.append(1e3 * statistics.median(times))
    return Measured.of(medians)


def measure_energy(
    network: nn.Module,
    shape: tuple[int, int, int],
    meter: Callable[[], float],
    *,
    batch: int,
    seconds: float,
    rounds: int = 1,
) -> Measured:
    """Measure the energy of inference, in the meter's unit an image.

    What the device uses for being there counts too, and so does whatever else runs on it. The meter of a GPU
    moves in steps, of some 20 to 100 ms: rounds begin and end with one.

    Args:
        network: A deployed network on the device that the meter is of.
        shape: (C, H, W) of an image.
        meter: Returns the energy used so far, as `energy_meter` does.
        batch: Images at a time.
        seconds: How long a round takes at least.
        rounds: Number of rounds.

    Raises:
        SpecError: The meter does not move.
    """
    run, device = _passing(network, shape, batch)

    def moved(reading: float) -> tuple[float, int]:
        """Run until the meter moves: what it shows then, and the passes so far."""
        begun = time.perf_counter()
        for passes in range(1, 2**31):
            seconds_of(run, device)
            if meter() != reading:
                return meter(), passes
            if time.perf_counter() - begun > PATIENCE:
                break
        raise SpecError(f"energy: the GPU's meter did not move in {PATIENCE:g} s of work.")

    found = []
    with torch.inference_mode():
        for _ in range(rounds):
            with undisturbed():
                start, _ = moved(meter())
                begun, count, reading = time.perf_counter(), 0, start
                while reading == start or time.perf_counter() - begun < seconds:
                    reading, passes = moved(reading)
                    count += passes
            found.append((reading - start) / (count * batch))
    return Measured.of(found)


def energy_meter(device: torch.device) -> Callable[[], float]:
    """Return what reads the energy in millijoules that a GPU has used since its driver was loaded.

    Raises:
        SpecError: It is no GPU, it does not report its energy, or the package to ask it is missing.
    """
    if device.type != "cuda":
        raise SpecError(
            "energy is that of an NVIDIA GPU, and candidates are not trained on one here: leave it out, or "
            "measure `latency` or `flops`."
        )
    require("energy", "energy")
    pynvml: Any = importlib.import_module("pynvml")
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise SpecError(f"energy: this GPU does not report it (NVML: {error}): leave it out.") from None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))


def _passing(
    network: nn.Module, shape: tuple[int, int, int], batch: int
) -> tuple[Callable[[], Tensor], torch.device]:
    """Return a pass of a batch through a network in eval mode, and its device."""
    device = next(network.parameters()).device
    x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    network.eval()
    return lambda: network(x), device


def _until(seconds: float, most: int) -> Iterator[int]:
    """Count to a number, or as far as the time goes; once at least."""
    begun = time.perf_counter()
    for number in range(most):
        yield number
        if time.perf_counter() - begun > seconds:
            return
