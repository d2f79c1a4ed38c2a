"""How well a search's cheap robust accuracy ranks its candidates: against AutoAttack on the test split.

    python tests/benchmarks/estimate_quality.py results/mnist --images 200 --workers 2

needs a campaign with ``keep: all``. Writes a row a candidate: the search's estimate, the same attack on the
test images, and AutoAttack on them; prints rank correlations with bootstrap intervals over candidates, and
what measuring took of a candidate's time.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau, spearmanr

from moosearch import Campaign
from moosearch.analysis.subject import trained
from moosearch.attacks.suite import named_attacks
from moosearch.judging import correct_under, fraction, judge
from moosearch.plan.reading import campaign_spec
from moosearch.seeding import derive_seed
from moosearch.space.files import load
from moosearch.training.objectives import RobustAccuracy

RESAMPLES = 2000


def row(folder: Path, identity: str, images: int) -> dict[str, float | str]:
    """Judge one candidate."""
    torch.set_num_threads(1)
    (model,) = trained(folder, [identity])
    (objective,) = [
        o for o in campaign_spec(load(folder / "campaign.yaml")).objectives if isinstance(o, RobustAccuracy)
    ]
    test = model.dataset.load().test.first(images)
    seed = derive_seed(model.seed, "estimate quality")
    cheap = correct_under(model.net, test, model.tasks, objective.attacks, seed=seed)
    attacks = named_attacks(["autoattack"], model.threats[0])
    judgment = judge(model.net, test, model.tasks, attacks, seed=seed)
    found = judgment.attacked["autoattack"]
    return {
        "id": identity,
        "search_estimate": model.objectives["robust_accuracy"],
        "cheap_on_test": fraction(cheap),
        "autoattack_on_test": found.accuracy,
        "clean_on_test": fraction(judgment.clean),
        "images": len(test),
        "autoattack_seconds": found.seconds,
    }


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Return rank correlations of the cheap columns with AutoAttack, with 95 % intervals."""
    generator = np.random.default_rng(0)
    rows = []
    strong = table["autoattack_on_test"].to_numpy()
    for name in ("search_estimate", "cheap_on_test"):
        cheap = table[name].to_numpy()
        for kind, statistic in (("spearman", spearmanr), ("kendall", kendalltau)):
            draws = [
                statistic(cheap[some], strong[some]).statistic
                for some in generator.integers(0, len(table), (RESAMPLES, len(table)))
            ]
            low, high = np.nanquantile(draws, [0.025, 0.975])
            value = statistic(cheap, strong).statistic
            rows.append({"column": name, "correlation": kind, "value": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def main() -> None:
    """Judge all candidates of a campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200, help="test images")
    parser.add_argument("--most", type=int, default=0, help="candidates; 0 for all")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/estimate_quality.csv"))
    options = parser.parse_args()
    complete = [e for e in Campaign(options.folder).evaluations if e.status == "complete"]
    # Evenly over the search's own order of robust accuracy, so that a sample spans its range.
    complete.sort(key=lambda e: e.objectives["robust_accuracy"])
    count = min(options.most or len(complete), len(complete))
    chosen = [complete[i].candidate.id for i in np.linspace(0, len(complete) - 1, count).round().astype(int)]
    rows = []
    with ProcessPoolExecutor(options.workers) as pool:
        waiting = [pool.submit(row, options.folder, identity, options.images) for identity in chosen]
        for done in as_completed(waiting):
            rows.append(done.result())
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).sort_values("id")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    print(correlations(table).to_string(index=False))
    difference = table["search_estimate"] - table["autoattack_on_test"]
    print(f"search estimate above AutoAttack by {difference.mean():.3f} on average")
    share = [e.seconds["measure"] / e.seconds["total"] for e in complete]
    print(f"measuring took {np.median(share):.1%} of a candidate's time (median of {len(share)})")


if __name__ == "__main__":
    main()
