"""Trained candidates under attack: curves of robust accuracy, images to look at, alignment of features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from moosearch.analysis.setup import EvaluationProtocol, Progress, Setup
from moosearch.attacks import Attack
from moosearch.attacks.gradient import Pgd
from moosearch.errors import Place, SpecError
from moosearch.judging.alignment import Alignment, alignment, cosines, features
from moosearch.judging.curves import by_radius, by_steps, walks
from moosearch.judging.gallery import Gallery, gallery, spread
from moosearch.judging.record import attack_tree, share
from moosearch.registry import Count, NonNegative, build
from moosearch.space.files import read_value

PROTOCOL = EvaluationProtocol(
    attacks=({"name": "pgd", "steps": 50, "objective": "margin"},), split="val", labels=1, exact=False
)

STEPS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of steps of a curve."""

SAMPLES = 48
"""Images in the heat map of alignment, as in Hotegni & Peitz 2024, figure 3."""

CLASSES = 12
"""Classes in it at most, so that classes of several images can be seen."""

POOL = 512
"""Images that those of a gallery are chosen from."""


def attack_of(setup: Setup) -> tuple[Attack, dict[str, Any]]:
    """Return the one attack of a setup, and what a number about it depends on.

    Raises:
        SpecError: There are several attacks.
    """
    if len(setup.attacks) > 1:
        raise SpecError(f"--attack: got {', '.join(setup.attacks)}, expected one.")
    ((label, attack),) = setup.attacks.items()
    return attack, {
        "candidate": setup.model.name,
        "images_of": setup.source if setup.data is not None else f"{setup.source} {setup.split}",
        "images": len(setup.images),
        "attack": label,
        "norm": attack.norm,
        "eps": attack.eps,
    }


def robustness(
    setups: Sequence[Setup],
    *,
    radii: Sequence[float] = (),
    steps: Sequence[int] = STEPS,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure robust accuracy against the radius, and against the number of steps at the attack's radius.

    Args:
        setups: The networks, each with one attack.
        radii: Ascending; from 0 to twice the attack's radius in quarters of it, and `everything`, if empty.
        steps: Ascending; for PGD alone, other attacks have no such curve.
        progress: Called with how far it is.

    Returns:
        A row a point: ``candidate``, ``images_of``, ``images``, ``attack``, ``norm``, ``eps``, ``curve``
        (``eps`` or ``steps``), ``steps`` (missing where the attack has none), ``correct``, ``accuracy``, and
        ``low`` and ``high`` of its Wilson interval.
    """
    rows: list[dict[str, Any]] = []
    for setup in setups:
        model, images, tell = setup.model, setup.images, setup.tell(progress)
        attack, conditions = attack_of(setup)
        chosen = radii or [attack.eps * i / 4 for i in range(9)] + [everything(attack, model.shape)]
        withstood = by_radius(model.net, images, model.tasks, attack, chosen, seed=setup.seed, progress=tell)
        fixed = {**conditions, "curve": "eps", "steps": attack_tree(attack).get("steps")}
        rows += [fixed | {"eps": eps} | _point(withstood > k) for k, eps in enumerate(chosen)]
        if isinstance(attack, Pgd) and walks(attack):
            withstood = by_steps(
                model.net, images, model.tasks, attack, steps, seed=setup.seed, progress=tell
            )
            fixed = {**conditions, "curve": "steps"}
            rows += [fixed | {"steps": count} | _point(withstood > k) for k, count in enumerate(steps)]
    return pd.DataFrame(rows)


def everything(attack: Attack, shape: tuple[int, int, int]) -> float:
    """Return the radius of a ball around any image that holds all images: no network withstands there."""
    return 1.0 if attack.norm == "linf" else float(torch.ones(shape).norm())


def _point(marks: Tensor) -> dict[str, Any]:
    point = share(marks)
    low, high = point.interval
    return {"correct": point.correct, "accuracy": point.accuracy, "low": low, "high": high}


@dataclass(frozen=True)
class Shown:
    """A candidate's gallery.

    Attributes:
        conditions: What it depends on.
        images: The images.
        classes: Names of the classes.
    """

    conditions: Mapping[str, Any]
    images: Gallery
    classes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """Return a row an image: its number in the split, its class, and what it is taken for."""
        before, after = self.images.clean.max(dim=1), self.images.adversarial.max(dim=1)
        return pd.DataFrame(
            {
                "image": self.images.number.tolist(),
                "label": self._names(self.images.y),
                "fooled": self.images.fooled.tolist(),
                "prediction": self._names(before.indices),
                "confidence": before.values.tolist(),
                "adversarial_prediction": self._names(after.indices),
                "adversarial_confidence": after.values.tolist(),
            }
        ).assign(**self.conditions)

    def _names(self, numbers: Tensor) -> list[str]:
        return [self.classes[number] for number in numbers.tolist()]


def show(setup: Setup, *, count: int) -> Shown:
    """Choose and attack images to look at.

    Args:
        setup: The network, with one attack and the images to choose from.
        count: Number of images.
    """
    model, (attack, conditions) = setup.model, attack_of(setup)
    chosen = gallery(model.net, setup.images, model.tasks, attack, count=count, seed=setup.seed)
    return Shown(conditions, chosen, model.tasks[0].groups)


@dataclass(frozen=True)
class Aligned:
    """How a candidate's features of natural and adversarial images go together.

    Attributes:
        conditions: What it depends on.
        means: Mean cosines, over all images.
        samples: (S, S) cosines of single images, natural by adversarial, class after class.
        labels: (S,) their classes.
        classes: Names of the classes.
    """

    conditions: Mapping[str, Any]
    means: Alignment
    samples: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def align(setup: Setup, *, progress: Progress | None = None) -> Aligned:
    """Compare natural and adversarial features (Hotegni & Peitz 2024, figure 3).

    The features are the trunk's: the embedding that MOREL aligns is thrown away after training.

    Args:
        setup: The network, with one attack.
        progress: Called with how far it is.
    """
    model, y, (attack, conditions) = setup.model, setup.images.y, attack_of(setup)
    natural, adversarial = features(
        model.net, setup.images, model.tasks, attack, seed=setup.seed, progress=setup.tell(progress)
    )
    classes = model.tasks[0].groups
    few = (y < CLASSES).nonzero().squeeze(1)
    rows = few[spread(y[few], SAMPLES, len(classes))]
    return Aligned(
        conditions,
        alignment(natural, adversarial, y, len(classes)),
        cosines(natural[rows], adversarial[rows]).cpu(),
        y[rows].cpu(),
        classes,
    )


def alignment_table(found: Sequence[Aligned]) -> pd.DataFrame:
    """Return a row a candidate: conditions, and mean cosines: own, within a class, between classes."""
    return pd.DataFrame(
        [
            {
                **each.conditions,
                "own": each.means.own,
                "within_class": each.means.within_class,
                "between_classes": each.means.between_classes,
            }
            for each in found
        ]
    )


def class_table(found: Sequence[Aligned]) -> pd.DataFrame:
    """Return a row a candidate and pair of classes: the mean cosine of natural by adversarial images."""
    return pd.DataFrame(
        [
            {
                "candidate": each.conditions["candidate"],
                "natural": natural,
                "adversarial": adversarial,
                "cosine": cosine,
            }
            for each in found
            for natural, row in zip(each.classes, each.means.by_class.tolist(), strict=True)
            for adversarial, cosine in zip(each.classes, row, strict=True)
        ]
    )


def radii_of(text: str) -> list[float]:
    """Read radii such as ``0,4/255,8/255``, in any order.

    Raises:
        SpecError: One is no number of 0 or more, or there is none.
    """
    return _numbers(text, "--radii", NonNegative)


def steps_of(text: str) -> list[int]:
    """Read numbers of steps such as ``1,10,100``, in any order.

    Raises:
        SpecError: One is no whole number of 1 or more, or there is none.
    """
    return _numbers(text, "--steps", Count)


def _numbers(text: str, option: str, hint: Any) -> list[Any]:
    place = Place(shown=(option,))
    values = sorted(set(build(tuple[hint, ...], read_value(f"[{text}]", option), place)))
    if not values:
        raise place.error(f"got {text!r}, expected numbers with commas between them.")
    return values
