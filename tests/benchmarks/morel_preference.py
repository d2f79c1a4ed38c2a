"""Whether MOREL's preference acts as a learning rate: the paper's form, the normalized one, and neither.

    python tests/benchmarks/morel_preference.py --seeds 3 --write

trains on digits with SGD. In the paper's form ``k1 L_1 + k2 L_2`` with k2 = 1 - k1, SGD sees the gradient of
``L_2 + (k1 / k2) L_1`` with k2 times the learning rate and 1 / k2 times the weight decay, exactly. So a row
``slower`` is the base loss *alone* with that learning rate and weight decay. The effect of k1 in the paper's
form is the sum of two:

- paper minus slower: what the representation loss does at that rate,
- slower minus base: what the rate does, without any representation loss.

``normalized`` minus base is what the representation loss does at the full rate. Differences are paired by
seed, and a standard error is that of a mean of paired differences over seeds, networks and base losses. The
learning rate of SGD is the highest of the digits space. No factor on the loss moves AdamW, which is measured
with one network and one base loss.

It goes on with a file of rows, so that it can be interrupted: the tables then have what there is.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from moosearch.attacks.gradient import Pgd
from moosearch.data.digits import Digits
from moosearch.errors import DivergedError
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.losses.classification import Mart, Trades
from moosearch.losses.loss import Loss
from moosearch.losses.morel import Morel
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

ARCHITECTURES = {"small_cnn": SmallCnn(width=8, depth=3), "lenet": LeNet(width=0.3)}
BASES: dict[str, Loss] = {"trades": Trades(), "mart": Mart()}
PREFERENCES = (0.1, 0.3, 0.5, 0.7, 0.9)
SETTINGS = {"sgd": 0.3, "adamw": 0.03}
"""Optimizers with their learning rates, in the order in which they are measured."""
WEIGHT_DECAY = 5e-4
EPS = 0.15
JUDGE = Pgd(eps=EPS, step=0.04, steps=10, objective="margin")
TABLES = Path("results/benchmarks")
KEYS = ["optimizer", "architecture", "base", "lr", "form", "k1"]


class Case(NamedTuple):
    """One training."""

    optimizer: str
    architecture: str
    base: str
    lr: float
    form: str
    k1: float
    seed: int

    def spec(self) -> CandidateSpec:
        """Return the candidate."""
        lr, decay, loss = self.lr, WEIGHT_DECAY, BASES[self.base]
        if self.form == "slower":
            lr, decay = lr * (1 - self.k1), decay / (1 - self.k1)
        elif self.form != "base":
            loss = Morel(base=loss, k1=self.k1, normalize=self.form == "normalized")
        kind = "adamw" if self.optimizer == "adamw" else "sgd"
        training = TrainingSpec(
            epochs=6,
            batch_size=64,
            attack=Pgd(eps=EPS, step=0.06, steps=4),
            loss=loss,
            optimizer=OptimizerSpec(kind=kind, lr=lr, weight_decay=decay, schedule="one_cycle"),
            validation=ValidationSpec(every=0),
        )
        return CandidateSpec(Digits(auxiliary=(), val_size=360), ARCHITECTURES[self.architecture], training)

    def run(self) -> dict[str, object]:
        """Train it and judge it on the validation images."""
        spec, began = self.spec(), time.process_time()
        splits = spec.dataset.load()
        row: dict[str, object] = dict(self._asdict())
        try:
            net = train(spec, splits.train, seed=self.seed).net
            robust = correct_under(net, splits.val, spec.dataset.tasks, [JUDGE], seed=0)
            row |= {"clean": fraction(correct_clean(net, splits.val)), "robust": fraction(robust)}
        except DivergedError:
            row |= {"clean": float("nan"), "robust": float("nan")}
        return row | {"seconds": round(time.process_time() - began, 2)}


def cases(optimizer: str, seeds: int) -> Iterator[Case]:
    """Iterate over everything that is trained with an optimizer; whole sets, one seed after the other."""
    lr, adamw = SETTINGS[optimizer], optimizer == "adamw"
    forms = ("paper", "normalized") if adamw else ("paper", "slower", "normalized")
    networks, bases = (["small_cnn"], ["trades"]) if adamw else (list(ARCHITECTURES), list(BASES))
    for seed, architecture, base in itertools.product(range(seeds), networks, bases):
        yield Case(optimizer, architecture, base, lr, "base", 0.0, seed)
        for k1, form in itertools.product(PREFERENCES, forms):
            yield Case(optimizer, architecture, base, lr, form, k1, seed)


def accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means and standard deviations over seeds, and how many trainings diverged: a row a setting."""
    groups = rows.groupby(KEYS)
    table = groups[["clean", "robust"]].agg(["mean", "std"])
    table.columns = pd.Index([f"{key}_{kind}" for key, kind in table.columns])
    table["seeds"] = groups.size()
    table["diverged"] = groups["robust"].apply(lambda values: int(values.isna().sum()))
    return table.reset_index()


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the paired differences that the module describes: a row an optimizer, k1 and accuracy."""
    at = [*KEYS[:4], "seed"]
    plain = rows[rows["form"] == "base"].set_index(at)
    told = []
    by = ["optimizer", "lr", "k1"]
    for setting, group in rows[rows["form"] != "base"].groupby(by):
        forms = {form: some.set_index(at) for form, some in group.groupby("form")}
        pairs = [("paper", "base"), ("slower", "base"), ("paper", "slower"), ("normalized", "base")]
        for key, (form, other) in itertools.product(("clean", "robust"), pairs):
            against = plain if other == "base" else forms.get(other)
            if form in forms and against is not None:
                difference = (forms[form][key] - against[key]).dropna()
                error = difference.std() / len(difference) ** 0.5
                told.append((*setting, key, f"{form} - {other}", difference.mean(), error, len(difference)))
    columns = [*by, "accuracy", "difference", "mean", "standard_error", "pairs"]
    return pd.DataFrame(told, columns=columns)


def main() -> None:
    """Train what the file of rows does not have yet, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=900, help="of CPU time for trainings, at most")
    parser.add_argument(
        "--rows", type=Path, default=Path("morel_preference_rows.csv"), help="goes on with it"
    )
    parser.add_argument("--write", action="store_true", help=f"tables to {TABLES}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.read_csv(options.rows).to_dict("records") if options.rows.exists() else []
    known = {Case(*(row[field] for field in Case._fields)) for row in rows}
    for case in itertools.chain.from_iterable(cases(name, options.seeds) for name in SETTINGS):
        if case not in known and sum(row["seconds"] for row in rows) < options.seconds:
            rows.append(case.run())
            pd.DataFrame(rows).to_csv(options.rows, index=False)
    table = pd.DataFrame(rows)
    found, differences = accuracies(table), effects(table)
    with pd.option_context("display.width", 200, "display.max_rows", 1000):
        print(found.round(3).to_string(index=False))
        print(differences.round(4).to_string(index=False))
    print(f"{len(table)} trainings, {table['seconds'].sum():.0f} CPU seconds")
    if options.write:
        found.round(4).to_csv(TABLES / "morel_preference.csv", index=False)
        differences.round(4).to_csv(TABLES / "morel_preference_effects.csv", index=False)


if __name__ == "__main__":
    main()
