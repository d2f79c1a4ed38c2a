"""How many images a network is proved robust on, beside how many an attack does not fool it on."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moosearch.attacks.suite import Node, check_attacks, named_attacks
from moosearch.campaign.evaluation import Part, images_of, threat_of
from moosearch.campaign.folder import write_atomically
from moosearch.campaign.subject import trained
from moosearch.data import Split
from moosearch.errors import SpecError
from moosearch.evaluators.spread import spread
from moosearch.judging import judge
from moosearch.judging.record import record, wilson
from moosearch.verify import Certificate, Effort, Piecewise, certify
from moosearch.verify.certify import Standing

STANDINGS: tuple[Standing, ...] = ("robust", "unknown", "vulnerable", "wrong")
CONTRADICTED = "contradicted by an attack"

Progress = Callable[[str, int, int], None]
"""Is told what is done, how many images of it and of how many."""


@dataclass(frozen=True)
class Certification:
    """What is known of a network on N images.

    Attributes:
        candidate: Its id.
        eps: Radius of the l_inf ball, in pixel units of [0, 1].
        split: Of which images, or the file.
        certificates: Of each image.
        attacks: What `moosearch.judging.record.record` says of the attacks on the same images.
        file: Where it is written.
    """

    candidate: str
    eps: float
    split: str
    certificates: tuple[Certificate, ...]
    attacks: Mapping[str, Any]
    file: Path

    @property
    def counts(self) -> dict[Standing, int]:
        """How many images stand how: `STANDINGS`."""
        found = Counter(each.standing for each in self.certificates)
        return {standing: found[standing] for standing in STANDINGS}

    @property
    def certified(self) -> float:
        """Certified accuracy: share of all images that are right and proved robust; a lower bound."""
        return self.counts["robust"] / len(self.certificates)

    @property
    def at_most(self) -> float:
        """Share of all images without a witness, of verification or of an attack: an upper bound."""
        withstood: float = self.attacks["worst_case"]["accuracy"]
        counts = self.counts
        return min(withstood, (counts["robust"] + counts["unknown"]) / len(self.certificates))

    def to_tree(self) -> dict[str, Any]:
        """Write it as plain data."""
        images = len(self.certificates)
        return {
            "candidate": self.candidate,
            "norm": "linf",
            "eps": self.eps,
            "split": self.split,
            "images": images,
            "certified_accuracy": self.certified,
            "interval": list(wilson(self.counts["robust"], images)),
            "robust_accuracy_at_most": self.at_most,
            "standings": self.counts,
            "ways": dict(Counter(way for each in self.certificates for way in each.ways)),
            "seconds": sum(each.seconds for each in self.certificates),
            "attacks": dict(self.attacks),
            "certificates": [
                {"image": number, "standing": each.standing, "margin": each.margin, "seconds": each.seconds}
                for number, each in enumerate(self.certificates)
            ],
        }


def certification(
    folder: Path | str,
    *,
    rules: Sequence[str] = ("knee",),
    eps: float | str | None = None,
    attacks: str | Sequence[Node] = ("autoattack",),
    split: Part = "test",
    data: Path | str | None = None,
    images: int = 100,
    effort: Effort | None = None,
    workers: int = 1,
    seed: int | None = None,
    progress: Progress | None = None,
) -> list[Certification]:
    """Verify networks image by image, and attack them on the same images.

    What is proved is proved of the network in float64 arithmetic, up to `moosearch.verify.TOLERANCE`.

    Args:
        folder: A campaign's folder or an exported one.
        rules: Of a campaign, whom.
        eps: Radius in l_inf, in pixel units of [0, 1], also as text; by default the campaign's.
        attacks: What the empirical accuracy is measured by, see `named_attacks`; PGD-100 on the margin in
            place of the default where images have several labels.
        split: ``test`` or ``val``.
        data: The user's own images instead.
        images: How many, the first ones; 0 for all.
        effort: How hard verification tries.
        workers: Images at a time, on Ray; 1 for this process.
        seed: Of the attacks; the campaign's by default.
        progress: Is told how far it is.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or cannot be written.
        SpecError: A value is wrong, or a network has layers that cannot be verified.
        DataUnavailableError: The images are not there.
    """
    if images < 0 or workers < 1:
        raise SpecError(f"images and workers: got {images} and {workers}, expected 0 or more, and 1 or more.")
    found = []
    for model in trained(Path(folder), rules):
        threat = threat_of(model, eps, "linf")
        named = [attacks] if isinstance(attacks, str) else attacks
        if tuple(named) == ("autoattack",) and model.tasks[0].top > 1:
            named = [{"name": "pgd", "steps": 100, "objective": "margin"}]
        chosen = named_attacks(named, threat)
        check_attacks(chosen, model.tasks[0], model.shape)
        network = Piecewise.of(model.net.deployed(), model.shape)
        some = images_of(model, split, data=None if data is None else Path(data), most=images)
        if images > len(some):
            raise SpecError(f"images: got {images}, expected at most {len(some)}: there are no more.")
        judgment = judge(
            model.net, some, model.tasks, chosen, seed=model.seed if seed is None else seed, progress=progress
        )
        work = partial(_certify, network, threat.eps, effort or Effort())
        certificates: dict[int, Certificate] = {}
        withstood = judgment.worst_case.tolist()
        for number, certificate in spread(work, _questions(some), workers=workers):
            contradicted = certificate.standing == "robust" and not withstood[number]
            certificates[number] = _taken_back(certificate) if contradicted else certificate
            if progress is not None:
                progress("verified", len(certificates), len(some))
        name = f"certified-{data or split}-{threat.eps:.4g}".replace("/", "_")
        result = Certification(
            model.name,
            threat.eps,
            str(data or split),
            tuple(certificates[number] for number in range(len(some))),
            record(judgment),
            model.folder / f"{name}.json",
        )
        result.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(result.file, json.dumps(result.to_tree(), indent=1))
        found.append(result)
    return found


def _questions(images: Split) -> list[tuple[np.ndarray[Any, Any], tuple[int, ...]]]:
    """Return every image as float64 with its labels."""
    x = images.pixels().cpu().to(torch.float64).flatten(1).numpy()
    y = images.y.cpu().numpy()
    labels = [tuple(np.flatnonzero(row).tolist()) if np.ndim(row) else (int(row),) for row in y]
    return list(zip(x, labels, strict=True))


def _certify(
    network: Piecewise, eps: float, effort: Effort, question: tuple[Any, tuple[int, ...]]
) -> Certificate:
    x, labels = question
    return certify(network, x, labels, eps, effort)


def _taken_back(certificate: Certificate) -> Certificate:
    """Take a proof back: an attack fools the network, which rounds where the proof does not."""
    return replace(certificate, standing="unknown", ways=(*certificate.ways, CONTRADICTED))
