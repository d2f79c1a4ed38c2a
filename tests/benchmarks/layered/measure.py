"""Layered neighborhoods of three classifiers, by three algorithms (Mour 2023, section 4).

    python tests/benchmarks/layered/measure.py FOLDER --data mnist.npz [--more inner outer area] [--write]

Trains what `space.yaml` beside this file says, and finds a maximal robust neighborhood of each image, in turn
for the one and the other of its objects: guided with fixed and with sensitivity weights, by the naive
algorithm, and by the naive one with steps that double, which tells how much of the guided one's saving of
queries is theirs. What is finished is not done again. All answer for images that the classifier sees rightly.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import moosearch
from moosearch.analysis.neighborhoods import PROTOCOL, Neighborhoods, neighborhoods
from moosearch.analysis.setup import setups
from moosearch.report.plots import neighborhoods as neighborhood_plots
from moosearch.verify import Effort
from moosearch.verify.layered import Approach

SPACE = Path(__file__).parent / "space.yaml"
RESULTS = Path(__file__).parents[3] / "results/benchmarks"
Key = tuple[str, str, str]
"""Classifier, weights, algorithm."""

APPROACHES = {
    "naive": {"algorithm": "naive"},
    "doubling": {"algorithm": "doubling"},
    "fixed": {"cut": "fixed"},
    "sensitivity": {"cut": "sensitivity"},
}


def trained(out: Path, data: Path) -> dict[str, str]:
    """Return the ids of the candidates by how they were trained."""
    if (out / "study.db").exists():
        campaign = moosearch.resume(out)
    else:
        campaign = moosearch.search(SPACE, out=out, overrides=[f"candidate.dataset.npz={data.resolve()}"])
    names = {}
    for evaluation in campaign.evaluations:
        genome = evaluation.candidate.genome
        plain = "rectangles" if genome["training.augmentation.erase"] else "plain"
        names["PGD" if genome["training.attack"] == "pgd" else plain] = evaluation.candidate.id
        print(evaluation.candidate.id, dict(genome), dict(evaluation.objectives))
    return names


def row(found: Neighborhoods, naive: Neighborhoods | None) -> dict[str, object]:
    """Return means over neighborhoods, and how many are at least as large as the naive ones."""
    told, count = found.summary(), len(found.found)
    asked = sum(v for k, v in told.items() if k.startswith("queries_") and k != "queries_remembered")
    larger = None
    if naive is not None:
        sizes = {(each.image, each.target): each.size for each in naive.found}
        larger = sum(each.size >= sizes[each.image, each.target] for each in found.found)
    return {
        "neighborhoods": count,
        "complete": told["complete"],
        "size": told["size"],
        "size_error": told["size_error"],
        "eps_object": told["eps_object"],
        "at_least_naive": larger,
        "queries": asked / count,
        "seconds": told["seconds"] / count,
        **{key: value / count for key, value in told.items() if key.startswith(("queries_", "seconds_"))},
        **{
            f"layers_{face}": sum(each.faces.count(face) for each in found.found) / count
            for face in ("blocked", "unknown", "full", "open")
        },
    }


def drawn(every: dict[Key, Neighborhoods], rows: int = 4) -> Figure:
    """Draw heat maps of images that all classifiers see: guided and naive, all on one scale."""
    heads = {"naive": "naive", "fixed": "guided"}
    classifiers = dict.fromkeys(classifier for classifier, _, _ in every)
    columns = [(classifier, "even", algorithm) for classifier in classifiers for algorithm in heads]
    by = {key: {(each.image, each.target): each for each in every[key].found} for key in columns}
    shown = sorted(set.intersection(*(set(found) for found in by.values())))[:rows]
    maps = {
        (key, which): neighborhood_plots.eps_map(by[key][which], every[key].regions[which[0]])
        for key in columns
        for which in shown
    }
    most = float(np.percentile(list(maps.values()), neighborhood_plots.MOST_PIXELS))
    figure = Figure(figsize=(2.1 * len(columns) + 0.9, 2.2 * len(shown) + 0.5), layout="constrained")
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for number, which in enumerate(shown):
        for axis, key in zip(axes[number], columns, strict=True):
            found, region = by[key][which], every[key].regions[which[0]]
            heat = axis.imshow(maps[key, which], cmap="viridis", vmin=0, vmax=most)
            for label, color in ((found.target, "white"), (found.perturbed, "#d55e00")):
                axis.contour(region == label + 1, levels=[0.5], colors=color, linewidths=1.4)
            axis.set_axis_off()
            head = f"{key[0]}, {heads[key[2]]}\n" if number == 0 else ""
            axis.set_title(f"{head}{found.target} stays, size {found.size:.3g}", fontsize=8)
    figure.colorbar(heat, ax=axes, label="how far a pixel may move", shrink=0.8, extend="max")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--images", type=int, default=34)
    parser.add_argument("--more", nargs="*", default=[], help="weights for `fixed` alone: inner, outer, area")
    parser.add_argument("--more-images", type=int, default=16, help="for those")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.002)
    parser.add_argument("--time-limit", type=float, default=0.5, help="seconds of a query's complete search")
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds a neighborhood")
    parser.add_argument("--write", action="store_true", help="write layered.csv and layered.png to results")
    given = parser.parse_args()
    identities = trained(given.folder / "campaign", given.data)
    every: dict[Key, Neighborhoods] = {}
    rows = []
    asked = [("even", name) for name in APPROACHES] + [(name, "fixed") for name in given.more]
    for weights, algorithm in asked:
        for classifier, identity in identities.items():
            approach = Approach(
                weights=weights,
                tolerance=given.tolerance,
                deadline=given.deadline,
                effort=Effort(time_limit=given.time_limit),
                **APPROACHES[algorithm],
            )
            images = given.images if weights == "even" else given.more_images
            (found,) = neighborhoods(
                setups(given.folder / "campaign", PROTOCOL, rules=[identity], images=images),
                approach=approach,
                targets="alternating",
                workers=given.workers,
            )
            neighborhood_plots.save(found)
            every[classifier, weights, algorithm] = found
            told = row(found, every.get((classifier, weights, "naive")))
            rows.append({"classifier": classifier, "weights": weights, "algorithm": algorithm, **told})
            print(pd.DataFrame(rows).round(4).to_string(), flush=True)
    if given.write:
        pd.DataFrame(rows).to_csv(RESULTS / "layered.csv", index=False)
        drawn(every).savefig(RESULTS / "layered.png", dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
