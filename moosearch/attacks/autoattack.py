"""AutoAttack (Croce & Hein 2020) and the four attacks that it consists of, computed by pyautoattack."""

import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic
import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.ball import BALLS, Norm
from moosearch.attacks.gradient import SURE, margin
from moosearch.attacks.seeker import Classify, RowSeeker, draw_seed
from moosearch.errors import SpecError
from moosearch.registry import Count, NonNegative, Number
from moosearch.seeding import seeded_torch

Targets = Annotated[int, pydantic.Field(ge=0)]

NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
"""Our norms as pyautoattack calls them."""

GRADIENTS = 10
"""Gradients of an image that untargeted FAB holds at a time: one a class."""


class AttackWarning(UserWarning):
    """A network gives reason to doubt the accuracy that an attack measures on it."""


class _Doubts:
    """What pyautoattack takes for a logger: its doubts become warnings."""

    def warning(self, text: str) -> None:
        doubt = text.partition("!")[0]  # what follows is advice on options and files that are not ours
        warnings.warn(
            f"{doubt}: the accuracy under this attack may be too high.", AttackWarning, stacklevel=2
        )


@ATTACKS.register("apgd")
@dataclass(frozen=True, repr=False)
class Apgd(RowSeeker):
    """Auto-PGD: momentum, and steps that are halved where they stop to help (Croce & Hein 2020).

    It walks all its steps also where an image is fooled early.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        objective: What is ascended: ``cross_entropy``, or ``dlr``, the difference of logits ratio, which
            needs three classes, and four with targets.
        targets: 0 moves away from the label; n towards the n most likely wrong classes, one after the other,
            or to as many as there are (APGD-T, with ``dlr``).
        steps: Number of steps, for each target and restart.
        restarts: How often to start.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    objective: Literal["cross_entropy", "dlr"] = "cross_entropy"
    targets: Targets = 0
    steps: Count = 100
    restarts: Count = 1

    def __post_init__(self) -> None:
        """Check that the objective has a targeted form.

        Raises:
            SpecError: It has none.
        """
        if self.targets and self.objective != "dlr":
            raise SpecError(
                f"targets: got {self.targets} with objective: {self.objective}, expected objective: dlr."
            )

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check that the objective is defined for as few classes."""
        needed = 4 if self.targets else 3
        if self.objective == "dlr" and classes < needed:
            what = "dlr with targets" if self.targets else "dlr"
            raise SpecError(
                f"objective: {what} needs {needed} classes or more, and the network has {classes}: "
                f"expected {'dlr without targets or ' if classes == 3 else ''}cross_entropy."
            )

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for images that fool."""
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

        options: dict[str, Any] = {
            "n_iter": self.steps,
            "norm": NORMS[self.norm],
            "n_restarts": self.restarts,
            "eps": self.eps,
            "seed": draw_seed(generator),
            "device": x.device,
            "logger": _Doubts(),
        }
        if self.targets:
            wrong = classify(x[:1]).shape[1] - 1
            attack = APGDAttack_targeted(classify, n_target_classes=min(self.targets, wrong), **options)
        else:
            loss = {"cross_entropy": "ce", "dlr": "dlr"}[self.objective]
            attack = APGDAttack(classify, loss=loss, **options)
        with seeded_torch(attack.seed, x.device):
            found: Tensor = attack.perturb(x, y)
        return found


@ATTACKS.register("fab")
@dataclass(frozen=True, repr=False)
class Fab(RowSeeker):
    """Fast adaptive boundary attack, which minimizes the distance (Croce & Hein 2020, ICML).

    Success is counted within ``eps``; images fooled beyond it come back too. Without targets it needs the
    gradients of all classes, and takes fewer images at a time the more classes there are.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        targets: 0 for the nearest of all classes; n for the n most likely wrong ones, one after the other,
            until an image is fooled within ``eps``.
        steps: Number of steps, for each target and restart.
        restarts: How often to start: first at the image itself, then at random points.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    targets: Targets = 0
    steps: Count = 100
    restarts: Count = 1

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for the nearest images that fool."""
        classes = classify(x[:1]).shape[1]
        size = len(x) if self.targets else max(1, len(x) * GRADIENTS // max(classes, GRADIENTS))
        with seeded_torch(draw_seed(generator), x.device):
            parts = zip(torch.split(x, size), torch.split(y, size), strict=True)
            return torch.cat([self._find(classify, *part, classes) for part in parts])

    def _find(self, classify: Classify, x: Tensor, y: Tensor, classes: int) -> Tensor:
        from pyautoattack.fab_pt import FABAttack_PT

        attack = FABAttack_PT(
            classify, norm=NORMS[self.norm], n_iter=self.steps, eps=self.eps, device=x.device
        )
        order = 2 if self.norm == "l2" else torch.inf
        nearest, shortest = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
        for target in range(min(self.targets, classes - 1) or 1):
            attack.target_class = target + 2  # as the library counts: 1 is the most likely class
            for restart in range(self.restarts):
                left = (shortest > self.eps).nonzero().squeeze(1)
                if not len(left):
                    return nearest
                found = attack.attack_single_run(
                    x[left], y[left], use_rand_start=restart > 0, is_targeted=self.targets > 0
                )
                length = torch.linalg.vector_norm((found - x[left]).flatten(1), order, dim=1)
                closer = (classify(found).argmax(dim=1) != y[left]) & (length < shortest[left])
                nearest[left[closer]], shortest[left[closer]] = found[closer], length[closer]
        return nearest


@ATTACKS.register("square")
@dataclass(frozen=True, repr=False)
class Square(RowSeeker):
    """Square attack: random search on the margin, without gradients (Andriushchenko et al. 2020).

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf``, or ``l2`` on images of 5 x 5 pixels or more.
        queries: Images that the network is asked for, for each image and restart.
        restarts: How often to start.
        p_init: Share of the pixels that the first squares cover, in (0, 1].
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    queries: Count = 5000
    restarts: Count = 1
    p_init: Annotated[Number, pydantic.Field(gt=0, le=1)] = field(default=0.8, repr=False)

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check that tiles of the first perturbation fit into the image."""
        if self.norm == "l2" and min(shape[1:]) < 5:
            raise SpecError(
                "square with norm: l2 needs images of 5 x 5 pixels or more, "
                f"got {' x '.join(map(str, shape[1:]))}."
            )

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for images that fool."""
        from pyautoattack.square import SquareAttack

        attack = SquareAttack(
            classify,
            norm=NORMS[self.norm],
            n_queries=self.queries,
            eps=self.eps,
            p_init=self.p_init,
            n_restarts=self.restarts,
            seed=draw_seed(generator),
            resc_schedule=False,
            device=x.device,
        )
        with seeded_torch(attack.seed, x.device):
            found: Tensor = attack.perturb(x, y)
        return found


SUSPICIOUS = 0.002
"""Share of the images that Square may fool when the attacks by gradient have not (pyautoattack's value)."""


@ATTACKS.register("autoattack")
@dataclass(frozen=True, repr=False)
class AutoAttack(RowSeeker):
    """AutoAttack: APGD on cross-entropy, targeted APGD, targeted FAB and Square, each on survivors.

    With the defaults it is the standard version (Croce & Hein 2020). With three classes, where the targeted
    DLR is not defined, the second attack is APGD on the DLR; with two, where neither is, it is left out.

    It warns (`AttackWarning`) as the reference does: of a network that answers at random or with
    probabilities, of gradients that are zero, and where Square fools what the others did not.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        targets: Most likely wrong classes that APGD and FAB aim at.
        steps: Steps of APGD and FAB.
        queries: Queries of Square.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    targets: Count = field(default=9, repr=False)
    steps: Count = field(default=100, repr=False)
    queries: Count = field(default=5000, repr=False)

    def attacks(self, classes: int) -> tuple[Apgd | Fab | Square, ...]:
        """Return what is run on a network of K classes, in order."""
        ball: dict[str, Any] = {"eps": self.eps, "norm": self.norm}
        dlr = Apgd(**ball, objective="dlr", targets=self.targets if classes > 3 else 0, steps=self.steps)
        return (
            Apgd(**ball, steps=self.steps),
            *((dlr,) if classes > 2 else ()),
            Fab(**ball, targets=self.targets, steps=self.steps),
            Square(**ball, queries=self.queries),
        )

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check what the attacks check."""
        for attack in self.attacks(classes):
            attack.check(classes=classes, shape=shape)

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for images that fool."""
        from pyautoattack import checks

        checks.check_randomized(classify, x, y, logger=_Doubts())
        classes = checks.check_range_output(classify, x, logger=_Doubts())
        best, highest = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        for attack in self.attacks(classes):
            left = (highest <= SURE).nonzero().squeeze(1)
            if not len(left):
                break
            found = attack.find(classify, x[left], y[left], generator=generator)
            found = BALLS[self.norm](x[left], self.eps).project(found)
            value = margin(classify(found), y[left])
            better = value > highest[left]
            best[left[better]], highest[left[better]] = found[better], value[better]
            if isinstance(attack, Square) and int((value > SURE).sum()) > max(1, SUSPICIOUS * len(x)):
                _Doubts().warning("the attacks by gradient are weaker than Square, which has none")
        return best
