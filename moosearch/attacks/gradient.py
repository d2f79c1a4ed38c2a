"""Projected gradient descent as a pure function of an objective, and the attacks that are choices of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS, Mode, connected
from moosearch.attacks.ball import BALLS, Norm, uniform_start
from moosearch.data.tasks import Labels
from moosearch.errors import SpecError
from moosearch.models.network import RobustNet
from moosearch.registry import Count, NonNegative, Positive

ObjectiveName = Literal["cross_entropy", "kl", "margin", "dlr"]
Target = Literal["random", "least_likely"]

STACK_ON_CPU = 2**17
"""Numbers in a stack of images, up to which one float32 pass of all is faster on a CPU than several."""


@torch.no_grad()
def pgd(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    start: Tensor,
    eps: float,
    step: float,
    steps: int,
    norm: Norm = "linf",
) -> Tensor:
    """Ascend an objective by normalized gradient steps within a ball (Madry et al. 2018).

    ``x_{i+1} = Proj(x_i + step * d)``, where d is the sign of the gradient (linf) or the gradient divided by
    its length (l2), and Proj leads into the ball and into [0, 1].

    Args:
        objective: (B, C, H, W) -> (B,) values, each a function of its own image alone. It is given the same
            tensor at every step, changed in between.
        x: (B, C, H, W) images in [0, 1], the centers of the balls.
        start: (B, C, H, W) where to start, such as `uniform_start`; it is projected first.
        eps: Radius of the ball, in pixel units of [0, 1].
        step: Length of a step in the norm of the ball, in the same units; a negative one descends.
        steps: Number of steps.
        norm: Norm of the ball.

    Returns:
        (B, C, H, W) the last iterate, in the ball and in [0, 1], in the memory format of ``x``.
    """
    ball = BALLS[norm](x, eps)
    x_adv = ball.project(start, out=torch.empty_like(x)).requires_grad_()
    # A gradient may come in another memory format than the image's, or share memory: it is not changed.
    direction = torch.empty_like(x)
    for _ in range(steps):
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(x_adv).sum(), x_adv)
        x_adv.add_(ball.direction(gradient, out=direction), alpha=step)
        ball.project(x_adv, out=x_adv)
    return x_adv.detach()


def stacking_pays(net: RobustNet, x: Tensor, times: int) -> bool:
    """Whether one pass of several times (B, C, H, W) images is faster than as many passes."""
    weight = next(net.trunk.parameters(), x)
    exact_on_cpu = x.device.type == "cpu" and weight.dtype != torch.bfloat16
    return not exact_on_cpu or times * x.numel() <= STACK_ON_CPU


def smoothed(
    objective: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    goal: Tensor,
    noise: Sequence[Tensor],
    *,
    stacked: bool,
) -> Tensor:
    """Return the mean of an objective over noisy copies of images; its gradient is the mean of theirs.

    Copies are brought into [0, 1], which is no part of the gradient: it is that at images, for every pixel.

    Args:
        objective: (N, C, H, W), (N, ...) goals -> (N,) values.
        x: (B, C, H, W).
        goal: (B, ...).
        noise: What is added to each of the copies, (B, C, H, W).
        stacked: Whether copies pass as one batch, or one after the other.

    Returns:
        (B,) means.

    Source: Smilkov et al. 2017, SmoothGrad, section 3.
    """
    fixed = x.detach()
    copies = [x + ((fixed + each).clamp_(0, 1) - fixed) for each in noise]
    if stacked:
        values = objective(torch.cat(copies), torch.cat([goal] * len(copies)))
        return values.view(len(copies), len(x)).mean(dim=0)
    return torch.stack([objective(copy, goal) for copy in copies]).mean(dim=0)


SURE = 1e-4
"""Margin from which an image counts as fooling while it is looked for: rounding cannot take it back."""

WORTHWHILE = 0.95
"""Share of the images still walking below which a batch is made smaller: each size costs preparation."""


@torch.no_grad()
def pgd_until_fooled(
    classify: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    goal: Tensor,
    *,
    start: Tensor,
    eps: float,
    step: float,
    steps: int,
    norm: Norm = "linf",
    ascend: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Walk as `pgd` does, each image until it is misclassified.

    Args:
        classify: (B, C, H, W) -> (B, K) logits.
        loss: (B, K) logits, (B, ...) goals -> (B,) values to ascend.
        x: (B, C, H, W) images in [0, 1], the centers of the balls.
        y: (B,) labels.
        goal: (B, ...) what the loss compares with: labels, targets, or reference logits.
        start: (B, C, H, W) where to start.
        eps: Radius of the ball, in pixel units of [0, 1].
        step: Length of a step in the norm of the ball; a negative one descends.
        steps: Number of steps.
        norm: Norm of the ball.
        ascend: What is ascended in place of the loss at the images: R of them, their goals and their (R,)
            numbers in the batch -> (R,) values.

    Returns:
        (B, C, H, W) each image's first misclassified iterate, or its last one, and (B,) booleans: which of
        them were misclassified by more than `SURE`.
    """
    classify = connected(classify)
    found, fooled = torch.empty_like(x), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    walking = torch.arange(len(x), device=x.device)
    ball = BALLS[norm](x, eps)
    x_adv = ball.project(start, out=torch.empty_like(x))
    for number in range(steps + 1):
        ascends = number < steps
        x_adv.requires_grad = ascends
        with torch.set_grad_enabled(ascends and ascend is None):
            logits = classify(x_adv)
            value = loss(logits, goal).sum()
        if ascends and ascend is not None:
            with torch.enable_grad():
                value = ascend(x_adv, goal, walking).sum()
        gradient = torch.autograd.grad(value, x_adv)[0] if ascends else None
        x_adv = x_adv.detach()
        walks = ~fooled[walking]
        wrong = (margin(logits.detach(), y) > SURE) & walks
        found[walking[wrong]] = x_adv[wrong]
        fooled[walking[wrong]] = True
        walks &= ~wrong
        left = int(walks.sum())
        if gradient is None or left == 0:
            found[walking[walks]] = x_adv[walks]
            break
        if left < WORTHWHILE * len(walking):
            walking, x_adv, x, y, goal, gradient = (
                tensor[walks] for tensor in (walking, x_adv, x, y, goal, gradient)
            )
            ball = BALLS[norm](x, eps)
        x_adv.add_(ball.direction(gradient, out=torch.empty_like(x)), alpha=step)
        ball.project(x_adv, out=x_adv)
    return found, fooled


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each row: (B, K) and labels, (B,) or (B, K) probabilities -> (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return by how much the best wrong class exceeds the right one (Carlini & Wagner 2017).

    Args:
        logits: (B, K).
        y: (B,) labels, or (B, K) with numbers above 0 where a label is: the lowest of these counts.

    Returns:
        (B,) margins, positive where the prediction is wrong.
    """
    if y.ndim == 2:
        lowest = logits.masked_fill(y == 0, torch.inf).amin(dim=1)
        return logits.masked_fill(y > 0, -torch.inf).amax(dim=1) - lowest
    right = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    wrong = logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(dim=1)
    return wrong - right


def logits_ratio(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference of logits ratio, a margin that no scaling of the logits changes.

    Args:
        logits: (B, K) with K >= 3.
        y: (B,) labels.

    Returns:
        (B,) margins divided by the distance between the largest logit and the third.

    Source: Croce & Hein 2020, eq. 6.
    """
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(softmax(reference) || softmax(logits)) of each row: (B, K), (B, K) -> (B,)."""
    return F.kl_div(
        logits.log_softmax(dim=1), reference.log_softmax(dim=1), reduction="none", log_target=True
    ).sum(dim=1)


def wrong_class(logits: Tensor, y: Tensor, target: Target, generator: Generator) -> Tensor:
    """Choose a class other than the label: (B, K), (B,) -> (B,).

    Args:
        logits: Of the clean images.
        y: Labels.
        target: ``random``, all wrong classes alike, or the ``least_likely`` one.
        generator: Source of random numbers.
    """
    if target == "least_likely":
        return logits.scatter(1, y.unsqueeze(1), torch.inf).argmin(dim=1)
    classes = logits.shape[1]
    return (y + torch.randint(1, classes, y.shape, generator=generator, device=y.device)) % classes


@dataclass(frozen=True, repr=False)
class GradientAttack:
    """What the attacks by gradient have in common.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        targeted: ``none`` moves away from the label; ``random`` towards a wrong class drawn for each image,
            and ``least_likely`` towards the wrong class of the smallest logit. A target costs a forward
            pass.
        mode: The network's mode while it is attacked; with ``train`` batch statistics are used, and running
            statistics stay.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    targeted: Literal["none", Target] = field(default="none", repr=False)
    mode: Mode = field(default="eval", repr=False)

    @property
    def several_labels(self) -> bool:
        """Whether it attacks images with several labels each."""
        return False

    def __repr__(self) -> str:
        """Name the fields; those marked ``repr=False`` only where they are not at their default.

        Measuring derives its random numbers from this text: an option added later must not change them.
        """
        shown = (f.name for f in fields(self) if f.repr or getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


@dataclass(frozen=True, repr=False)
class IterativeAttack(GradientAttack):
    """What the attacks by several steps have in common.

    Attributes:
        step: Length of a step in the norm of the ball, in pixel units of [0, 1].
        steps: Number of steps.
        random_start: Start at a random point of the ball, uniformly; otherwise at the image.
    """

    step: Positive = 0.025
    steps: Count = 7
    random_start: bool = True

    def goals(
        self, classify: Callable[[Tensor], Sequence[Tensor]], x: Tensor, labels: Labels, generator: Generator
    ) -> Labels:
        """Return the labels to move away from, or the targets to move towards: one (B,) tensor a task.

        Args:
            classify: (B, C, H, W) -> the logits of each task.
            x: Clean images.
            labels: One (B,) tensor a task.
            generator: Source of random numbers.
        """
        if self.targeted == "none":
            return labels
        with torch.no_grad():
            outputs = classify(x)
        return tuple(
            wrong_class(logits, y, self.targeted, generator)
            for logits, y in zip(outputs, labels, strict=True)
        )

    def start(self, x: Tensor, generator: Generator) -> Tensor:
        """Return where to start: (B, C, H, W) -> (B, C, H, W)."""
        return uniform_start(x, self.eps, generator, norm=self.norm) if self.random_start else x

    def walk(self, objective: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Tensor:
        """Ascend an objective by `pgd`, or descend it where there is a target."""
        step = self.step if self.targeted == "none" else -self.step
        return pgd(objective, x, start=start, eps=self.eps, step=step, steps=self.steps, norm=self.norm)


LOSSES: dict[ObjectiveName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "kl": divergence,
    "margin": margin,
    "dlr": logits_ratio,
}


@ATTACKS.register("pgd")
@dataclass(frozen=True, repr=False)
class Pgd(IterativeAttack):
    """PGD on the main task; as training attack this is STA (Hyun & Park 2024).

    Attributes:
        objective: What is ascended: ``cross_entropy`` of the label, ``kl`` from the prediction on the
            clean image (the inner problem of TRADES), the ``margin`` of Carlini & Wagner, or ``dlr``, the
            difference of logits ratio of Croce & Hein (three classes or more).
        restarts: How often to start; in training the iterate with the largest objective is taken.
        copies: Noisy copies of each image at every step, over which its gradient is averaged; more than one
            need `noise`.
        noise: Standard deviation of their Gaussian noise, in pixel units of [0, 1]; 0 for the gradient at the
            image itself.
    """

    objective: ObjectiveName = "cross_entropy"
    restarts: Count = field(default=1, repr=False)
    copies: Count = field(default=1, repr=False, metadata={"late": True})
    noise: NonNegative = field(default=0.0, repr=False, metadata={"late": True})
    multitask: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check that the objective has a class to aim at, and that restarts and copies differ.

        Raises:
            SpecError: The divergence has a target, or all restarts or all copies would be the same.
        """
        if self.objective == "kl" and self.targeted != "none":
            raise SpecError(
                f"targeted: got '{self.targeted}', but the objective kl has no label to replace by a target: "
                "none, or another objective (cross_entropy, margin, dlr)."
            )
        if self.restarts > 1 and not self.random_start:
            raise SpecError(f"restarts: got {self.restarts} without random_start: all would be the same.")
        if self.copies > 1 and self.noise == 0:
            raise SpecError(f"copies: got {self.copies} without noise: all would be the same.")

    @property
    def several_labels(self) -> bool:
        """Whether it attacks images with several labels: any of them may be pushed out of the top ones."""
        return self.objective != "dlr" and self.targeted == "none"

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check that a network of K classes on (C, H, W) images can be attacked.

        Raises:
            SpecError: The objective needs more classes.
        """
        if self.objective == "dlr" and classes < 3:
            raise SpecError(f"objective: dlr needs 3 classes or more, and the network has {classes}.")

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        loss = LOSSES[self.objective]
        best, highest = x, torch.full((len(x),), -torch.inf, device=x.device)
        for _ in range(self.restarts):
            start, goal = self._start(x, generator), self._goal(net, x, labels, generator)
            value = partial(self._value, net, x, generator, goal=goal)
            x_adv = self.walk(value, x, start)
            if self.restarts == 1:
                return x_adv
            with torch.no_grad():
                reached = loss(net(x_adv), goal) * (1 if self.targeted == "none" else -1)
            better = reached > highest
            best = torch.where(better.view(-1, 1, 1, 1), x_adv, best)
            highest = torch.where(better, reached, highest)
        return best

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Look for images that fool; an image is left alone as soon as it does."""
        loss = LOSSES[self.objective]
        found, left = torch.empty_like(x[rows]), torch.arange(len(rows), device=x.device)
        for number in range(self.restarts):
            # Drawn for the whole batch: what became of the others changes nothing.
            start, goal = self._start(x, generator), self._goal(net, x, labels, generator)
            chosen = rows[left]
            x_adv, fooled = pgd_until_fooled(
                net,
                loss,
                x[chosen],
                labels[0][chosen],
                goal[chosen],
                start=start[chosen],
                eps=self.eps,
                step=self.step if self.targeted == "none" else -self.step,
                steps=self.steps,
                norm=self.norm,
                ascend=partial(self._value_of, net, x, generator, chosen) if self.noise > 0 else None,
            )
            # What an earlier start left just beyond the boundary is not given up for nothing.
            better = fooled if number else slice(None)
            found[left[better]] = x_adv[better]
            left = left[~fooled]
            if not len(left):
                break
        return found

    def _value(
        self, net: RobustNet, x: Tensor, generator: Generator, images: Tensor, *, goal: Tensor
    ) -> Tensor:
        """Return what is ascended at (B, C, H, W) images in the balls around x: (B,)."""
        if self.noise == 0:
            return LOSSES[self.objective](net(images), goal)
        everyone = torch.arange(len(x), device=x.device)
        return self._value_of(net, x, generator, everyone, images, goal, everyone)

    def _value_of(
        self,
        net: RobustNet,
        x: Tensor,
        generator: Generator,
        chosen: Tensor,
        images: Tensor,
        goal: Tensor,
        walking: Tensor,
    ) -> Tensor:
        """Return what is ascended at some images of a batch, over noisy copies: (R,).

        Args:
            net: The network.
            x: (B, C, H, W) the batch. Noise is drawn for all of it.
            generator: Source of the noise.
            chosen: Numbers of images in the batch.
            images: (R, C, H, W) where some of these are by now.
            goal: (R, ...) theirs.
            walking: (R,) which of the chosen they are.
        """
        loss, classify, rows = LOSSES[self.objective], connected(net), chosen[walking]
        noise = [
            self.noise * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)[rows]
            for _ in range(self.copies)
        ]
        return smoothed(
            lambda points, goals: loss(classify(points), goals),
            images,
            goal,
            noise,
            stacked=self.mode == "eval" and stacking_pays(net, images, self.copies),
        )

    def _start(self, x: Tensor, generator: Generator) -> Tensor:
        """Return where to start: (B, C, H, W) -> (B, C, H, W)."""
        if self.objective != "kl" or self.random_start:
            return self.start(x, generator)
        # The divergence has no gradient at x itself: leave it by a small Gaussian, as the paper does.
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + 0.001 * noise

    def _goal(self, net: RobustNet, x: Tensor, labels: Labels, generator: Generator) -> Tensor:
        """Return what the objective compares with: labels, targets, or the logits of the clean images."""
        if self.objective == "kl":
            with torch.no_grad():
                reference: Tensor = net(x)
            return reference
        return self.goals(lambda images: (net(images),), x, labels[:1], generator)[0]


@ATTACKS.register("fgsm")
@dataclass(frozen=True, repr=False)
class Fgsm(GradientAttack):
    """PGD of one step, by default of length eps from the image itself (Goodfellow et al. 2015).

    With ``random_start: true`` and a ``step`` of 1.25 eps it is the attack of fast adversarial training
    (Wong et al. 2020).

    Attributes:
        random_start: Start at a random point of the ball, uniformly.
        step: Length of the step in the norm of the ball, in pixel units of [0, 1]; None for eps.
    """

    random_start: bool = field(default=False, repr=False)
    step: Positive | None = field(default=None, repr=False)
    multitask: ClassVar[bool] = False

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        return self._pgd(net, x, labels, generator=generator)

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Look for images that fool."""
        return self._pgd.seek(net, x, labels, rows=rows, generator=generator)

    @property
    def several_labels(self) -> bool:
        """Whether it attacks images with several labels."""
        return self._pgd.several_labels

    @property
    def _pgd(self) -> Pgd:
        return Pgd(
            eps=self.eps,
            norm=self.norm,
            targeted=self.targeted,
            mode=self.mode,
            step=self.eps if self.step is None else self.step,
            steps=1,
            random_start=self.random_start,
        )


@ATTACKS.register("none")
@dataclass(frozen=True)
class NoAttack:
    """Leaves images as they are: natural training."""

    eps: ClassVar[float] = 0.0
    norm: ClassVar[Norm] = "linf"
    mode: ClassVar[Mode] = "eval"
    multitask: ClassVar[bool] = False
    several_labels: ClassVar[bool] = True

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Return the images."""
        return x
