"""How many images a network is proved robust on, beside how many an attack does not fool it on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from moosearch.analysis.accuracy import Part, images_of, threat_of
from moosearch.analysis.answers import digest, kept, store
from moosearch.analysis.subject import trained
from moosearch.attacks.suite import Node, check_attacks, named_attacks
from moosearch.errors import SpecError
from moosearch.extras import require
from moosearch.judging import judge
from moosearch.judging.measure import unheard
from moosearch.judging.record import record
from moosearch.judgment import SuiteResult, wilson
from moosearch.registry import to_tree
from moosearch.verify import Certificate, Effort, Piecewise, certify, points
from moosearch.verify.certify import Standing
from moosearch.verify.piecewise import Vector

STANDINGS: tuple[Standing, ...] = ("robust", "unknown", "vulnerable", "wrong")
PGD100: Node = {"name": "pgd", "steps": 100, "objective": "margin"}
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
        attacks: What attacks did on the same images.
        file: Where it is written.
    """

    candidate: str
    eps: float
    split: str
    certificates: tuple[Certificate, ...]
    attacks: SuiteResult
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
        withstood: float = self.attacks.worst_case.accuracy
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
            "attacks": self.attacks.to_tree(),
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
    attacks: str | Sequence[Node] | None = None,
    split: Part = "test",
    data: Path | str | None = None,
    images: int = 100,
    effort: Effort | None = None,
    workers: int = 1,
    seed: int | None = None,
    progress: Progress | None = None,
) -> list[Certification]:
    """Verify networks image by image, and attack them on the same images.

    What is proved is proved of the network in float64 arithmetic, up to `moosearch.verify.TOLERANCE`. Each
    image's certificate is on disk as soon as it is there, and is not looked for again.

    Args:
        folder: A campaign's folder or an exported one.
        rules: Of a campaign, whom.
        eps: Radius in l_inf, in pixel units of [0, 1], also as text; by default the campaign's.
        attacks: What the empirical accuracy is measured by, see `named_attacks`; if None AutoAttack, or
            `PGD100` where images have several labels.
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
        MissingExtraError: A complete search is asked for, and its solver is not installed.
        DataUnavailableError: The images are not there.
    """
    if images < 0 or workers < 1:
        raise SpecError(f"images and workers: got {images} and {workers}, expected 0 or more, and 1 or more.")
    effort, found = effort or Effort(), []
    if effort.complete:
        require("moosearch verify", "verify")
    for model in trained(Path(folder), rules):
        threat = threat_of(model, eps, "linf")
        usual = ["autoattack"] if model.tasks[0].top == 1 else [PGD100]
        named = usual if attacks is None else [attacks] if isinstance(attacks, str) else attacks
        chosen = named_attacks(named, threat)
        check_attacks(chosen, model.tasks[0], model.shape)
        network = Piecewise.of(model.net.deployed(), model.shape)
        own = None if data is None else Path(data)
        some = images_of(model, split, data=own, most=images)
        if images > len(some):
            raise SpecError(f"images: got {images}, expected at most {len(some)}: there are no more.")
        marks = judge(
            model.net, some, model.tasks, chosen, seed=model.seed if seed is None else seed, progress=progress
        )
        part = split if own is None else own.stem
        conditions = digest(to_tree(effort, Effort), part, threat.eps, data=own)
        place = model.folder / f"certified-{part}-{threat.eps:.4g}-{conditions}"
        certificates = kept(
            partial(_certify, network, threat.eps, effort),
            {f"{number:05d}": each for number, each in enumerate(points(some))},
            Certificate,
            place,
            workers=workers,
            progress=partial(progress or unheard, "verified"),
        )
        withstood = marks.worst_case.tolist()
        result = Certification(
            model.name,
            threat.eps,
            str(data or split),
            tuple(_believed(each, right) for each, right in zip(certificates, withstood, strict=True)),
            record(marks),
            place / "certification.json",
        )
        store(result.file, result.to_tree())
        found.append(result)
    return found


def _certify(
    network: Piecewise, eps: float, effort: Effort, question: tuple[Vector, tuple[int, ...]]
) -> Certificate:
    x, labels = question
    return certify(network, x, labels, eps, effort)


def _believed(certificate: Certificate, withstood: float) -> Certificate:
    """Take a proof back where an attack fools the network, which rounds where the proof does not."""
    if withstood or certificate.standing != "robust":
        return certificate
    return replace(certificate, standing="unknown", ways=(*certificate.ways, CONTRADICTED))
