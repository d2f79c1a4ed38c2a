"""Table of exports: size, parity, latency and accuracies of every program, read from their manifests.

    python tests/benchmarks/exports.py EXPORT... --out results/benchmarks/exports.csv

It prints the same as Markdown.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

FILES = {
    "model.pt2": "torch_export",
    "network.py": "network",
    "model.onnx": "onnx",
    "model.int8.onnx": "onnx_int8",
}


def rows(folder: Path) -> list[dict[str, object]]:
    """Return a row a program of an export."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    latency, quantized = manifest["latency"], manifest["quantized"]
    spec, found = manifest["spec"], []
    for file, program in FILES.items():
        if file not in manifest["files"]:
            continue
        row = {
            "export": folder.name,
            "network": f"{spec['architecture']['name']}, {manifest['parameters']:,} parameters",
            "file": file,
            "bytes": manifest["files"][file]["bytes"],
            "difference": manifest["parity"].get(program),
        }
        times = latency["milliseconds"].get(program, [None] * len(latency["batches"]))
        row |= {f"ms_{batch}": ms for batch, ms in zip(latency["batches"], times, strict=True)}
        if program == "onnx_int8":
            row["clean"] = quantized["clean"]["accuracy"]
            (robust,) = quantized["robust"].values()
            row |= {"robust": robust["worst_case"]["accuracy"]}
            row |= dict(zip(("low", "high"), robust["worst_case"]["interval"], strict=True))
            row |= {how: robust[how]["accuracy"] for how in ("adaptive", "transferred")}
        else:
            objectives = manifest["objectives"]
            row["clean"] = objectives["clean_accuracy"]["kept"]
            row["robust"] = objectives["robust_accuracy"]["kept"]
            row |= dict(zip(("low", "high"), objectives["robust_accuracy"]["interval"], strict=True))
        found.append(row | {"cpu": latency["cpu"], "threads": latency["threads"]})
    return found


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    table = pd.DataFrame([row for folder in arguments.exports for row in rows(folder)])
    table.to_csv(arguments.out, index=False, float_format="%.6g")
    batches = [name for name in table if name.startswith("ms_")]
    print(
        "| export | file | KiB | difference | "
        + " | ".join(f"{b[3:]}" for b in batches)
        + " | clean | robust |"
    )
    print("| --- " * (6 + len(batches)) + "|")
    for row in table.to_dict("records"):
        times = (f"{row[b]:.3g}" if pd.notna(row[b]) else "" for b in batches)
        difference = f"{row['difference']:.1e}" if pd.notna(row["difference"]) else ""
        cells = [row["export"], row["file"], f"{row['bytes'] / 1024:,.0f}", difference, *times]
        print(f"| {' | '.join(cells)} | {row['clean']:.3f} | {row['robust']:.3f} |")


if __name__ == "__main__":
    main()
