"""Which networks a machine trains rightly: all architectures, widths, layouts, precisions, instructions.

    python tests/benchmarks/kernels/sweep.py                    # 8x8 images
    python tests/benchmarks/kernels/sweep.py --size 64 --batches 2 1 --architectures small_resnet resnet18

Each takes training steps with MOREL and mixed perturbation, and a backward pass that is compared with
float64, in a process of its own in which glibc checks its heap at every call. ``--old`` leaves out what
protects from wrong kernels. Prints a table, and appends it to a file.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
WIDTHS = tuple(range(1, 17))
FACTORS = {
    "alexnet": 64,
    "lenet": 20,
    "preact_resnet18": 64,
    "resnet18": 64,
    "resnet50": 64,
    "wide_resnet": 16,
}
"""Channels of the first stage at width 1, where width is a factor."""

DEPTHS: dict[str, tuple[dict[str, int], ...]] = {
    "small_cnn": ({"depth": 2}, {"depth": 4}),
    "small_resnet": ({"depth": 1}, {"depth": 2}),
    "preact_resnet18": ({"depth": 1}, {"depth": 2}),
    "resnet18": ({"depth": 1}, {"depth": 2}),
    "resnet50": ({"depth": 1},),
    "wide_resnet": ({"depth": 10, "widen": 1}, {"depth": 16, "widen": 1}),
}
ISAS = ("default", "AVX2", "SSE41")


def configurations(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return all configurations of an instruction set."""
    from moosearch.models import ARCHITECTURES

    found = []
    for name in options.architectures or list(ARCHITECTURES):
        for width, depth in itertools.product(options.widths, DEPTHS.get(name, ({},))):
            node = {"name": name, "width": width / FACTORS[name] if name in FACTORS else width, **depth}
            size = max(64, options.size) if name == "alexnet" else options.size
            for layout, precision in itertools.product(options.layouts, options.precisions):
                found.append(
                    {
                        "architecture": node,
                        "channels": width,
                        "size": size,
                        "layout": layout,
                        "precision": precision,
                        "batches": options.batches,
                    }
                )
    return found


def run(configs: list[dict[str, Any]], isa: str, *, old: bool) -> list[dict[str, Any]]:
    """Work on configurations with an instruction set; return what came of each."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_CHECK_": "3", "LD_PRELOAD": "libc_malloc_debug.so.0"}
    env |= {} if isa == "default" else {"ONEDNN_MAX_CPU_ISA": isa}
    told = subprocess.run(
        [sys.executable, HERE / "steps.py"],
        input=json.dumps({"old": old, "configs": configs}),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout
    return [json.loads(line) for line in told.splitlines()]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return by instruction set, architecture, layout and precision what became of how many."""
    rows = rows.reindex(
        columns=[*rows.columns, *({"died", "fault", "error", "gradient_error"} - {*rows.columns})]
    )
    rows["name"] = [node["name"] for node in rows["architecture"]]
    groups = rows.groupby(["isa", "name", "size", "layout", "precision"], sort=False)
    return pd.DataFrame(
        {
            "networks": groups.size(),
            "died": groups["died"].count(),
            "errors": groups["error"].count(),
            "trained_plain": groups["fault"].agg(lambda texts: sum(texts.map(_said))),
            "largest_gradient_error": groups["gradient_error"].max(),
            "channels_that_died": groups[["died", "channels"]].apply(
                lambda group: " ".join(map(str, sorted(set(group.loc[group["died"].notna(), "channels"]))))
            ),
        }
    ).reset_index()


def _said(text: object) -> bool:
    return isinstance(text, str) and text != ""


def main() -> None:
    """Sweep, print the summary, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=8, help="pixels of a side; 64 at least for alexnet")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 7, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="channels of the first stage")
    parser.add_argument("--architectures", nargs="+")
    parser.add_argument("--layouts", nargs="+", default=["channels_last", "contiguous"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--isas", nargs="+", default=ISAS)
    parser.add_argument("--old", action="store_true", help="without protection from wrong kernels")
    parser.add_argument("--write", type=Path, help="the table, a CSV file that rows are added to")
    options = parser.parse_args()
    for isa in options.isas:
        configs = configurations(options)
        rows = zip(configs, run(configs, isa, old=options.old), strict=True)
        table = summary(pd.DataFrame([{"isa": isa} | config | row for config, row in rows]))
        table.insert(0, "code", "unprotected" if options.old else "protected")
        print(table.to_string(), flush=True)
        if options.write:
            table.to_csv(options.write, mode="a", index=False, header=not options.write.exists())


if __name__ == "__main__":
    main()
