"""How many images a network is proved robust on, beside how many an attack does not fool it on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from moosearch.analysis.answers import cache_of, cached, make_folders, store
from moosearch.analysis.setup import EvaluationProtocol, Progress, Setup
from moosearch.judging import judge
from moosearch.judging.record import record
from moosearch.judgment import SuiteResult, wilson
from moosearch.registry import to_tree
from moosearch.verify import Certificate, Effort, Piecewise, certify, points
from moosearch.verify.certify import Standing
from moosearch.verify.piecewise import Vector

STANDINGS: tuple[Standing, ...] = ("robust", "unknown", "vulnerable", "wrong")
PROTOCOL = EvaluationProtocol(
    attacks=("autoattack",), several=({"name": "pgd", "steps": 100, "objective": "margin"},), norm="linf"
)
CONTRADICTED = "contradicted by an attack"


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
    setups: Sequence[Setup],
    *,
    effort: Effort | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Certification]:
    """Verify networks image by image, and attack them on the same images.

    What is proved is proved of the network in float64 arithmetic, up to `moosearch.verify.TOLERANCE`. Each
    image's certificate is on disk as soon as it is there, and is not looked for again.

    Args:
        setups: The networks, with the images, the l_inf ball, and the attacks set beside the proofs.
        effort: How hard verification tries.
        workers: Images at a time, on Ray; 1 for this process.
        progress: Called with how far it is.

    Raises:
        CampaignError: A folder cannot be written.
        SpecError: A network has layers that cannot be verified.
        MissingExtraError: A complete search is asked for, and its solver is not installed.
    """
    effort, found = effort or Effort(), []
    networks = [Piecewise.of(setup.model.net.deployed(), setup.model.shape) for setup in setups]
    make_folders(setups)
    for setup, network in zip(setups, networks, strict=True):
        model, eps, tell = setup.model, setup.threat.eps, setup.tell(progress)
        marks = judge(
            model.net,
            setup.images,
            model.tasks,
            setup.attacks,
            seed=setup.seed,
            batch=setup.batch,
            progress=tell,
        )
        part = setup.split if setup.data is None else Path(setup.data).stem
        place = cache_of(setup, f"certified-{part}-{eps:.4g}", [to_tree(effort, Effort), part, eps])
        certificates = cached(
            partial(_certify, network, eps, effort),
            {f"{number:05d}": each for number, each in enumerate(points(setup.images))},
            Certificate,
            place,
            workers=workers,
            progress=partial(tell, "verified"),
        )
        withstood = marks.worst_case.tolist()
        result = Certification(
            model.name,
            eps,
            str(setup.data or setup.split),
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
