"""Trained candidates and exported models behind a detector of adversarial images: feature squeezing."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from torch import nn

from moosearch.analysis.accuracy import Progress, images_of, threat_of
from moosearch.analysis.subject import Trained, expect_one_label, trained
from moosearch.attacks import Attack, Norm, Threat
from moosearch.attacks.suite import Node, check_attacks, named_attacks
from moosearch.campaign.folder import write_atomically
from moosearch.data import DATASETS, Split
from moosearch.errors import CampaignError, EvaluationError, Place, SpecError
from moosearch.judging.detection import (
    Scored,
    Told,
    attack_rates,
    clean_rates,
    rate,
    score_images,
    score_under,
    threshold_of,
    worst_case,
)
from moosearch.judging.evasion import Evasion
from moosearch.judging.measure import collected
from moosearch.judging.record import attack_tree
from moosearch.models.defenses import INPUT_DEFENSES, DefenseLayer
from moosearch.models.defenses.defense import InputDefense
from moosearch.provenance import versions
from moosearch.registry import build, to_tree
from moosearch.space.files import read_value

USUAL = ("fgsm", "pgd20", "deepfool", "cw")
"""Attacks that know nothing of the detector; the adaptive one is always run too."""

ADAPTIVE = "adaptive"

SQUEEZER = Annotated[InputDefense, INPUT_DEFENSES]

COLUMNS = (
    "candidate",
    "split",
    "norm",
    "eps",
    "seed",
    "images",
    "squeezers",
    "fpr",
    "threshold",
    "threshold_images",
    "legitimate",
    "false_positives",
    "false_positive_rate",
    "false_positive_low",
    "false_positive_high",
    "attack",
    "attacked",
    "fooled",
    "detected",
    "detection_rate",
    "detection_low",
    "detection_high",
    "failed",
    "failed_detected",
    "auc",
    "correct",
    "accuracy",
    "defended_correct",
    "defended_accuracy",
    "defended_low",
    "defended_high",
    "seconds",
    "doubt",
)
"""Of a table: conditions, the detector on clean images, an attack, and accuracy without and with detector."""


def usual_squeezers(channels: int) -> tuple[dict[str, Any], ...]:
    """Return the squeezers of the paper for images of so many channels.

    Gray images: one bit, and the median of 2 x 2 pixels. Others: 5 bits, and the same median; the third one
    of the paper for color, non-local means, is left out.

    Source: Xu, Evans & Qi 2018, table 4.
    """
    return ({"name": "bit_depth", "bits": 1 if channels == 1 else 5}, {"name": "median_filter", "size": 2})


@dataclass(frozen=True)
class Detection:
    """What is known of a network behind its detector.

    Attributes:
        conditions: What a number of it depends on, the threshold, and what becomes of clean images, see
            `clean_rates`.
        attacks: By label, the attack and what becomes of its images, see `attack_rates`.
        clean: Right and score of each image as it is.
        attacked: The same under each attack, by label.
    """

    conditions: Mapping[str, Any]
    attacks: Mapping[str, Mapping[str, Any]]
    clean: Scored
    attacked: Mapping[str, Scored]

    @property
    def worst_case(self) -> dict[str, Any]:
        """What is left under the worst of the attacks for each image, see `worst_case`."""
        return worst_case(self.clean, list(self.attacked.values()), self.conditions["threshold"])

    def table(self) -> pd.DataFrame:
        """Return a row for ``clean``, each attack and ``worst_case``, with the columns `COLUMNS`.

        ``correct`` and ``accuracy`` are of the network alone, the defended ones of the network with its
        detector: right and accepted of clean images, right or rejected under attack. An attack with a ball
        of its own has that one's ``norm`` and ``eps``.
        """
        told, plain = self.conditions, rate(int(self.clean.right.sum()), len(self.clean.right))
        fixed = {**told, "squeezers": squeezers_text(told["squeezers"]), "doubt": ""}
        fixed |= _columns("legitimate", "false_positives", "false_positive", told["false_positives"])
        known = {
            "clean": {"right": plain, "defended": told["right_and_accepted"]},
            **self.attacks,
            "worst_case": self.worst_case,
        }
        rows = [fixed | {"attack": name} | _row(entry) for name, entry in known.items()]
        counts = [
            name
            for name in COLUMNS
            if name in ("attacked", "fooled", "detected", "failed", "failed_detected")
        ]
        return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(counts, "Int64"))


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known under an attack as columns."""
    row = {"correct": entry["right"]["count"], "accuracy": entry["right"]["rate"]}
    row |= _columns("images", "defended_correct", "defended", entry["defended"])
    row["defended_accuracy"] = row.pop("defended_rate")
    if "attack" in entry:
        row["attacked"] = entry["fooled"]["of"]
        row |= _columns("fooled", "detected", "detection", entry["detected"])
        row |= {
            "failed": entry["failed_detected"]["of"],
            "failed_detected": entry["failed_detected"]["count"],
        }
        row |= {key: entry[key] for key in ("norm", "eps", "auc", "seconds", "doubt")}
    return row


def _columns(of: str, count: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `rate` as columns."""
    low, high = entry["interval"] or (None, None)
    return {
        of: entry["of"],
        count: entry["count"],
        f"{name}_rate": entry["rate"],
        f"{name}_low": low,
        f"{name}_high": high,
    }


def squeezers_text(trees: Sequence[Mapping[str, Any]]) -> str:
    """Return squeezers as one reads them: ``bit_depth(bits=1), median_filter(size=2)``."""
    texts = []
    for tree in trees:
        given = ", ".join(f"{key}={value}" for key, value in tree.items() if key != "name")
        texts.append(f"{tree['name']}({given})" if given else str(tree["name"]))
    return ", ".join(texts)


def detect(
    folder: Path | str,
    *,
    attacks: str | Sequence[Node] = USUAL,
    squeezers: str | Sequence[Node] | None = None,
    fpr: float = 0.05,
    rules: Sequence[str] = ("knee",),
    eps: float | str | None = None,
    norm: Norm | None = None,
    surrogate: Path | str = "",
    data: Path | str | None = None,
    images: int = 0,
    batch: int = 0,
    seed: int | None = None,
    progress: Progress | None = None,
) -> list[Detection]:
    """Put a detector before candidates of a campaign, or an exported model, and attack both.

    The threshold is set on the validation images that are classified rightly; everything reported is of test
    images. Everything is checked and loaded before the first attack runs. What is known is written after
    each attack, as JSON with the CSV of its rows beside it, to where `evaluate` writes: the JSON has every
    image's score. Only the times differ between two runs.

    Args:
        folder: A campaign's folder or an exported one.
        attacks: Names such as ``pgd20``, or mappings, or a text of several, see `named_attacks`. They attack
            the network alone; `Evasion` attacks the detector too and is always run.
        squeezers: Input defenses, as in a search space file, or a text of several; `usual_squeezers` if None.
        fpr: Share of legitimate images that may be rejected, in (0, 1).
        rules: Of a campaign: ``knee``, ``best:OBJECTIVE``, ids, or ``front`` for all members.
        eps: Radius in pixel units of [0, 1], also as text: ``8/255``. By default the campaign's first.
        norm: Norm of the ball. By default the campaign's; for another one ``eps`` must be given.
        surrogate: An exported folder, for the attack ``transfer``.
        data: The user's own images, see `own_images`: every second one sets the threshold, from the first
            on, and the others are reported on.
        images: How many images are reported on, the first ones; 0 for all.
        batch: Images at a time; 0 for `moosearch.judging.measure.batch_size`. Random starts depend on it.
        seed: Seed of the attacks; by default the campaign's.
        progress: Is told how far it is.

    Returns:
        What was found of each candidate.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or is damaged, or cannot be written.
        SpecError: A rule, an attack, a squeezer or a number is wrong, or own images do not fit the network.
        DataUnavailableError: The images are not there.
        EvaluationError: No image that could set the threshold is classified rightly.
    """
    if not 0 < fpr < 1:
        raise SpecError(f"fpr: got {fpr:g}, expected more than 0 and less than 1.")
    if images < 0 or batch < 0:
        raise SpecError(f"images and batch: got {images} and {batch}, expected 0 or more.")
    named = [attacks] if isinstance(attacks, str) else attacks
    sittings = []
    for model in trained(Path(folder), rules):
        expect_one_label(model, "so it is with detection")
        threat = threat_of(model, eps, norm)
        chosen = named_attacks(named, threat, surrogate=str(surrogate))
        check_attacks(chosen, model.tasks[0], model.shape)
        plugins = _squeezers(squeezers, model)
        layers = _layers(plugins, model)
        known, shown = _images(model, None if data is None else Path(data), images)
        device = next(model.net.parameters()).device
        conditions = {
            "candidate": model.name,
            "split": "own" if data is not None else "test",
            "data": None if data is None else str(data),
            "dataset": Path(data).name if data is not None else DATASETS.name_of(model.dataset),
            "norm": threat.norm,
            "eps": threat.eps,
            "seed": model.seed if seed is None else seed,
            "batch": batch,
            "images": len(shown),
            "fpr": fpr,
            "squeezers": [to_tree(plugin, SQUEEZER) for plugin in plugins],
        }
        moved = tuple(layer.to(device) for layer in layers)
        sittings.append(_Sitting(model, threat, known, shown, chosen, moved, conditions))
    for sitting in sittings:
        try:
            sitting.model.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignError(f"{sitting.model.folder}: cannot write here: {error.strerror}.") from None
    return [sitting.take(progress) for sitting in sittings]


def _squeezers(nodes: str | Sequence[Node] | None, model: Trained) -> tuple[InputDefense, ...]:
    """Read squeezers: what `INPUT_DEFENSES` knows, by name or as mappings."""
    if nodes is None:
        nodes = usual_squeezers(model.shape[0])
    tree = read_value(f"[{nodes}]", f"squeezers: {nodes}") if isinstance(nodes, str) else list(nodes)
    plugins: tuple[InputDefense, ...] = build(
        tuple[SQUEEZER, ...],
        tree,
        Place(shown=("squeezers",)),
    )
    if not plugins:
        raise SpecError(f"squeezers: none is named. Known: {', '.join(INPUT_DEFENSES)}.")
    return plugins


def _layers(plugins: Sequence[InputDefense], model: Trained) -> list[nn.Module]:
    """Build the layers of squeezers for a network's images."""
    layers = []
    for plugin in plugins:
        name, layer = INPUT_DEFENSES.name_of(plugin), plugin.layer(model.shape)
        if layer is None:
            raise SpecError(f"squeezers: {name} changes no image: expected one that does.")
        if isinstance(layer, DefenseLayer) and layer.random:
            raise SpecError(f"squeezers: {name} draws random numbers: expected one that does not.")
        if any(True for _ in layer.parameters()):
            raise SpecError(f"squeezers: {name} is trained with its network: expected one that is not.")
        layers.append(layer.eval().requires_grad_(requires_grad=False))
    return layers


def _images(model: Trained, data: Path | None, most: int) -> tuple[Split, Split]:
    """Return images that set the threshold, and others that are reported on."""
    if data is None:
        known, shown = images_of(model, "val"), images_of(model, "test")
    else:
        own = images_of(model, "test", data=data)
        known, shown = Split(own.x[::2], own.y[::2]), Split(own.x[1::2], own.y[1::2])
        if not len(shown):
            raise SpecError("data: got 1 image, expected 2 or more: every second one sets the threshold.")
    if most > len(shown):
        raise SpecError(f"images: got {most}, expected at most {len(shown)}: there are no more.")
    return known, shown.first(most)


@dataclass(frozen=True)
class _Sitting:
    """A network that is about to be attacked behind its detector.

    Attributes:
        model: The network.
        threat: The ball of the adaptive attack.
        known: Images that set the threshold, on the network's device.
        images: Images that are reported on, there too.
        attacks: By name.
        layers: The squeezers, there too.
        conditions: What else the result depends on.
    """

    model: Trained
    threat: Threat
    known: Split
    images: Split
    attacks: Mapping[str, Attack]
    layers: tuple[nn.Module, ...]
    conditions: dict[str, Any]

    def take(self, progress: Progress | None) -> Detection:
        """Set the threshold, run the attacks, write what is known after each one, and return all."""
        net, batch, name = self.model.net.eval(), self.conditions["batch"], self.model.name
        told = partial(_told, progress, name)
        known = score_images(net, self.layers, self.known, batch=batch, told=told("threshold"))
        if not known.right.any():
            raise EvaluationError(
                f"{name}: none of {len(self.known)} images is classified rightly: there is no threshold."
            )
        threshold = threshold_of(known.score[known.right], self.conditions["fpr"])
        clean = score_images(net, self.layers, self.images, batch=batch, told=told("clean"))
        told_of = {
            **self.conditions,
            "threshold": threshold,
            "threshold_images": int(known.right.sum()),
            **clean_rates(clean, threshold),
        }
        evasion = Evasion(self.layers, threshold, self.threat.eps, self.threat.norm)
        trees = {label: attack_tree(attack) for label, attack in self.attacks.items()}
        trees[ADAPTIVE] = {"name": ADAPTIVE, **evasion.options}
        detection = Detection(told_of, {}, clean, {})
        for label, attack in {**self.attacks, ADAPTIVE: evasion}.items():
            start, doubts = time.perf_counter(), dict[str, None]()
            with collected(doubts):
                scored = score_under(
                    attack,
                    net,
                    self.layers,
                    self.images,
                    self.model.tasks,
                    clean,
                    seed=self.conditions["seed"],
                    batch=batch,
                    told=told(label),
                )
            entry = {
                "attack": trees[label],
                "norm": attack.norm,
                "eps": attack.eps,
                **attack_rates(clean, scored, threshold),
                "seconds": time.perf_counter() - start,
                "doubt": " ".join(doubts),
            }
            detection = replace(
                detection,
                attacks={**detection.attacks, label: entry},
                attacked={**detection.attacked, label: scored},
            )
            self._write(detection, finished=detection.attacks.keys() == trees.keys())
        return detection

    def _write(self, detection: Detection, *, finished: bool) -> None:
        """Write what is known as JSON, and its rows as CSV."""
        given = self.conditions | {"attacks": {name: attack_tree(a) for name, a in self.attacks.items()}}
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:8]
        stem = "detection-{split}-{norm}-{eps:.4g}-".format(**self.conditions) + digest
        scored = {"clean": detection.clean, **detection.attacked}
        tree = {
            "format": 1,
            "finished": finished,
            "device": self.images.x.device.type,
            "versions": versions(),
            **detection.conditions,
            "attacks": detection.attacks,
            "worst_case": detection.worst_case,
            "scores": {
                name: {"right": each.right.tolist(), "score": each.score.tolist()}
                for name, each in scored.items()
            },
        }
        write_atomically(self.model.folder / f"{stem}.json", json.dumps(tree) + "\n")
        write_atomically(self.model.folder / f"{stem}.csv", detection.table().to_csv(index=False))


def _told(progress: Progress | None, who: str, what: str) -> Told | None:
    return partial(progress, who, what) if progress is not None else None
