"""Does a warm start help? Hypervolume of searches that begin with another search's front, and of cold ones.

    python tests/benchmarks/warm_start.py FOLDER [--seeds 3] [--write]

On the digits space: trainings of 2 epochs, population 8, 3 generations. The source of the warm starts is a
search of another seed. A cold search goes on for as many generations as source and warm start have together,
so that it can be compared at equal cost. Finished searches in the folder are not done again.
"""

import argparse
from pathlib import Path

import pandas as pd

import moosearch

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "search_spaces/digits.yaml"
TABLE = ROOT / "results/benchmarks/warm_start.csv"
GENERATIONS = 3


def search(out, seed, **given):
    overrides = [
        f"campaign.budget={{population: 8, generations: {GENERATIONS}}}",
        f"campaign.seed={seed}",
        "candidate.training.epochs=2",
        "campaign.evaluator=serial",
    ]
    if (out / "hypervolume.csv").exists():
        return moosearch.Campaign(out)
    return moosearch.search(SPACE, out=out, overrides=overrides, **given)


def rows(kind, seed, folder):
    table = pd.read_csv(folder / "hypervolume.csv")
    return [
        {"search": kind, "seed": seed, "generation": row.generation, "hypervolume": round(row.hypervolume, 4)}
        for row in table.itertuples()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.relative_to(ROOT)}")
    given = parser.parse_args()
    source = search(given.folder / "source", seed=100)
    found = rows("source", 100, source.folder.root)
    for seed in range(1, given.seeds + 1):
        cold, warm = given.folder / f"cold{seed}", given.folder / f"warm{seed}"
        search(cold, seed)
        moosearch.resume(cold, generations=2 * GENERATIONS)
        search(warm, seed, warm_start=source.folder.root)
        found += rows("cold", seed, cold) + rows("warm", seed, warm)
    table = pd.DataFrame(found)
    print(table.pivot(index=["search", "seed"], columns="generation", values="hypervolume").to_string())
    if given.write:
        table.to_csv(TABLE, index=False)


if __name__ == "__main__":
    main()
