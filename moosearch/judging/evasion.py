"""An attack on a network and on its detector at once: fool the one, stay below the threshold of the other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from moosearch.attacks import Norm
from moosearch.attacks.attack import Mode, connected
from moosearch.attacks.ball import uniform_start
from moosearch.attacks.gradient import SURE, margin, pgd
from moosearch.data.tasks import Labels
from moosearch.judging.detection import scores, views
from moosearch.models import RobustNet

ROUNDING = 1e-3
"""How far below the threshold a score must be to count: the judged network differs by rounding."""


@dataclass(frozen=True)
class Evasion:
    """PGD that sees through the squeezers: an adaptive attack on feature squeezing.

    Squeezers are differentiated by their stand-ins (BPDA). In a round a first walk makes all views of an
    image, as it is and squeezed, say the same wrong class, by their logits, which do not saturate; it starts
    from the image, in later rounds from a random point. Then come walks up ``margin - weight * score`` with
    one weight after another (Carlini & Wagner 2017, He et al. 2017), from the best point so far; from a
    random one where the weight is 0. An image is left alone as soon as it evades.

    Attributes:
        squeezers: The squeezers, on the network's device.
        threshold: Of the detector.
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball.
        steps: Steps of a walk, each of a 20th of ``eps`` where there is a weight, else of a tenth.
        rounds: How often to start.
        weights: Of the score, one a walk; 0 for images that are hard to fool at all.
    """

    squeezers: tuple[nn.Module, ...] = field(repr=False)
    threshold: float = field(repr=False)
    eps: float = 0.1
    norm: Norm = "linf"
    steps: int = 40
    rounds: int = 1
    weights: tuple[float, ...] = (0.0, 10.0, 100.0)
    mode: ClassVar[Mode] = "eval"
    multitask: ClassVar[bool] = False
    several_labels: ClassVar[bool] = False

    @property
    def options(self) -> dict[str, Any]:
        """What was chosen of it, as plain data."""
        return {"steps": self.steps, "rounds": self.rounds, "weights": list(self.weights)}

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images.

        Returns:
            (B, C, H, W) of all points met: those that fool with the smallest score, or else those with the
            largest margin.
        """
        classify, y = connected(net), labels[0]
        best, value = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        left = torch.arange(len(x), device=x.device)
        for number in range(self.rounds):
            drawn = uniform_start(x, self.eps, generator, norm=self.norm)
            for weight in (None, *self.weights):
                # From the image itself there are points that fool and are scored low, near to it.
                fresh = drawn if number or weight is not None else x
                walk = _Walk(classify, self.squeezers, y[left], weight, best[left], value[left])
                last = pgd(
                    walk,
                    x[left],
                    start=(best if weight else fresh)[left],
                    eps=self.eps,
                    step=self.eps / (20 if weight else 10),
                    steps=self.steps,
                    norm=self.norm,
                )
                with torch.no_grad():
                    walk(last)
                best[left], value[left] = walk.best, walk.value
                left = (value < ROUNDING - self.threshold).nonzero().squeeze(1)
                if not len(left):
                    return best
        return best


class _Walk:
    """The objective of a walk, which remembers the best points that it was asked about."""

    def __init__(
        self,
        classify: Callable[[Tensor], Tensor],
        squeezers: tuple[nn.Module, ...],
        y: Tensor,
        weight: float | None,
        best: Tensor,
        value: Tensor,
    ) -> None:
        self.classify, self.squeezers, self.y, self.weight = classify, squeezers, y, weight
        self.best, self.value = best, value

    def __call__(self, images: Tensor) -> Tensor:
        logits = views(self.classify, self.squeezers, images)
        ahead, score = margin(logits[0], self.y), scores(logits)
        self._remember(images.detach(), ahead.detach(), score.detach())
        return agreement(logits, self.y) if self.weight is None else ahead - self.weight * score

    def _remember(self, images: Tensor, ahead: Tensor, score: Tensor) -> None:
        """Keep points that are better: a score is at most 2, so that all that fool come before the others."""
        value = torch.where(ahead > SURE, -score, ahead.clamp(max=0) - 3)
        better = value > self.value
        self.best = torch.where(better.view(-1, 1, 1, 1), images, self.best)
        self.value = torch.where(better, value, self.value)


def agreement(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far all views say the same wrong class, the one with the largest mean logit.

    Views that say it already count little, and those that do not count most: the sum over views of
    ``log sigmoid(z_c - z_y)``, at most 0.

    Args:
        logits: (V, B, K), of V views.
        y: (B,) labels.

    Returns:
        (B,) values to ascend.
    """
    labels = y.unsqueeze(1)
    target = logits.detach().mean(dim=0).scatter(1, labels, -torch.inf).argmax(dim=1, keepdim=True)
    wrong, right = (logits.gather(2, each.expand(len(logits), -1, -1)) for each in (target, labels))
    return F.logsigmoid(wrong - right).sum(dim=(0, 2))
