"""Trained candidates under attack: curves of robust accuracy, images to look at, alignment of features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from moosearch.analysis.accuracy import Part, images_of, threat_of
from moosearch.analysis.subject import Trained, expect_one_label, trained
from moosearch.attacks import Attack, Norm
from moosearch.attacks.gradient import Pgd
from moosearch.attacks.suite import check_attacks, named_attacks
from moosearch.data import DATASETS, Split
from moosearch.errors import Place, SpecError
from moosearch.judging.alignment import Alignment, alignment, cosines, features
from moosearch.judging.curves import by_radius, by_steps, walks
from moosearch.judging.gallery import Gallery, gallery, spread
from moosearch.judging.measure import Progress
from moosearch.judging.record import share
from moosearch.registry import Count, NonNegative, build
from moosearch.space.files import read_value

STEPS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of steps of a curve."""

SAMPLES = 48
"""Images in the heat map of alignment, as in Hotegni & Peitz 2024, figure 3."""

CLASSES = 12
"""Classes in it at most, so that classes of several images can be seen."""

POOL = 512
"""Images that those of a gallery are chosen from."""

PGD50: Mapping[str, Any] = {"name": "pgd", "steps": 50, "objective": "margin"}
"""The attack, where none is named."""


@dataclass(frozen=True)
class Case:
    """A network, and what it is attacked with.

    Attributes:
        model: The network.
        attack: The attack.
        images: The images, on the network's device.
        conditions: What a number about it depends on.
    """

    model: Trained
    attack: Attack
    images: Split
    conditions: Mapping[str, Any]


def cases(
    folder: Path,
    rules: Sequence[str] = ("knee",),
    *,
    attack: str | Mapping[str, Any] = PGD50,
    eps: float | str | None = None,
    norm: Norm | None = None,
    split: Part = "val",
    most: int = 1000,
    data: Path | None = None,
) -> list[Case]:
    """Load candidates with an attack and with images; everything is checked before any work starts.

    Args:
        folder: A campaign's folder or an exported one.
        rules: Of a campaign: whom, as `trained` takes them.
        attack: An attack as `named_attacks` takes it.
        eps: Radius; by default the campaign's first.
        norm: Norm of the ball; by default the campaign's.
        split: Which images; the candidates were selected on those of ``val``.
        most: Number of images, the first ones; 0 for all.
        data: The user's own images instead.

    Raises:
        CampaignError: The folder is neither a campaign nor an export.
        SpecError: A rule, the attack or a number is wrong, or the images do not fit.
        DataUnavailableError: The images are not there.
    """
    found = []
    for model in trained(folder, rules):
        expect_one_label(model, "so it is with curves, galleries and alignment")
        named = named_attacks([attack], threat_of(model, eps, norm))
        if len(named) > 1:
            raise SpecError(f"--attack: got {', '.join(named)}, expected one.")
        check_attacks(named, model.tasks[0], model.shape)
        ((label, chosen),) = named.items()
        images = images_of(model, split, data=data, most=most)
        conditions = {
            "candidate": model.name,
            "images_of": data.name if data is not None else f"{DATASETS.name_of(model.dataset)} {split}",
            "images": len(images),
            "attack": label,
            "norm": chosen.norm,
            "eps": chosen.eps,
        }
        found.append(Case(model, chosen, images, conditions))
    return found


def robustness(
    cases: Sequence[Case],
    *,
    radii: Sequence[float] = (),
    steps: Sequence[int] = STEPS,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure robust accuracy against the radius, and against the number of steps at the attack's radius.

    Args:
        cases: Whom, how, and on what.
        radii: Ascending; from 0 to twice the attack's radius in quarters of it, and `everything`, if empty.
        steps: Ascending; for PGD alone, other attacks have no such curve.
        progress: Is told how far it is.

    Returns:
        A row a point: ``candidate``, ``images_of``, ``images``, ``attack``, ``norm``, ``eps``, ``curve``
        (``eps`` or ``steps``), ``steps`` (missing where the attack has none), ``correct``, ``accuracy``, and
        ``low`` and ``high`` of its Wilson interval.
    """
    rows: list[dict[str, Any]] = []
    for case in cases:
        model, attack, images = case.model, case.attack, case.images
        chosen = radii or [attack.eps * i / 4 for i in range(9)] + [everything(attack, model.shape)]
        tell = partial(_tell, progress, model.name) if progress is not None else None
        withstood = by_radius(model.net, images, model.tasks, attack, chosen, seed=model.seed, progress=tell)
        fixed = {**case.conditions, "curve": "eps", "steps": getattr(attack, "steps", None)}
        rows += [fixed | {"eps": eps} | _point(withstood > k) for k, eps in enumerate(chosen)]
        if isinstance(attack, Pgd) and walks(attack):
            withstood = by_steps(
                model.net, images, model.tasks, attack, steps, seed=model.seed, progress=tell
            )
            fixed = {**case.conditions, "curve": "steps"}
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


def show(case: Case, *, count: int) -> Shown:
    """Choose and attack images to look at.

    Args:
        case: Whom, how, and on what.
        count: Number of images.
    """
    model = case.model
    chosen = gallery(model.net, case.images, model.tasks, case.attack, count=count, seed=model.seed)
    return Shown(case.conditions, chosen, model.tasks[0].groups)


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


def align(case: Case, *, progress: Progress | None = None) -> Aligned:
    """Compare natural and adversarial features (Hotegni & Peitz 2024, figure 3).

    The features are the trunk's: the embedding that MOREL aligns is thrown away after training.

    Args:
        case: Whom, how, and on what.
        progress: Is told how far it is.
    """
    model, y = case.model, case.images.y
    tell = partial(_tell, progress, model.name) if progress is not None else None
    natural, adversarial = features(
        model.net, case.images, model.tasks, case.attack, seed=model.seed, progress=tell
    )
    classes = model.tasks[0].groups
    few = (y < CLASSES).nonzero().squeeze(1)
    rows = few[spread(y[few], SAMPLES, len(classes))]
    return Aligned(
        case.conditions,
        alignment(natural, adversarial, y, len(classes)),
        cosines(natural[rows], adversarial[rows]).cpu(),
        y[rows].cpu(),
        classes,
    )


def _tell(progress: Progress, who: str, what: str, done: int, total: int) -> None:
    progress(f"{who} {what}", done, total)


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
