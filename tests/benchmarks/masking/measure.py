"""Is a campaign taken in by a defense that only masks gradients? A space offers two; the front is confirmed.

    python tests/benchmarks/masking/measure.py FOLDER --data mnist.npz [--write]

``blind``: the search's attack follows the network's own gradients, and the defenses lead it nowhere.
``seeing``: the same search, with ``bpda`` beside it. Both fronts are then confirmed by AutoAttack, which has
Square in it. Campaigns that are finished are not done again.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import moosearch

HERE = Path(__file__).parent
RESULTS = HERE.parents[2] / "results/benchmarks"
PGD = "{name: pgd, eps: 0.3, step: 0.04, steps: 20, objective: margin}"
ARMS = {"blind": f"[{PGD}]", "seeing": f"[{PGD}, {{name: bpda, attack: {PGD}}}]"}


def rows(campaign):
    front = {e.candidate.id for e in campaign.front}
    confirmed = {m.estimate.candidate.id: m for m in campaign.confirmation.members}
    for each in campaign.evaluations:
        member = confirmed.get(each.candidate.id)
        values = (
            {} if member is None else {each.column: spread.mean for each, spread in member.measured.items()}
        )
        yield {
            "campaign": campaign.folder.root.name,
            "id": each.candidate.id,
            "generation": each.generation,
            "defense": each.candidate.genome["defenses.input.0"],
            **{f"searched_{key}": value for key, value in each.objectives.items()},
            "on_front": each.candidate.id in front,
            **values,
            "confirmed": "" if member is None else "stays" if member.standing.stays else "leaves",
            "overestimated": "" if member is None else member.overestimated,
            "failed_checks": "" if member is None else " ".join(sorted(member.failed_checks)),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks/masking.csv")
    given = parser.parse_args()
    sys.path.insert(0, str(HERE))
    found = []
    for arm, attacks in ARMS.items():
        out = given.folder / arm
        overrides = [
            f"candidate.dataset.npz={given.data.resolve()}",
            f"campaign.objectives.0.attacks={attacks}",
            "campaign.evaluator=serial",
        ]
        if (out / "study.db").exists():
            moosearch.resume(out)
        else:
            moosearch.search(HERE / "masking.yaml", out=out, overrides=overrides)
        moosearch.confirm(out)
        found += rows(moosearch.Campaign(out))
    table = pd.DataFrame(found)
    print(table.to_string())
    kinds = table.assign(front=table.on_front, stays=table.confirmed == "stays")
    print(kinds.groupby(["campaign", "defense"], sort=False)[["front", "stays"]].sum().to_string())
    if given.write:
        table.to_csv(RESULTS / "masking.csv", index=False)


if __name__ == "__main__":
    main()
