"""Layered neighborhoods of three classifiers, by three algorithms (Mour 2023, section 4).

    python tests/benchmarks/layered/measure.py FOLDER --data mnist.npz [--images 32] [--workers 2] [--write]

Trains what `space.yaml` beside this file says, and finds a maximal robust neighborhood of each image, in turn
for the one and the other of its objects: guided with fixed and with sensitivity weights, and by the naive
algorithm. What is finished is not done again. All answer for the images that the classifier sees rightly.
"""

import argparse
from pathlib import Path

import pandas as pd

import moosearch
from moosearch.campaign import neighborhood_plots
from moosearch.campaign.neighborhoods import Neighborhoods, neighborhoods
from moosearch.verify import Effort
from moosearch.verify.layered import Approach

SPACE = Path(__file__).parent / "space.yaml"
RESULTS = Path(__file__).parents[3] / "results/benchmarks"
APPROACHES = {
    "naive": {"algorithm": "naive"},
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


def row(classifier: str, algorithm: str, weights: str, found: Neighborhoods) -> dict[str, object]:
    """Return means over neighborhoods, with the standard error of the size."""
    told, count = found.summary(), len(found.found)
    asked = sum(v for k, v in told.items() if k.startswith("queries_") and k != "queries_remembered")
    return {
        "classifier": classifier,
        "algorithm": algorithm,
        "weights": weights,
        "neighborhoods": count,
        "complete": told["complete"],
        "size": told["size"],
        "size_error": told["size_error"],
        "at_most": sum(each.at_most for each in found.found) / count,
        "eps_object": told["eps_object"],
        "queries": asked / count,
        "seconds": told["seconds"] / count,
        **{key: value / count for key, value in told.items() if key.startswith(("queries_", "seconds_"))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--weights", nargs="*", default=["even"], help="even, inner, outer, area")
    parser.add_argument("--algorithms", nargs="*", default=list(APPROACHES), choices=list(APPROACHES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.002)
    parser.add_argument("--time-limit", type=float, default=1.0, help="seconds a query")
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds a neighborhood")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks/layered.csv")
    given = parser.parse_args()
    rows = []
    for classifier, identity in trained(given.folder / "campaign", given.data).items():
        for weights in given.weights:
            for algorithm in given.algorithms:
                approach = Approach(
                    weights=weights,
                    tolerance=given.tolerance,
                    deadline=given.deadline,
                    effort=Effort(time_limit=given.time_limit),
                    **APPROACHES[algorithm],
                )
                (found,) = neighborhoods(
                    given.folder / "campaign",
                    rules=[identity],
                    approach=approach,
                    images=given.images,
                    targets="alternating",
                    workers=given.workers,
                )
                neighborhood_plots.save(found)
                rows.append(row(classifier, algorithm, weights, found))
                print(pd.DataFrame(rows).round(4).to_string(), flush=True)
    if given.write:
        pd.DataFrame(rows).to_csv(RESULTS / "layered.csv", index=False)


if __name__ == "__main__":
    main()
