"""Images a second of adversarial training, ours against other people's schemes.

    pip install --no-deps -r tests/benchmarks/training_speed/requirements.txt
    python tests/benchmarks/training_speed/run.py --mnist mnist.npz --cifar cifar10.npz

LeNet on MNIST and a ResNet-18 of 16 channels on CIFAR-10, PGD of ten steps, one CPU thread. All contestants
of a family go round by round, one pass over the same images each: whatever else the machine does meets all of
them. A contestant's ratio is the median over rounds of how many times faster it was than the family's first
one. ``--clock cpu`` counts the time that the process computed: use it where cores are shared. The row of a
contestant whose package is not installed says so.
"""

import contextlib
import datetime
import functools
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import baselines
import ours
import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table
from setting import Contestant, Pass, Setting, make_setting

from moosearch.evaluators.allocator import keep_memory

ROOT = Path(__file__).resolve().parents[3]
Row = dict[str, object]
COLUMNS = ("contestant", "images_per_second", "ratio", "lowest", "highest", "note")


def against(first: Mapping[str, Contestant], own: Callable[..., Pass]) -> dict[str, Contestant]:
    """Return a family: other people's contestants, the one to be compared with first, and ours twice."""
    return {**first, "ours, fp32": functools.partial(own, numerics=ours.FP32), "ours": own}


def authors(base: baselines.Base, *, morel: bool = False) -> dict[str, Contestant]:
    """Return the authors' scheme as a contestant."""
    return {"authors": functools.partial(baselines.authors, base=base, morel=morel)}


FAMILIES: dict[str, dict[str, Contestant]] = {
    "sta": against(
        {
            "plain loop": baselines.plain_loop,
            "art": baselines.art,
            "torchattacks": baselines.torchattacks,
        },
        ours.sta,
    ),
    "mp": against({"three attacks": baselines.mp_three_attacks}, ours.mp),
    "trades": against(authors("trades"), ours.trades),
    "mart": against(authors("mart"), ours.mart),
    "morel<-trades": against(authors("trades", morel=True), ours.morel_trades),
    "morel<-mart": against(authors("mart", morel=True), ours.morel_mart),
    "mp/sta": {"ours, sta": ours.sta, "ours, mp": ours.mp},
    "morel/trades": {"ours, trades": ours.trades, "ours, morel": ours.morel_trades},
    "morel/mart": {"ours, mart": ours.mart, "ours, morel": ours.morel_mart},
}
"""Who is compared with whom: ratios are against a family's first contestant."""


class Clock(StrEnum):
    """What is counted."""

    WALL = "wall"
    CPU = "cpu"

    def now(self) -> float:
        """Return seconds."""
        return time.perf_counter() if self is Clock.WALL else time.process_time()


def race(contestants: Mapping[str, Pass], *, rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Return the seconds of every contestant's passes, a warm-up left out."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-1, rounds):
        for name, run in contestants.items():
            start = clock.now()
            run()
            if number >= 0:
                seconds[name].append(clock.now() - start)
    return seconds


def compare(first: list[float] | None, own: list[float]) -> Row:
    """Return how many times faster a contestant was than the first one, round by round.

    Args:
        first: Seconds of the first one's passes; None where it is not installed.
        own: Seconds of the contestant's passes.
    """
    if first is None:
        return {}
    ratios = [theirs / ours for theirs, ours in zip(first, own, strict=True)]
    summary = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return {name: round(ratio, 2) for name, ratio in summary.items()}


def rank(contestants: Mapping[str, Contestant], setting: Setting, *, rounds: int, clock: Clock) -> list[Row]:
    """Time a family and return a row a contestant."""
    ready: dict[str, Pass] = {}
    missing: dict[str, str] = {}
    for name, contestant in contestants.items():
        try:
            ready[name] = contestant(setting)
        except ImportError as error:
            missing[name] = f"not installed: {error.name}"
    seconds = race(ready, rounds=rounds, clock=clock)
    first = seconds.get(next(iter(contestants)))
    rows: list[Row] = [{"contestant": name, "note": note} for name, note in missing.items()]
    for name, own in seconds.items():
        speed = len(setting.images) / statistics.median(own)
        rows.append({"contestant": name, "images_per_second": round(speed, 1)} | compare(first, own))
    return rows


def cpu_name() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def show(console: Console, title: str, rows: list[Row]) -> None:
    """Print a family's table."""
    table = Table(*COLUMNS, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in COLUMNS))
    console.print(table)


def main(
    mnist: Annotated[Path | None, typer.Option(help="MNIST as .npz; without it LeNet is left out.")] = None,
    cifar: Annotated[
        Path | None, typer.Option(help="CIFAR-10 as .npz; without it ResNet-18 is left out.")
    ] = None,
    batch: Annotated[list[int], typer.Option(help="Images a step; may be repeated.")] = [16, 128],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Passes that are timed.")] = 7,
    steps: Annotated[int, typer.Option(help="Training steps a pass.")] = 2,
    only: Annotated[str, typer.Option(help="Families whose name contains this.")] = "",
    clock: Annotated[Clock, typer.Option(help="What is counted.")] = Clock.WALL,
    keep: Annotated[
        bool, typer.Option("--keep-memory", help="Keep memory, as moosearch's workers do: for all.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The table.")] = ROOT / "results/benchmarks/training_speed.csv",
) -> None:
    """Time adversarial training, ours against other people's schemes."""
    torch.set_num_threads(1)
    console = Console()
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "clock": clock.value,
        "keep_memory": keep and keep_memory(),
        "rounds": rounds,
        "steps": steps,
    }
    families = {name: contestants for name, contestants in FAMILIES.items() if only in name}
    table: list[Row] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    for network, npz in (("lenet", mnist), ("resnet18", cifar)):
        if npz is None:
            continue
        for size in batch:
            setting = make_setting(network, npz, batch=size, steps=steps)
            for family, contestants in families.items():
                rows = rank(contestants, setting, rounds=rounds, clock=clock)
                show(console, f"{network}, batch {size}, {family}", rows)
                table += [{"network": network, "batch": size, "family": family} | row | facts for row in rows]
                columns = ("network", "batch", "family", *COLUMNS, *facts)
                pd.DataFrame(table, columns=columns).to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
