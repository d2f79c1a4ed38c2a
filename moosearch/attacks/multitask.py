"""Attacks on several tasks: MTA ascends the sum of their losses, MP mixes one perturbation a task."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.gradient import pgd, uniform_start
from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet
from moosearch.registry import Count, NonNegative, Number, Positive


@ATTACKS.register("mta")
@dataclass(frozen=True)
class Mta:
    """Multi-task attack: PGD on the sum of the task losses, main task included (Hyun & Park 2024, eq. 7).

    Attributes:
        eps: Radius, in pixel units of [0, 1].
        step: Step size, in the same units.
        steps: Number of steps.
        random_start: Start at a random point of the ball.
    """

    eps: NonNegative = 0.1
    step: Positive = 0.025
    steps: Count = 7
    random_start: bool = True
    multitask: ClassVar[bool] = True

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""

        def objective(x_adv: Tensor) -> Tensor:
            logits = net.outputs(x_adv).logits
            losses = [
                F.cross_entropy(task, y, reduction="none") for task, y in zip(logits, labels, strict=True)
            ]
            return torch.stack(losses).sum(dim=0)

        start = uniform_start(x, self.eps, generator) if self.random_start else x
        return pgd(objective, x, start=start, eps=self.eps, step=self.step, steps=self.steps)


@ATTACKS.register("mixed")
@dataclass(frozen=True)
class Mixed:
    """Mixed perturbation (MP): a random convex mix of one PGD perturbation a task.

    ``eta = sum_m alpha_m eta_m``, alpha_0 uniform on [alpha0_min, 1), the rest split at random
    among the auxiliary tasks, drawn once a batch (Hyun & Park 2024, eq. 2). The M + 1 attacks run as one
    batch of (M + 1) * B images, each slice scored at its own head.

    Attributes:
        eps: Radius, in pixel units of [0, 1].
        step: Step size, in the same units.
        steps: Number of steps of each of the M + 1 attacks.
        random_start: Start each at a random point of the ball.
        alpha0_min: Lower bound of the main task's weight, in [0.5, 1).
    """

    eps: NonNegative = 0.1
    step: Positive = 0.025
    steps: Count = 7
    random_start: bool = True
    alpha0_min: Annotated[Number, pydantic.Field(ge=0.5, lt=1)] = 0.5
    multitask: ClassVar[bool] = True

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        tasks = len(labels)

        def objective(stacked: Tensor) -> Tensor:
            features = net.encode(stacked).chunk(tasks)  # (M+1) x (B, o)
            losses = [
                F.cross_entropy(head(z), y, reduction="none")
                for head, z, y in zip(net.heads, features, labels, strict=True)
            ]
            return torch.cat(losses)

        centers = x.repeat(tasks, 1, 1, 1)
        start = uniform_start(centers, self.eps, generator) if self.random_start else centers
        stacked = pgd(objective, centers, start=start, eps=self.eps, step=self.step, steps=self.steps)
        eta = stacked.view(tasks, *x.shape) - x  # (M+1, B, C, H, W)
        alpha = mixing_weights(tasks, alpha0_min=self.alpha0_min, generator=generator)
        mixed: Tensor = x + torch.tensordot(alpha.to(eta.dtype), eta, dims=1)
        return mixed


def mixing_weights(tasks: int, *, alpha0_min: float, generator: Generator) -> Tensor:
    """Draw convex weights of the tasks' perturbations.

    Args:
        tasks: M + 1.
        alpha0_min: Lower bound of the main task's weight, in [0.5, 1).
        generator: Source, on the device of the result.

    Returns:
        (M+1,) weights >= 0 that sum to 1; the first is uniform on [alpha0_min, 1), or 1 without
        auxiliary tasks; the others share the rest uniformly on the simplex.

    Source: Hyun & Park 2024, eq. 2.
    """
    if tasks == 1:
        return torch.ones(1, device=generator.device)
    draw = torch.rand(tasks, generator=generator, device=generator.device, dtype=torch.float64)
    alpha0 = alpha0_min + (1 - alpha0_min) * draw[:1]
    # Normalized exponentials are uniform on the simplex; 1 - u keeps the logarithm finite.
    shares = -torch.log1p(-draw[1:]) + torch.finfo(torch.float64).tiny
    return torch.cat([alpha0, (1 - alpha0) * shares / shares.sum()])
