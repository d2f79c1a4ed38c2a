"""Trained candidates and exported models against a suite of attacks, on validation, test or own images."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from moosearch.analysis.subject import Trained, trained
from moosearch.attacks import Attack, Norm, Threat
from moosearch.attacks.suite import Node, check_attacks, named_attacks
from moosearch.campaign.folder import write_atomically
from moosearch.data import DATASETS, Split, own_images
from moosearch.errors import CampaignError, DataUnavailableError, Place, SpecError
from moosearch.judging.measure import Marks, judgments
from moosearch.judging.record import attack_tree, record
from moosearch.provenance import versions
from moosearch.registry import Number, build

Part = Literal["val", "test"]

USUAL = ("fgsm", "pgd20", "pgd100", "cw", "deepfool")
"""The cheap ones of the papers: Square takes ten times as long as all of these, AutoAttack twenty times."""

SEVERAL = ("fgsm", "pgd20", "pgd100", "noise")
"""Those that know of several labels an image."""

COLUMNS = (
    "candidate",
    "split",
    "norm",
    "eps",
    "seed",
    "images",
    "attack",
    "correct",
    "accuracy",
    "low",
    "high",
    "mean_distance",
    "seconds",
    "images_per_second",
    "doubt",
)

Progress = Callable[[str, str, int, int], None]
"""Is told candidate and attack, the images done and how many there are."""


def evaluate(
    folder: Path | str,
    *,
    attacks: str | Sequence[Node] | None = None,
    split: Part | None = None,
    rules: Sequence[str] = ("knee",),
    eps: float | str | None = None,
    norm: Norm | None = None,
    surrogate: Path | str = "",
    data: Path | str | None = None,
    images: int = 0,
    batch: int = 0,
    seed: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Judge candidates of a campaign, or an exported model, under each attack and under the worst of them.

    Everything is checked and loaded before the first attack runs. What is known of a candidate is written
    after each attack: to ``evaluations/ID/`` in a campaign's folder, to ``evaluations/`` in an export, as
    JSON with the CSV of its rows beside it. Only the times differ between two runs.

    Args:
        folder: A campaign's folder or an exported one.
        attacks: Names such as ``pgd20``, or mappings, or a text of several, see `named_attacks`; `USUAL` if
            None, or `SEVERAL` where images have several labels.
        split: ``val`` (the default), which the candidates were selected on, or ``test``, for final numbers.
        rules: Of a campaign: ``knee``, ``best:OBJECTIVE``, ids, or ``front`` for all members.
        eps: Radius in pixel units of [0, 1], also as text: ``8/255``. By default the campaign's first.
        norm: Norm of the ball. By default the campaign's; for another one ``eps`` must be given.
        surrogate: An exported folder, for the attack ``transfer``.
        data: The user's own images instead of a split, see `own_images`.
        images: How many images, the first ones; 0 for all.
        batch: Images that are attacked at a time; 0 for `moosearch.judging.measure.batch_size`. Random
            starts depend on it.
        seed: Seed of the attacks; by default the campaign's.
        progress: Is told how far it is.

    Returns:
        A row for each candidate under ``clean``, each attack, ``worst_case`` (the attacks' worst for each
        image) and ``average_robust`` (the mean over attacks), with the columns `COLUMNS`: ``accuracy`` is a
        fraction of all images and ``low`` and ``high`` are its Wilson interval; ``mean_distance`` is that of
        the images fooled, in ``norm``; ``doubt`` is what makes an attack doubt its own result.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or is damaged, or cannot be written.
        SpecError: A rule, an attack or a number is wrong, or own images do not fit the network.
        DataUnavailableError: The images are not there.
    """
    if split not in (None, "val", "test"):
        raise SpecError(f"split: got '{split}', expected val or test.")
    if split is not None and data is not None:
        raise SpecError("data: got images of your own and a split, expected one of the two.")
    if images < 0 or batch < 0:
        raise SpecError(f"images and batch: got {images} and {batch}, expected 0 or more.")
    sittings = []
    for model in trained(Path(folder), rules):
        usual = USUAL if model.tasks[0].top == 1 else SEVERAL
        named = usual if attacks is None else [attacks] if isinstance(attacks, str) else attacks
        threat = threat_of(model, eps, norm)
        chosen = named_attacks(named, threat, surrogate=str(surrogate))
        check_attacks(chosen, model.tasks[0], model.shape)
        some = images_of(model, split or "val", data=None if data is None else Path(data), most=images)
        if images > len(some):
            raise SpecError(f"images: got {images}, expected at most {len(some)}: there are no more.")
        conditions = {
            "candidate": model.name,
            "split": "own" if data is not None else split or "val",
            "data": None if data is None else str(data),
            "norm": threat.norm,
            "eps": threat.eps,
            "seed": model.seed if seed is None else seed,
            "batch": batch,
            "images": len(some),
        }
        sittings.append(_Sitting(model, some, chosen, conditions))
    for sitting in sittings:
        try:
            sitting.model.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignError(f"{sitting.model.folder}: cannot write here: {error.strerror}.") from None
    return pd.concat([sitting.take(progress) for sitting in sittings], ignore_index=True)


def images_of(model: Trained, split: Part, *, data: Path | None = None, most: int = 0) -> Split:
    """Load images to judge a network on; they and the network move to the GPU where there is one.

    Args:
        model: The network.
        split: Of the dataset that it was trained on.
        data: The user's own images instead, see `own_images`.
        most: The most images, the first ones; 0 for all.

    Raises:
        DataUnavailableError: The images are not there.
        SpecError: They do not fit the network.
    """
    classes = model.tasks[0].groups
    if data is not None:
        images = own_images(data, model.shape, model.tasks[0])
    else:
        try:
            model.dataset.prepare()
            images = getattr(model.dataset.load(), split)
        except DataUnavailableError as error:
            raise DataUnavailableError(f"{error} Or judge on images of your own: --data FILE.npz.") from None
        if tuple(images.x.shape[1:]) != model.shape or int(images.y.max()) >= len(classes):
            raise SpecError(
                f"{DATASETS.name_of(model.dataset)}: found images of {tuple(images.x.shape[1:])} and labels "
                f"to {int(images.y.max())}, and {model.name} was trained on {model.shape} and {len(classes)} "
                "classes: these are other files."
            )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32 where networks are judged
    model.net.to(device)
    return images.first(most).to(device)


def threat_of(model: Trained, eps: float | str | None = None, norm: Norm | None = None) -> Threat:
    """Return the ball to attack in: the one given, or the first that the campaign asks robustness in.

    Raises:
        SpecError: A value is wrong, or there is no radius.
    """
    known = next((threat for threat in model.threats if threat.eps > 0), None)
    if norm is not None:
        build(Norm, norm, Place(shown=("norm",)))
    chosen = norm or (known.norm if known is not None else "linf")
    if eps is None:
        if known is None or known.norm != chosen:
            asks = f"asks robustness in {known.norm}" if known is not None else "asks no robustness"
            raise SpecError(f"eps: got none, and the campaign {asks}: expected a radius, such as 8/255.")
        return known
    radius: float = build(Number, eps, Place(shown=("eps",)))
    largest = 1.0 if chosen == "linf" else math.sqrt(math.prod(model.shape))
    if not 0 < radius <= largest:
        raise SpecError(
            f"eps: got {eps}, expected more than 0 and at most {largest:.4g} ({chosen}, pixels in [0, 1])."
        )
    return Threat(chosen, radius)


@dataclass(frozen=True)
class _Sitting:
    """A network that is about to be judged.

    Attributes:
        model: The network.
        images: The images, on its device.
        attacks: By name.
        conditions: What else the result depends on.
    """

    model: Trained
    images: Split
    attacks: Mapping[str, Attack]
    conditions: dict[str, Any]

    @property
    def file(self) -> Path:
        """Where the record goes: under the same conditions to the same file, under others to another one."""
        given = self.conditions | {"attacks": {name: attack_tree(a) for name, a in self.attacks.items()}}
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:8]
        split, norm, eps = (given[key] for key in ("split", "norm", "eps"))
        return self.model.folder / f"{split}-{norm}-{eps:.4g}-{digest}.json"

    def take(self, progress: Progress | None) -> pd.DataFrame:
        """Run the attacks, write what is known after each one, and return the table of all."""
        frame = pd.DataFrame()
        for marks in judgments(
            self.model.net,
            self.images,
            self.model.tasks,
            self.attacks,
            seed=self.conditions["seed"],
            batch=self.conditions["batch"],
            progress=partial(progress, self.model.name) if progress is not None else None,
        ):
            frame = self._write(marks)
        return frame

    def _write(self, marks: Marks) -> pd.DataFrame:
        """Write what is known as JSON, and as CSV, the table that is returned."""
        result = record(marks)
        tree = {
            "format": 1,
            **self.conditions,
            "finished": marks.attacked.keys() == self.attacks.keys(),
            "device": self.images.x.device.type,
            "versions": versions(),
            **result.to_tree(),
        }
        rows = [{**self.conditions, "doubt": "", **row} for row in result.rows()]
        frame = pd.DataFrame(rows, columns=COLUMNS).astype({"correct": "Int64"})
        write_atomically(self.file, json.dumps(tree, indent=2) + "\n")
        write_atomically(self.file.with_suffix(".csv"), frame.to_csv(index=False))
        return frame
