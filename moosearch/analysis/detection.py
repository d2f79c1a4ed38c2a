"""Trained candidates and exported models behind a detector of adversarial images: feature squeezing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import pandas as pd
from torch import nn

from moosearch.analysis.answers import make_folders, write_answer
from moosearch.analysis.setup import EvaluationProtocol, Progress, Setup, check_count, images_of
from moosearch.attacks.suite import Node
from moosearch.data import Split
from moosearch.errors import EvaluationError, Place, SpecError
from moosearch.judging.detection import (
    Scored,
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
from moosearch.registry import build, to_tree
from moosearch.space.files import read_value

PROTOCOL = EvaluationProtocol(attacks=("fgsm", "pgd20", "deepfool", "cw"), labels=1)
"""With attacks that know nothing of the detector; the adaptive one is always run too."""

ADAPTIVE = "adaptive"

SQUEEZER = Annotated[InputDefense, INPUT_DEFENSES]

COLUMNS = (
    "candidate", "split", "norm", "eps", "seed", "images", "squeezers", "fpr", "threshold",
    "threshold_images", "legitimate", "false_positives", "false_positive_rate", "false_positive_low",
    "false_positive_high", "attack", "attacked", "fooled", "detected", "detection_rate", "detection_low",
    "detection_high", "failed", "failed_detected", "auc", "correct", "accuracy",
    "defended_correct", "defended_accuracy", "defended_low", "defended_high", "seconds", "doubt",
)  # fmt: skip
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

    def to_tree(self) -> dict[str, Any]:
        """Return plain data, with every image's score."""
        scored = {"clean": self.clean, **self.attacked}
        return {
            **self.conditions,
            "attacks": self.attacks,
            "worst_case": self.worst_case,
            "scores": {
                name: {"right": each.right.tolist(), "score": each.score.tolist()}
                for name, each in scored.items()
            },
        }

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
        counts = ("attacked", "fooled", "detected", "failed", "failed_detected")
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
    setups: Sequence[Setup],
    *,
    squeezers: str | Sequence[Node] | None = None,
    fpr: float = 0.05,
    images: int = 0,
    progress: Progress | None = None,
) -> list[Detection]:
    """Put a detector before networks, and attack both.

    The threshold is set on the validation images that are classified rightly; everything reported is of test
    images. Everything is checked before the first attack runs. What is known is written after each attack,
    as JSON with the CSV of its rows beside it, to where `evaluate` writes: the JSON has every image's score.
    Only the times differ between two runs.

    Args:
        setups: The networks, with all test images, or with the user's own: of these every second one sets
            the threshold, from the first on, and the others are reported on. Their attacks attack the
            network alone; `Evasion` attacks the detector too and is always run.
        squeezers: Input defenses, as in a search space file, or a text of several; `usual_squeezers` if None.
        fpr: Share of legitimate images that may be rejected, in (0, 1).
        images: How many images are reported on, the first ones; 0 for all.
        progress: Called with how far it is.

    Returns:
        What was found of each candidate.

    Raises:
        CampaignError: A folder cannot be written.
        SpecError: A squeezer or a number is wrong.
        DataUnavailableError: The validation images are not there.
        EvaluationError: No image that could set the threshold is classified rightly.
    """
    if not 0 < fpr < 1:
        raise SpecError(f"fpr: got {fpr:g}, expected more than 0 and less than 1.")
    ready = []
    for setup in setups:
        plugins = _squeezers(squeezers, setup.model.shape[0])
        layers = _layers(plugins, setup.model.shape)
        known, reported = _images(setup, images)
        names = [to_tree(plugin, SQUEEZER) for plugin in plugins]
        ready.append((replace(setup, images=reported), known, layers, {"fpr": fpr, "squeezers": names}))
    make_folders(setups)
    return [_detect(*each, progress) for each in ready]


def _squeezers(nodes: str | Sequence[Node] | None, channels: int) -> tuple[InputDefense, ...]:
    """Read squeezers: what `INPUT_DEFENSES` knows, by name or as mappings."""
    if nodes is None:
        nodes = usual_squeezers(channels)
    tree = read_value(f"[{nodes}]", f"squeezers: {nodes}") if isinstance(nodes, str) else list(nodes)
    plugins: tuple[InputDefense, ...] = build(tuple[SQUEEZER, ...], tree, Place(shown=("squeezers",)))
    if not plugins:
        raise SpecError(f"squeezers: none is named. Known: {', '.join(INPUT_DEFENSES)}.")
    return plugins


def _layers(plugins: Sequence[InputDefense], shape: tuple[int, int, int]) -> list[nn.Module]:
    """Build the layers of squeezers for a network's images."""
    layers = []
    for plugin in plugins:
        name, layer = INPUT_DEFENSES.name_of(plugin), plugin.layer(shape)
        if layer is None:
            raise SpecError(f"squeezers: {name} changes no image: expected one that does.")
        if isinstance(layer, DefenseLayer) and layer.random:
            raise SpecError(f"squeezers: {name} draws random numbers: expected one that does not.")
        if any(True for _ in layer.parameters()):
            raise SpecError(f"squeezers: {name} is trained with its network: expected one that is not.")
        layers.append(layer.eval().requires_grad_(requires_grad=False))
    return layers


def _images(setup: Setup, most: int) -> tuple[Split, Split]:
    """Return images that set the threshold, and others that are reported on."""
    if setup.data is None:
        known, reported = images_of(setup.model, "val"), setup.images
    else:
        known, reported = (Split(setup.images.x[k::2], setup.images.y[k::2]) for k in (0, 1))
        if not len(reported):
            raise SpecError("data: got 1 image, expected 2 or more: every second one sets the threshold.")
    check_count(most, reported)
    return known, reported.first(most)


def _detect(
    setup: Setup,
    known: Split,
    layers: Sequence[nn.Module],
    given: Mapping[str, Any],
    progress: Progress | None,
) -> Detection:
    """Set the threshold on known images, run the attacks, write what is known after each one, return all."""
    net, tell = setup.model.net.eval(), setup.tell(progress)
    layers = tuple(layer.to(setup.images.x.device) for layer in layers)
    legitimate = score_images(net, layers, known, batch=setup.batch, told=partial(tell, "threshold"))
    if not legitimate.right.any():
        raise EvaluationError(
            f"{setup.model.name}: none of {len(known)} images is classified rightly: there is no threshold."
        )
    threshold = threshold_of(legitimate.score[legitimate.right], given["fpr"])
    clean = score_images(net, layers, setup.images, batch=setup.batch, told=partial(tell, "clean"))
    conditions = {**setup.conditions, "dataset": setup.source, **given}
    found = {
        "threshold": threshold,
        "threshold_images": int(legitimate.right.sum()),
        **clean_rates(clean, threshold),
    }
    evasion = Evasion(layers, threshold, setup.threat.eps, setup.threat.norm)
    trees = {label: attack_tree(attack) for label, attack in setup.attacks.items()}
    trees[ADAPTIVE] = {"name": ADAPTIVE, **evasion.options}
    detection = Detection(conditions | found, {}, clean, {})
    for label, attack in {**setup.attacks, ADAPTIVE: evasion}.items():
        start, doubts = time.perf_counter(), dict[str, None]()
        with collected(doubts):
            attacked = score_under(
                attack,
                net,
                layers,
                setup.images,
                setup.model.tasks,
                clean,
                seed=setup.seed,
                batch=setup.batch,
                told=partial(tell, label),
            )
        entry = {
            "attack": trees[label],
            "norm": attack.norm,
            "eps": attack.eps,
            **attack_rates(clean, attacked, threshold),
            "seconds": time.perf_counter() - start,
            "doubt": " ".join(doubts),
        }
        detection = replace(
            detection,
            attacks={**detection.attacks, label: entry},
            attacked={**detection.attacked, label: attacked},
        )
        answer = {"finished": len(detection.attacks) == len(trees), **detection.to_tree()}
        write_answer(setup, conditions, answer, detection.table(), "detection-")
    return detection
