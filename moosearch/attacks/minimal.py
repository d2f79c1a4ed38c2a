"""Attacks that minimize the distance, computed by foolbox: DeepFool and the l2 attack of Carlini & Wagner."""

import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pydantic
import torch
from torch import Generator, Tensor, nn

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.ball import Norm
from moosearch.attacks.seeker import Classify, RowSeeker
from moosearch.registry import Count, NonNegative, Positive


@ATTACKS.register("deepfool")
@dataclass(frozen=True, repr=False)
class DeepFool(RowSeeker):
    """DeepFool: steps to the nearest boundary of the linearized network (Moosavi-Dezfooli et al. 2016).

    It minimizes the distance; success is counted within ``eps``. It holds the gradients of all candidates.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        steps: Most steps of an image.
        overshoot: Share of the perturbation by which it is lengthened, to end beyond the boundary.
        candidates: Most likely classes that are compared, the predicted one included.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    steps: Count = 50
    overshoot: NonNegative = 0.02
    candidates: Annotated[int, pydantic.Field(ge=2)] = 10

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for the nearest images that fool."""
        attacks = _foolbox().attacks
        kind = {"linf": attacks.LinfDeepFoolAttack, "l2": attacks.L2DeepFoolAttack}[self.norm]
        attack = kind(steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)
        return _run(attack, classify, x, y)


@ATTACKS.register("cw_l2")
@dataclass(frozen=True, repr=False)
class CwL2(RowSeeker):
    """The l2 attack of Carlini & Wagner 2017: distance plus a constant times the margin, by Adam.

    It minimizes the distance; success is counted within ``eps``.

    Attributes:
        eps: Radius of the l2 ball, in pixel units of [0, 1].
        steps: Steps of Adam, for each constant.
        confidence: Margin of the logits by which an image must fool.
        binary_search_steps: Constants that are tried for each image.
        stepsize: Step size of Adam, where tanh of the variable is the image.
        initial_const: The first constant; it is raised tenfold until an image fools.
    """

    eps: NonNegative = 0.5
    steps: Count = 200
    confidence: NonNegative = 0.0
    binary_search_steps: Count = 6
    stepsize: Positive = 0.02
    initial_const: Positive = 1.0
    norm: ClassVar[Norm] = "l2"

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for the nearest images that fool."""
        attack = _foolbox().attacks.L2CarliniWagnerAttack(
            binary_search_steps=self.binary_search_steps,
            steps=self.steps,
            stepsize=self.stepsize,
            confidence=self.confidence,
            initial_const=self.initial_const,
            abort_early=False,  # it looks at the sum over the batch: images would influence one another
        )
        found = _run(attack, classify, x, y)
        nothing = (found == 0).flatten(1).all(dim=1)  # how foolbox says that it found none
        return torch.where(nothing.view(-1, 1, 1, 1), x, found)


def _foolbox() -> Any:
    """Import foolbox, which itself imports something that SciPy has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import foolbox
    return foolbox


class _Model(nn.Module):
    """What foolbox takes for a network."""

    def __init__(self, classify: Classify) -> None:
        super().__init__()
        self.classify = classify

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(x)


def _run(attack: Any, classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    """Run an attack of foolbox: (R, C, H, W), (R,) -> (R, C, H, W)."""
    foolbox = _foolbox()
    model = foolbox.PyTorchModel(_Model(classify).eval(), bounds=(0, 1), device=x.device)
    with torch.enable_grad():
        found, *_ = attack(model, x, foolbox.criteria.Misclassification(y), epsilons=None)
    moved: Tensor = found.detach()
    return moved
