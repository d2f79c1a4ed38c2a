"""NSGA-II against random search on the digits space, at equal evaluations, over several seeds.

Run ``make bench``. It writes every campaign under ``results/benchmarks/search_quality/`` and the table of
hypervolumes by generation beside that folder, and prints it. Hypervolumes are shares of
the box between the ideal and one fixed reference point, so they compare across campaigns. A campaign that
is there already is not run again.
"""

import argparse
from pathlib import Path

import pandas as pd

import moosearch
from moosearch.campaign.tables import hypervolume_table

ROOT = Path(__file__).resolve().parents[2]
ALGORITHMS = ("nsga2", "random")


def main() -> None:
    """Run the campaigns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--space", type=Path, default=ROOT / "search_spaces/digits.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks/search_quality")
    arguments = parser.parse_args()
    columns = {}
    for seed in range(arguments.seeds):
        for algorithm in ALGORITHMS:
            campaign = moosearch.search(
                arguments.space,
                out=arguments.out / f"{algorithm}-{seed}",
                overrides=[
                    f"campaign.algorithm={algorithm}",
                    f"campaign.seed={seed}",
                    f"campaign.name={algorithm}-{seed}",
                ],
            )
            table = hypervolume_table(campaign.evaluations, campaign.header)
            columns[f"{algorithm} seed {seed}"] = table.set_index("evaluations")["hypervolume"]
            print(f"{algorithm}, seed {seed}: {table['hypervolume'].iloc[-1]:.4f}", flush=True)
    result = pd.DataFrame(columns)
    for algorithm in ALGORITHMS:
        mine = result[[c for c in result if str(c).startswith(algorithm)]]
        result[f"{algorithm} mean"] = mine.mean(axis=1)
    result.round(4).to_csv(arguments.out.with_suffix(".csv"))
    print(result.round(4).to_string())


if __name__ == "__main__":
    main()
