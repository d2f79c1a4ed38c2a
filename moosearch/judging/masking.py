"""Is the network robust, or the attack blind? Checks for gradient masking.

Each check looks for one sign that robust accuracy is overstated because gradients do not lead to the images
that fool (Athalye et al. 2018; Carlini et al. 2019). A failed check does not say by how much; that all of
them pass proves nothing.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from scipy.stats import binom
from torch import Tensor

from moosearch.attacks import Attack, Norm, Threat, seek
from moosearch.attacks.attack import connected
from moosearch.attacks.autoattack import Square
from moosearch.attacks.ball import BALLS, uniform_start
from moosearch.attacks.bpda import seen_through
from moosearch.attacks.gradient import Fgsm, ObjectiveName, Pgd, cross_entropy, margin
from moosearch.attacks.noise import Noise
from moosearch.attacks.transfer import Transfer
from moosearch.data import Split, Task, labels_of, rightly_classified
from moosearch.data.tasks import Labels
from moosearch.judging.measure import averaged, batch_size, copy_of
from moosearch.models import RobustNet
from moosearch.models.frozen import InferenceCopy
from moosearch.seeding import derive_seed, seeded_torch, torch_generator

IMAGES = 256
"""Images that are looked at."""

STEPS, DRAWS, QUERIES = 50, 100, 1000
"""Effort of PGD, of random noise and of Square, an image."""

RADII = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
"""Growing radii, as shares of one within which any image can be turned into any other."""

TOLERANCE = 0.05
"""Share of suspicious images that a sound network may have: no attack is perfect."""

LEVEL = 0.01
"""How often a check may fail where the share is just tolerable; it fails far less often below."""

GAIN = 0.1
"""Share of a gain of loss by which another must differ to count as more, or less."""

ROUNDING = 1e-5
"""Difference of logits, relative to the largest of an image, that says nothing."""


class Check(TypedDict):
    """What a check found, as plain data.

    Attributes:
        passed: Whether there is no sign of masking.
        observed: How many images are ``suspicious`` among the ``images`` that the check can speak of, and
            ``accuracy_*``: shares of all images used, in [0, 1].
    """

    passed: bool
    observed: dict[str, float]


EXPLANATIONS = {
    "zero_gradient": (
        "Raised if the gradient of the cross-entropy is zero or not a number at images around which the "
        "logits do change: a layer that quantizes, or logits so large that the softmax saturates. Attacks "
        "that follow this gradient do not move. Use attacks on the margin or the difference of logits ratio, "
        "and Square; replace the layer by a smooth one while attacking."
    ),
    "flat_loss": (
        "Raised if a step of a quarter of the radius along its gradient brings the margin less than a tenth "
        "of what the gradient promises: the loss is rough at the scale of the attack, and its gradient is "
        "local noise. What an input layer such as bit depth takes of the step counts only if a gradient that "
        "passes the layer unchanged gets more through. Use attacks that average gradients over the "
        "neighborhood, and Square; look for a layer of steep steps or high frequencies."
    ),
    "random_output": (
        "Raised if the same image twice gives different logits: the network draws random numbers. An attack "
        "that sees one draw is fooled by luck. Average gradients and predictions over many draws, or take "
        "the randomness out and judge again."
    ),
    "iterative_weaker": (
        "Raised if one step of FGSM raises the cross-entropy more than 50 steps of PGD do, image by image: "
        "many small steps contain the single large one, so they get stuck on a rough loss. Use restarts, "
        "other step sizes and Square, and believe the lowest accuracy."
    ),
    "noise_as_strong": (
        "Raised if the best of 100 random points of the ball has a larger margin than what PGD finds, image "
        "by image: its gradients lead nowhere. Accuracy under this attack is accuracy under noise. Use "
        "Square, or transfer from a network without the suspicious layer."
    ),
    "black_box_stronger": (
        "Raised if Square, which sees no gradient, fools images that PGD on the cross-entropy and on the "
        "margin leaves alone: whoever sees gradients should find more. The true accuracy is at most that "
        "under both. Judge by AutoAttack or a longer Square."
    ),
    "transfer_stronger": (
        "Raised if images made to fool the surrogate fool this network where its own gradients find nothing: "
        "there are fooling images nearby, and gradients hide them. The true accuracy is at most that under "
        "both. Judge by attacks that need no gradient, and transfer from more surrogates."
    ),
    "unbounded_holds": (
        "Raised if images withstand PGD even where the ball holds every image, those of other classes "
        "included: there an attack cannot fail unless it is blind, so a smaller radius says nothing either. "
        "Look at the accuracies at growing radii, and judge by attacks that need no gradient."
    ),
}


def explain(name: str) -> str:
    """Return a paragraph on a check: when it is raised, what that means, and what to do."""
    return EXPLANATIONS[name]


def checks(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    threat: Threat,
    *,
    seed: int,
    most: int = IMAGES,
    surrogate: Path | None = None,
) -> dict[str, Check]:
    """Look for signs of gradient masking.

    Attacks are compared image by image. A check fails where the share of suspicious images is larger than
    `TOLERANCE` by an exact binomial test of level `LEVEL`. A network that says one class to every image
    cannot fail for being constant. Where images have several labels there is no attack without gradients to
    compare with, and that check is not made.

    At most 7 x `STEPS` + 4 gradients and `QUERIES` + `DRAWS` predictions an image; images that are fooled
    early cost a fraction of that.

    Args:
        net: The network: attacked through its inference copy, as in judging; its own answers count.
        images: Images, on the network's device; those that are right as they are are looked at.
        tasks: The dataset's tasks.
        threat: What robustness is claimed against.
        seed: Decides the random numbers.
        most: Images to use, the first ones; 0 for all.
        surrogate: An exported folder to transfer attacks from; without it that check is not made.

    Returns:
        What each check found, by name.
    """
    net.eval()
    frozen, used = copy_of(net, images), images.first(most)
    black_boxes: dict[str, Attack] = {}
    if tasks[0].top == 1:  # Square knows of one label an image
        black_boxes["black_box"] = Square(threat.eps, threat.norm, queries=QUERIES)
    if surrogate is not None:
        black_boxes["transfer"] = Transfer(str(surrogate), _pgd(threat, "margin"))
    counts: Counter[str] = Counter()
    answers: set[tuple[int, ...]] = set()
    for number, batch in enumerate(used.batches(batch_size(used))):
        with torch.no_grad(), averaged(net):
            logits = net(batch.x)
        answers |= set(map(tuple, logits.topk(tasks[0].top).indices.sort(dim=1).values.tolist()))
        right = rightly_classified(logits, batch.y)
        if right.any():
            labels = labels_of(tasks, batch.y[right])
            part = _Part(
                net, frozen, batch.x[right], labels, logits[right], derive_seed(seed, f"batch {number}")
            )
            signs = _signs(part, threat, black_boxes)
            counts.update({sign: int(marks.sum()) for sign, marks in signs.items()})
    radii = _radii(threat.norm, used.x[0].numel())
    return _weighed(counts, len(used), black_boxes=black_boxes, radii=radii, constant=len(answers) == 1)


@dataclass(frozen=True)
class _Part:
    """A network and B images that it classifies rightly."""

    net: RobustNet
    frozen: InferenceCopy
    x: Tensor
    labels: Labels
    clean: Tensor
    seed: int

    @property
    def y(self) -> Tensor:
        return self.labels[0]

    @property
    def rounding(self) -> Tensor:
        return ROUNDING * self.clean.abs().amax(dim=1)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return what the network itself says: (B, C, H, W) -> (B, K)."""
        with averaged(self.net):
            logits: Tensor = self.net(x)
        return logits

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Return what it says to its images at once, in one draw where it is random: (B, K)."""
        with seeded_torch(derive_seed(self.seed, "draw"), self.x.device):
            logits: Tensor = self.net(self.x)
        return logits

    @torch.no_grad()
    def guarded(self, x: Tensor) -> Tensor:
        """Return what its input layers make of images, always in the same draw: (B, C, H, W) -> the same."""
        with seeded_torch(derive_seed(self.seed, "draw"), x.device):
            guarded: Tensor = self.net.guard(x)
        return guarded

    def under(self, attack: Attack, some: Tensor | None = None) -> Tensor:
        """Return the (B, K) logits of what an attack makes of the images marked, by default all."""
        rows = torch.ones(len(self.x), device=self.x.device) if some is None else some
        rows, x = rows.nonzero().squeeze(1), self.x.clone()
        if len(rows):
            generator = torch_generator(derive_seed(self.seed, repr(attack)), x.device)
            x[rows] = seek(attack, self.frozen, self.x, self.labels, rows=rows, generator=generator).x_adv
        return self.logits(x)

    def fooled(self, logits: Tensor) -> Tensor:
        """Mark the images whose logits are wrong."""
        return ~rightly_classified(logits, self.y)

    def changed(self, logits: Tensor) -> Tensor:
        """Mark the images whose logits are not those of the clean images."""
        return (logits - self.clean).abs().amax(dim=1) > self.rounding


def _signs(part: _Part, threat: Threat, black_boxes: Mapping[str, Attack]) -> dict[str, Tensor]:
    """Return (B,) booleans: what each image shows."""
    single = part.under(Fgsm(threat.eps, threat.norm))
    iterative = part.under(_pgd(threat, "cross_entropy"))
    strong = part.under(_pgd(threat, "margin"))
    noise = part.under(Noise(threat.eps, threat.norm, draws=DRAWS))
    gradient = part.fooled(iterative) | part.fooled(strong)
    signs = {
        "right": torch.ones_like(gradient),
        "random_output": part.changed(part.draw()),
        "iterative_weaker": _gains_more(part, cross_entropy, single, than=iterative),
        "noise_as_strong": _gains_more(part, margin, noise, than=strong),
        "fgsm": part.fooled(single),
        "cross_entropy": part.fooled(iterative),
        "margin": part.fooled(strong),
        "noise": part.fooled(noise),
        "gradient": gradient,
        **{name: part.fooled(part.under(attack, ~gradient)) for name, attack in black_boxes.items()},
    }
    return signs | _of_gradients(part, threat) | _withstand(part, threat)


def _pgd(threat: Threat, objective: ObjectiveName, *, random_start: bool = True) -> Pgd:
    """Return PGD whose steps are 2.5 radii in all (Madry et al. 2018)."""
    return Pgd(
        eps=threat.eps,
        norm=threat.norm,
        step=2.5 * threat.eps / STEPS,
        steps=STEPS,
        random_start=random_start,
        objective=objective,
    )


def _gains_more(
    part: _Part, loss: Callable[[Tensor, Tensor], Tensor], other: Tensor, *, than: Tensor
) -> Tensor:
    """Mark the images that an attack leaves right though another raises the loss more.

    Args:
        part: B images.
        loss: (B, K) logits, (B,) labels -> (B,).
        other: (B, K) logits under the other attack.
        than: (B, K) logits under the attack.
    """
    before, gain, rival = (loss(logits, part.y) for logits in (part.clean, than, other))
    more = rival - gain > GAIN * (gain - before).abs() + part.rounding
    return more & ~part.fooled(than)


def _of_gradients(part: _Part, threat: Threat) -> dict[str, Tensor]:
    """Mark the images whose gradients do not say what the network does nearby."""
    x = part.x.clone().requires_grad_()
    logits = connected(part.frozen)(x)
    (of_entropy,) = torch.autograd.grad(cross_entropy(logits, part.y).sum(), x, retain_graph=True)
    (gradient,) = torch.autograd.grad(margin(logits, part.y).sum(), x)
    ball = BALLS[threat.norm](part.x, threat.eps)

    values = of_entropy.flatten(1)
    blind = (values == 0).all(dim=1) | ~values.isfinite().all(dim=1)
    # Where the network is constant, a gradient of zero says the truth.
    generator = torch_generator(derive_seed(part.seed, "neighbor"), x.device)
    neighbor = ball.project(uniform_start(part.x, threat.eps, generator, norm=threat.norm))

    with seen_through(part.frozen):
        (past_guard,) = torch.autograd.grad(margin(connected(part.frozen)(x), part.y).sum(), x)
    before = margin(part.clean, part.y)

    def ahead(along: Tensor) -> tuple[Tensor, Tensor]:
        """Go a quarter of the radius along a gradient: the images there, and the margin won."""
        direction = ball.direction(along, out=torch.empty_like(along))
        there = ball.project(part.x + threat.eps / 4 * direction)
        return there, margin(part.logits(there), part.y) - before

    def broken(along: Tensor, step: Tensor) -> Tensor:
        """Mark the images where a gradient promises much more of a step than what is won."""
        promised = (along * step).flatten(1).sum(dim=1)
        return (won < GAIN * promised) & (GAIN * promised > part.rounding)

    there, won = ahead(gradient)
    _, won_past_guard = ahead(past_guard)
    # What an input layer takes of a step is no fault of the gradient, unless another one gets more through.
    better = won_past_guard - won > GAIN * won.abs() + part.rounding
    behind = broken(past_guard, part.guarded(there) - part.guarded(part.x))
    return {
        "zero_gradient": blind & part.changed(part.logits(neighbor)),
        "flat_loss": broken(gradient, there - part.x) & (behind | better),
    }


def _withstand(part: _Part, threat: Threat) -> dict[str, Tensor]:
    """Mark the images that withstand PGD at each radius and at those before it."""
    left, marks = torch.ones(len(part.x), dtype=torch.bool, device=part.x.device), {}
    for sign, radius in _radii(threat.norm, part.x[0].numel()).items():
        # From the image itself: a random point of so large a ball is noise, and fools by being no image.
        attack = _pgd(Threat(threat.norm, radius), "margin", random_start=False)
        left = left & ~part.fooled(part.under(attack, left))
        marks[sign] = left
    return marks


def _radii(norm: Norm, pixels: int) -> dict[str, float]:
    """Return growing radii by sign; in a ball of the last one lies every image."""
    largest = 1.0 if norm == "linf" else math.sqrt(pixels)
    return {f"at_{share * largest:.4g}": share * largest for share in RADII}


def _weighed(
    counts: Counter[str], images: int, *, black_boxes: Iterable[str], radii: Iterable[str], constant: bool
) -> dict[str, Check]:
    """Turn counts into checks.

    Args:
        counts: Images by sign.
        images: Images used, > 0.
        black_boxes: Signs of the attacks without gradients.
        radii: Signs of the growing radii.
        constant: Whether the network says one class to all images: then no radius has to fool it.
    """
    right, gradient = counts["right"], counts["gradient"]

    def accuracy(*signs: str) -> float:
        return (right - sum(counts[sign] for sign in signs)) / images

    def all_of(name: str, **accuracies: float) -> Check:
        return _check(counts[name], right, accuracies)

    *_, last = radii
    return {
        "zero_gradient": all_of("zero_gradient"),
        "flat_loss": all_of("flat_loss"),
        "random_output": all_of("random_output"),
        "iterative_weaker": all_of(
            "iterative_weaker", accuracy_fgsm=accuracy("fgsm"), accuracy_pgd=accuracy("cross_entropy")
        ),
        "noise_as_strong": all_of(
            "noise_as_strong", accuracy_noise=accuracy("noise"), accuracy_pgd=accuracy("margin")
        ),
        **{
            # Among the images that can be fooled, as far as is known, those that gradients do not lead to.
            f"{name}_stronger": _check(
                counts[name],
                gradient + counts[name],
                {"accuracy_pgd": accuracy("gradient"), "accuracy_both": accuracy("gradient", name)},
            )
            for name in black_boxes
        },
        "unbounded_holds": _check(
            0 if constant else counts[last],
            right,
            {f"accuracy_{sign}": counts[sign] / images for sign in radii},
        ),
    }


def _check(suspicious: int, images: int, accuracies: Mapping[str, float]) -> Check:
    """Pass as long as the share of suspicious images may be tolerable; without images nothing is said."""
    passed = images == 0 or bool(binom.sf(suspicious - 1, images, TOLERANCE) >= LEVEL)
    return {"passed": passed, "observed": {"suspicious": suspicious, "images": images, **accuracies}}
