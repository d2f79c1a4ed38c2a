"""Attacks on several tasks: MTA ascends the sum of their losses, MP mixes one perturbation a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.gradient import IterativeAttack, cross_entropy, stacking_pays
from moosearch.data.tasks import Labels
from moosearch.errors import SpecError
from moosearch.models.network import RobustNet
from moosearch.registry import Number


@ATTACKS.register("mta")
@dataclass(frozen=True, repr=False)
class Mta(IterativeAttack):
    """Multi-task attack: PGD on the sum of the task losses, main task included (Hyun & Park 2024, eq. 7)."""

    multitask: ClassVar[bool] = True

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        goals = self.goals(lambda images: net.outputs(images).logits, x, labels, generator)

        def objective(x_adv: Tensor) -> Tensor:
            logits = net.outputs(x_adv).logits
            losses = [cross_entropy(task, y) for task, y in zip(logits, goals, strict=True)]
            return torch.stack(losses).sum(dim=0)

        return self.walk(objective, x, self.start(x, generator))


@ATTACKS.register("mixed")
@dataclass(frozen=True, repr=False)
class Mixed(IterativeAttack):
    """Mixed perturbation (MP): a random convex mix of one PGD perturbation a task.

    ``eta = sum_m alpha_m eta_m``, alpha_0 uniform on [alpha0_min, 1) or fixed, the rest split at random
    among the auxiliary tasks (Hyun & Park 2024, eq. 2).

    Attributes:
        alpha0_min: Lower bound of the main task's weight, in [0.5, 1).
        alpha0: The main task's weight, in [0, 1], in place of a random one; `alpha0_min` is then left as it
            is.
        weights: Whether weights are drawn once a ``batch`` or for each ``example``.
        execution: Whether the M + 1 attacks run as one batch of (M + 1) * B images, ``stacked``, or one
            after the other, ``sequential``; ``auto`` chooses the faster. It changes results by rounding
            alone. In mode ``train`` images would see the statistics of the stack: attacks run one after the
            other.
    """

    alpha0_min: Annotated[Number, pydantic.Field(ge=0.5, lt=1)] = 0.5
    alpha0: Annotated[Number, pydantic.Field(ge=0, le=1)] | None = field(default=None, repr=False)
    weights: Literal["batch", "example"] = field(default="batch", repr=False)
    execution: Literal["auto", "stacked", "sequential"] = field(default="auto", repr=False)
    multitask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that no field contradicts another.

        Raises:
            SpecError: A fixed weight has a lower bound, or a stack is to be attacked in mode ``train``.
        """
        if self.alpha0 is not None and self.alpha0_min != Mixed.alpha0_min:
            raise SpecError(
                f"alpha0: got {self.alpha0} beside alpha0_min: {self.alpha0_min}, expected one of them: "
                "a fixed weight has no lower bound."
            )
        if self.mode == "train" and self.execution == "stacked":
            raise SpecError(
                "execution: got 'stacked' with mode: train, expected auto or sequential: "
                "a stack has other batch statistics than a batch."
            )

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        eta = self.task_perturbations(net, x, labels, generator=generator)
        alpha = mixing_weights(
            len(eta),
            alpha0_min=self.alpha0_min,
            alpha0=self.alpha0,
            examples=len(x) if self.weights == "example" else None,
            generator=generator,
        )
        mixed: Tensor = x + torch.einsum("m...,m...chw->...chw", alpha.to(eta.dtype), eta)
        return mixed

    def task_perturbations(
        self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator
    ) -> Tensor:
        """Return the perturbation of every task on its own: (B, C, H, W) -> (M+1, B, C, H, W).

        Execution decides neither the random starts nor their order.
        """
        goals = self.goals(lambda images: net.outputs(images).logits, x, labels, generator)
        tasks = list(zip(range(len(net.heads)), goals, strict=True))
        centers = torch.cat([x] * len(tasks))  # unlike repeat, it keeps the memory format
        starts = self.start(centers, generator)
        at_once = len(tasks) if self._stacks(net, x, len(tasks)) else 1
        groups = [tasks[i : i + at_once] for i in range(0, len(tasks), at_once)]
        slices = zip(groups, centers.chunk(len(groups)), starts.chunk(len(groups)), strict=True)
        moved = [self.walk(_losses_of(net, group), center, start) for group, center, start in slices]
        return torch.cat(moved).view(len(tasks), *x.shape) - x

    def _stacks(self, net: RobustNet, x: Tensor, tasks: int) -> bool:
        if self.execution == "auto" and self.mode == "eval":
            return stacking_pays(net, x, tasks)
        return self.execution == "stacked"


def _losses_of(net: RobustNet, tasks: Sequence[tuple[int, Tensor]]) -> Callable[[Tensor], Tensor]:
    """Return the objective of a stack with one slice a task: (T * B, C, H, W) -> (T * B,).

    Args:
        net: The network.
        tasks: Number of each of the T heads, and the (B,) labels to score its slice by.
    """

    def objective(stack: Tensor) -> Tensor:
        slices = net.encode(stack).chunk(len(tasks))  # T x (B, o)
        return torch.cat([cross_entropy(net.head(z, m), y) for z, (m, y) in zip(slices, tasks, strict=True)])

    return objective


def mixing_weights(
    tasks: int,
    *,
    alpha0_min: float = 0.5,
    alpha0: float | None = None,
    examples: int | None = None,
    generator: Generator,
) -> Tensor:
    """Draw convex weights of the tasks' perturbations.

    Args:
        tasks: M + 1.
        alpha0_min: Lower bound of the main task's weight, in [0.5, 1).
        alpha0: The main task's weight, in [0, 1], in place of a random one.
        examples: Number B of examples to draw for; None for one draw.
        generator: Source, on the device of the result.

    Returns:
        (M+1,) or (M+1, B) weights >= 0 that sum to 1 over the tasks; the first is ``alpha0``, or uniform on
        [alpha0_min, 1), or 1 without auxiliary tasks; the others share the rest uniformly on the simplex.

    Source: Hyun & Park 2024, eq. 2.
    """
    shape = (tasks,) if examples is None else (tasks, examples)
    if tasks == 1:
        return torch.ones(shape, device=generator.device)
    draw = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    main = alpha0_min + (1 - alpha0_min) * draw[:1] if alpha0 is None else torch.full_like(draw[:1], alpha0)
    # Normalized exponentials are uniform on the simplex; 1 - u keeps the logarithm finite.
    shares = -torch.log1p(-draw[1:]) + torch.finfo(torch.float64).tiny
    return torch.cat([main, (1 - main) * shares / shares.sum(dim=0)])
