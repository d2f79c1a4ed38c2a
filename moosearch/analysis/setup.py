"""What a question to trained networks is about: the model, the images, the attacks, and the conditions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from moosearch.analysis.subject import Trained, trained
from moosearch.attacks import Attack, Norm, Threat
from moosearch.attacks.suite import Node, check_attacks, named_attacks
from moosearch.data import DATASETS, Split, own_images
from moosearch.errors import DataUnavailableError, Place, SpecError
from moosearch.evaluators.devices import use
from moosearch.judging.measure import unheard
from moosearch.registry import Number, build

Part = Literal["val", "test"]

Progress = Callable[[str, str, int, int], None]
"""Called with the candidate, what is done with it, how much of it is done and how much there is."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """What a question asks of its setups, and what it takes where the user says nothing.

    Attributes:
        attacks: The attacks; none if empty.
        several: The attacks on networks for images with several labels; the same if empty.
        split: The images.
        norm: The norm of the ball; the campaign's if None.
        labels: How many labels an image must have; any number if 0.
        exact: Whether there must be as many images as were asked for.
    """

    attacks: tuple[Node, ...] = ()
    several: tuple[Node, ...] = ()
    split: Part = "test"
    norm: Norm | None = None
    labels: int = 0
    exact: bool = True


@dataclass(frozen=True)
class Setup:
    """A trained network, and how it is questioned.

    Attributes:
        model: The network.
        images: The images, on its device.
        split: Which images; ``own`` for the user's.
        data: The user's own images, as they were named; None for those of a split.
        threat: The ball that attacks stay in; its radius is 0 where there are none.
        attacks: By name.
        seed: Seed of the attacks.
        batch: Images at a time; 0 for `moosearch.judging.measure.batch_size`.
    """

    model: Trained
    images: Split
    split: Literal["val", "test", "own"]
    data: Path | str | None
    threat: Threat
    attacks: Mapping[str, Attack]
    seed: int
    batch: int

    @property
    def conditions(self) -> dict[str, Any]:
        """What an answer depends on besides the attacks, as plain data."""
        return {
            "candidate": self.model.name,
            "split": self.split,
            "data": None if self.data is None else str(self.data),
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "seed": self.seed,
            "batch": self.batch,
            "images": len(self.images),
        }

    @property
    def source(self) -> str:
        """Name of the dataset, or of the file of the user's own images."""
        return DATASETS.name_of(self.model.dataset) if self.data is None else Path(self.data).name

    def tell(self, progress: Progress | None) -> Callable[[str, int, int], None]:
        """Return ``progress`` for this candidate; where there is none, what tells nobody."""
        return unheard if progress is None else partial(progress, self.model.name)


def setups(
    folder: Path | str,
    protocol: EvaluationProtocol,
    *,
    rules: Sequence[str] | None = None,
    attacks: str | Sequence[Node] | None = None,
    eps: float | str | None = None,
    norm: Norm | None = None,
    surrogate: Path | str | None = None,
    split: Part | None = None,
    data: Path | str | None = None,
    images: int = 0,
    batch: int = 0,
    seed: int | None = None,
) -> list[Setup]:
    """Load candidates of a campaign, or an exported model, with images and attacks; nothing is attacked yet.

    Args:
        folder: A campaign's folder or an exported one.
        protocol: What the question asks for.
        rules: Of a campaign: ``knee`` (the default), ``best:OBJECTIVE``, ids, or ``front`` for all members.
        attacks: Names such as ``pgd20``, or mappings, or a text of several, see `named_attacks`.
        eps: Radius in pixel units of [0, 1], also as text: ``8/255``. By default the campaign's first.
        norm: Norm of the ball. By default the campaign's; for another one ``eps`` must be given.
        surrogate: An exported folder, for the attack ``transfer``.
        split: ``val``, which the candidates were selected on, or ``test``, for final numbers.
        data: The user's own images instead of a split, see `own_images`.
        images: How many images, the first ones; 0 for all.
        batch: Images at a time; 0 for `moosearch.judging.measure.batch_size`. Random starts depend on it.
        seed: Seed of the attacks; by default the campaign's.

    Raises:
        CampaignError: The folder is neither a campaign nor an export, or is damaged.
        SpecError: A rule, an attack or a number is wrong, or the images do not fit the network.
        DataUnavailableError: The images are not there.
    """
    if images < 0 or batch < 0:
        raise SpecError(f"images and batch: got {images} and {batch}, expected 0 or more.")
    found = []
    for model in trained(Path(folder), rules or ("knee",)):
        task = model.tasks[0]
        if protocol.labels not in (0, task.top):
            have = "1 label" if task.top == 1 else f"{task.top} labels"
            raise SpecError(f"{model.name}: its images have {have}, expected {protocol.labels} each.")
        usual = protocol.several if task.top > 1 and protocol.several else protocol.attacks
        nodes = usual if attacks is None else [attacks] if isinstance(attacks, str) else attacks
        threat, chosen = Threat("linf", 0.0), dict[str, Attack]()
        if attacks is not None or usual:
            threat = threat_of(model, eps, norm or protocol.norm)
            chosen = named_attacks(nodes, threat, surrogate=str(surrogate or ""))
            check_attacks(chosen, task, model.shape)
        which = split or protocol.split
        some = images_of(model, which, data=data, most=images)
        check_count(images if protocol.exact else 0, some)
        found.append(
            Setup(
                model,
                some,
                "own" if data is not None else which,
                data,
                threat,
                chosen,
                model.seed if seed is None else seed,
                batch,
            )
        )
    return found


def check_count(wanted: int, images: Split) -> None:
    """Check that there are as many images as are wanted.

    Raises:
        SpecError: There are fewer.
    """
    if wanted > len(images):
        raise SpecError(f"images: got {wanted}, expected at most {len(images)}: there are no more.")


def images_of(model: Trained, split: Part, *, data: Path | str | None = None, most: int = 0) -> Split:
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
        images = own_images(Path(data), model.shape, model.tasks[0])
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
    device = use("auto")
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
