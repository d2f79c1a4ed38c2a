"""What the shortcuts of training cost in accuracy: the defaults against training without any, over seeds.

    python tests/benchmarks/equal_results.py --mnist mnist.npz --cifar cifar10.npz

``plain`` attacks the network itself in float32 and the usual memory layout; ``fp32`` its inference copy in
channels_last; ``bf16`` is that in bfloat16, which is what ``precision: auto`` chooses on a machine with
instructions for it. Accuracies are measured in float32 on validation images, by PGD-20 on the margin.
"""

import argparse
import dataclasses
import itertools
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import torch

from moosearch.attacks.gradient import Pgd
from moosearch.data.cifar import Cifar10
from moosearch.data.mnist import Mnist
from moosearch.judging.measure import correct_clean, correct_under, fraction
from moosearch.models.lenet import LeNet
from moosearch.models.resnet import ResNet18
from moosearch.training import CandidateSpec, train
from moosearch.training.numerics import NumericsSpec
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

NUMERICS = {
    "plain": NumericsSpec("fp32", "contiguous"),
    "fp32": NumericsSpec("fp32", "channels_last"),
    "bf16": NumericsSpec("bf16", "channels_last"),
}


def settings(mnist: Path | None, cifar: Path | None) -> dict[str, tuple[CandidateSpec, Pgd]]:
    """Return the candidates, with float32 numerics, and the attack that judges each."""
    found = {}
    if mnist is not None:
        training = TrainingSpec(
            epochs=6,
            batch_size=64,
            attack=Pgd(eps=0.2, step=0.07, steps=5),
            optimizer=OptimizerSpec(kind="adamw", lr=3e-3, schedule="one_cycle"),
            validation=ValidationSpec(every=0),
        )
        data = Mnist(npz=str(mnist), train_size=4000, val_size=2000)
        judge = Pgd(eps=0.2, step=0.02, steps=20, objective="margin")
        found["LeNet (width 0.25), MNIST"] = CandidateSpec(data, LeNet(width=0.25), training), judge
    if cifar is not None:
        training = TrainingSpec(
            epochs=8,
            batch_size=64,
            attack=Pgd(eps=8 / 255, step=4 / 255, steps=4),
            optimizer=OptimizerSpec(lr=0.1, schedule="one_cycle"),
            validation=ValidationSpec(every=0),
        )
        data = Cifar10(npz=str(cifar), train_size=3000, val_size=1000)
        judge = Pgd(eps=8 / 255, step=2 / 255, steps=20, objective="margin")
        found["ResNet-18 (8 channels), CIFAR-10"] = (
            CandidateSpec(data, ResNet18(width=0.125), training),
            judge,
        )
    return found


class _Itself:
    """Stands in for the frozen inference copy: the network itself is attacked."""

    def __new__(cls, net, **_):
        net.refresh = lambda: None
        return net


def run(name: str, candidate: CandidateSpec, judge: Pgd, numerics: str, seed: int) -> dict[str, object]:
    """Train and measure one candidate."""
    training = dataclasses.replace(candidate.training, numerics=NUMERICS[numerics])
    candidate = dataclasses.replace(candidate, training=training)
    splits = candidate.dataset.load()
    start = time.process_time()
    if numerics == "plain":
        with mock.patch("moosearch.training.train.InferenceCopy", _Itself):
            net = train(candidate, splits.train, seed=seed).net
    else:
        net = train(candidate, splits.train, seed=seed).net
    seconds = time.process_time() - start
    net = net.to(memory_format=torch.contiguous_format)
    clean = fraction(correct_clean(net, splits.val))
    robust = fraction(correct_under(net, splits.val, candidate.dataset.tasks, [judge], seed=0))
    return {
        "setting": name,
        "numerics": numerics,
        "seed": seed,
        "clean_accuracy": clean,
        "robust_accuracy": robust,
        "cpu_seconds": round(seconds, 1),
    }


def main() -> None:
    """Run all and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/equal_results.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (candidate, judge) in settings(options.mnist, options.cifar).items():
        candidate.dataset.prepare()
        for seed, numerics in itertools.product(range(options.seeds), NUMERICS):
            rows.append(run(name, candidate, judge, numerics, seed))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.out, index=False)
    frame = pd.DataFrame(rows)
    print(frame.groupby(["setting", "numerics"])[["clean_accuracy", "robust_accuracy"]].agg(["mean", "std"]))


if __name__ == "__main__":
    main()
