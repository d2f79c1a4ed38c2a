"""What do defense genes buy? Searches of the RARMO space with and without them, at the same budget.

    python tests/benchmarks/rarmo/measure.py FOLDER --data mnist.npz [--seeds 3] [--write]

Smaller than the space as shipped: 2,500 training images, trainings of 5 epochs in batches of 32 with an
attack of 5 steps, LeNet of at most a quarter of the width, population 8, 3 generations, 300 validation
images. Three members of each front are then confirmed: trained again, and judged on 200 test images under
the suite of the space. What is finished is not done again.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import moosearch
from moosearch.analysis.comparison import Comparison, compare
from moosearch.analysis.comparison_tables import Measured
from moosearch.pareto import hypervolume, to_losses

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "search_spaces/rarmo_mnist.yaml"
RESULTS = ROOT / "results/benchmarks"
SMALL = (
    "candidate.dataset.train_size=2500",
    "candidate.dataset.val_size=1000",
    "candidate.architecture.width={log_real: [0.0625, 0.25]}",
    "candidate.training.epochs=5",
    "candidate.training.batch_size=32",
    "candidate.training.attack.pgd.steps=5",
    "candidate.training.attack.pgd.step=0.1",
    "candidate.training.attack.smoothed_pgd.steps=5",
    "candidate.training.attack.smoothed_pgd.step=0.1",
    "candidate.training.validation={images: 300}",
    "campaign.objectives.1.images=300",
    "campaign.budget={population: 8, generations: 3}",
)
PLAIN = (
    "candidate.defenses={}",
    "candidate.architecture.activation=relu",
    "candidate.training.attack={name: pgd, eps: 0.3, step: 0.1, steps: 5}",
    "candidate.training.regularization={}",
    "candidate.training.schedules=[{parameter: training.attack.eps, start: {real: [0, 0.3]}, "
    "until: {real: [0.1, 1]}}]",
)
"""The same space without a gene of a defense. The losses stay, and the warm-up of eps: without it LeNet rests
long at a constant prediction, and the comparison would be of that."""
EXAM = ("campaign.confirmation.seeds=1", "campaign.confirmation.images=200")
CONFIRMED = ("knee", "best:clean_accuracy", "best:robust_accuracy")


def search(out: Path, seed: int, overrides: list[str]) -> None:
    if (out / "study.db").exists():
        moosearch.resume(out)
    else:
        moosearch.search(SPACE, out=out, overrides=[*overrides, f"campaign.seed={seed}"])


def members(campaign: moosearch.Campaign) -> list[dict[str, object]]:
    """Return a row a member: its defenses, what the search believed, what every attack leaves."""
    rows = []
    for member in campaign.confirmation.members:
        spec = member.estimate.candidate.spec
        defenses = [
            each["name"] for each in spec.get("defenses", {}).get("input", ()) if each["name"] != "none"
        ]
        denoise = spec.get("defenses", {}).get("denoise", {}).get("name", "none")
        rows.append(
            {
                "campaign": campaign.folder.root.name,
                "id": member.estimate.candidate.id,
                "input": " ".join(defenses),
                "denoise": "" if denoise == "none" else denoise,
                "activation": spec["architecture"]["activation"],
                "loss": spec["training"]["loss"]["name"],
                **{f"searched_{key}": value for key, value in member.estimate.objectives.items()},
                **{measure.column: spread.mean for measure, spread in member.measured.items()},
                "stays": member.standing is not None and member.standing.stays,
                "overestimated": member.overestimated,
                "failed_checks": " ".join(sorted(member.failed_checks)),
            }
        )
    return rows


def confirmed_hypervolume(campaign: moosearch.Campaign, comparison: Comparison) -> float:
    """Return the hypervolume of the members that stay, by their confirmed values, in the comparison's box."""
    stays = [m for m in campaign.confirmation.members if m.standing is not None and m.standing.stays]
    losses = [to_losses(m.confirmed, comparison.objectives).mean(axis=0) for m in stays]
    return hypervolume(np.array(losses)) if losses else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluator", default="ray", help="ray or serial")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks/rarmo*.csv")
    given = parser.parse_args()
    data = f"candidate.dataset.npz={given.data.resolve()}"
    folders = []
    for seed in range(given.seeds):
        for arm, more in (("defenses", ()), ("plain", PLAIN)):
            folders.append(given.folder / f"{arm}{seed}")
            search(folders[-1], seed, [data, f"campaign.evaluator={given.evaluator}", *SMALL, *more])
    campaigns = [moosearch.confirm(folder, rules=CONFIRMED, overrides=EXAM) for folder in folders]
    comparison = compare(folders, ["defenses=defenses*", "plain=plain*"])
    measured = Measured(comparison)
    table = measured.campaigns
    table["confirmed_hypervolume"] = [confirmed_hypervolume(each, comparison) for each in campaigns]
    found = pd.DataFrame([row for campaign in campaigns for row in members(campaign)])
    print(table.to_string(), found.to_string(), sep="\n\n")
    if given.write:
        table.to_csv(RESULTS / "rarmo.csv", index=False)
        found.to_csv(RESULTS / "rarmo_confirmed.csv", index=False)


if __name__ == "__main__":
    main()
