"""Projected gradient descent as a pure function of an objective, and the attacks that are choices of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet
from moosearch.registry import Count, NonNegative, Positive

ObjectiveName = Literal["cross_entropy", "kl", "margin"]


def pgd(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    start: Tensor,
    eps: float,
    step: float,
    steps: int,
) -> Tensor:
    """Ascend an objective by signed gradient steps within the l_inf ball (Madry et al. 2018).

    ``x_{i+1} = Proj(x_i + step * sign(grad))``, where Proj clips to the ball and to [0, 1].

    Args:
        objective: (B, C, H, W) -> (B,) values, each a function of its own image alone.
        x: (B, C, H, W) images in [0, 1], the centers of the balls.
        start: (B, C, H, W) where to start, such as `uniform_start`; it is projected first.
        eps: Radius of the ball, in pixel units of [0, 1].
        step: Step size, in the same units.
        steps: Number of steps.

    Returns:
        (B, C, H, W) the last iterate, in the ball and in [0, 1].
    """
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    x_adv = torch.clamp(start, low, high)
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(x_adv).sum(), x_adv)
        with torch.no_grad():
            x_adv = torch.clamp(x_adv.detach().add_(gradient.sign(), alpha=step), low, high)
    return x_adv.detach()


def uniform_start(x: Tensor, eps: float, generator: Generator) -> Tensor:
    """Return ``x + U(-eps, eps)``: (B, C, H, W) -> (B, C, H, W)."""
    noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x + eps * (2 * noise - 1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return by how much the best wrong class exceeds the right one (Carlini & Wagner 2017).

    Args:
        logits: (B, K).
        y: (B,) labels.

    Returns:
        (B,) margins, positive where the prediction is wrong.
    """
    right = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    wrong = logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(dim=1)
    return wrong - right


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(softmax(reference) || softmax(logits)) of each row: (B, K), (B, K) -> (B,)."""
    return F.kl_div(
        logits.log_softmax(dim=1), reference.log_softmax(dim=1), reduction="none", log_target=True
    ).sum(dim=1)


@ATTACKS.register("pgd")
@dataclass(frozen=True)
class Pgd:
    """PGD on the main task, l_inf, untargeted; as training attack this is STA (Hyun & Park 2024).

    Attributes:
        eps: Radius, in pixel units of [0, 1].
        step: Step size, in the same units.
        steps: Number of steps.
        random_start: Start at a random point of the ball.
        objective: What is ascended: ``cross_entropy`` of the label, ``kl`` from the prediction on the
            clean image (the inner problem of TRADES), or the ``margin`` of Carlini & Wagner.
    """

    eps: NonNegative = 0.1
    step: Positive = 0.025
    steps: Count = 7
    random_start: bool = True
    objective: ObjectiveName = "cross_entropy"
    multitask: ClassVar[bool] = False

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        start = uniform_start(x, self.eps, generator) if self.random_start else x
        if self.objective == "kl":
            if not self.random_start:
                # The divergence has no gradient at x itself: leave it by a small Gaussian, as the paper does.
                noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
                start = x + 0.001 * noise
            with torch.no_grad():
                reference = net(x)

        def objective(x_adv: Tensor) -> Tensor:
            logits = net(x_adv)
            if self.objective == "kl":
                return divergence(logits, reference)
            if self.objective == "margin":
                return margin(logits, labels[0])
            return F.cross_entropy(logits, labels[0], reduction="none")

        return pgd(objective, x, start=start, eps=self.eps, step=self.step, steps=self.steps)


@ATTACKS.register("fgsm")
@dataclass(frozen=True)
class Fgsm:
    """One signed gradient step of length eps from the image itself (Goodfellow et al. 2015).

    Attributes:
        eps: Radius, in pixel units of [0, 1].
    """

    eps: NonNegative = 0.1
    multitask: ClassVar[bool] = False

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        return pgd(
            lambda x_adv: F.cross_entropy(net(x_adv), labels[0], reduction="none"),
            x,
            start=x,
            eps=self.eps,
            step=self.eps,
            steps=1,
        )


@ATTACKS.register("none")
@dataclass(frozen=True)
class NoAttack:
    """Leaves images as they are: natural training."""

    eps: ClassVar[float] = 0.0
    multitask: ClassVar[bool] = False

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Return the images."""
        return x
