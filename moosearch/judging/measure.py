"""Accuracy of a trained network: clean, and under attacks, image by image."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from moosearch.attacks import Attack, AttackWarning, seek
from moosearch.data import Split, Task, labels_of, rightly_classified
from moosearch.errors import DivergedError
from moosearch.models import RobustNet
from moosearch.models.frozen import InferenceCopy, inference_copy
from moosearch.seeding import derive_seed, torch_generator

BATCH = 512
"""Images that are attacked at a time, as long as they are small."""

BATCH_NUMBERS = BATCH * 3 * 32 * 32
"""Pixel values that are attacked at a time, whatever the images: the bound on memory."""

DRAWS = 16
"""Draws of a random network that are averaged, for its answers and for attacks."""

Progress = Callable[[str, int, int], None]
"""Is told the attack's name, the images done and how many there are."""


def batch_size(images: Split) -> int:
    """Return how many images are attacked at a time: 512 of 32 x 32 pixels in color, fewer of larger ones."""
    return max(1, min(BATCH, BATCH_NUMBERS // math.prod(images.x.shape[1:])))


@torch.no_grad()
def correct_clean(net: RobustNet, images: Split, *, batch: int = 0) -> Tensor:
    """Mark the images that are classified rightly: (N,) booleans.

    Args:
        net: The network.
        images: N images, on the network's device.
        batch: Images at a time; 0 for `batch_size`.

    Raises:
        DivergedError: The logits are not finite.
    """
    net.eval()
    parts = images.batches(batch or batch_size(images))
    return torch.cat([_right(net, part.x, part.y) for part in parts])


def correct_under(
    net: RobustNet, images: Split, tasks: tuple[Task, ...], attacks: Sequence[Attack], *, seed: int
) -> Tensor:
    """Mark the images that are classified rightly as they are *and* under every attack.

    Each attack is run only on what withstood those before it: the cheap worst case, for the search.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attacks: One or more attacks.
        seed: Decides the random starts. It does not depend on the candidate: all candidates meet the
            same random numbers batch by batch, so differences between them are not noise.

    Returns:
        (N,) booleans.
    """
    net.eval()
    return withstood(partial(_right, net), copy_of(net, images), images, tasks, attacks, seed=seed)


def withstood(
    right_of: Callable[[Tensor, Tensor], Tensor],
    attacked: RobustNet | InferenceCopy,
    images: Split,
    tasks: tuple[Task, ...],
    attacks: Sequence[Attack],
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
) -> Tensor:
    """Mark the images that are right as they are and under every attack, which may be on another network.

    Args:
        right_of: (B, C, H, W) images and their (B,) classes -> (B,) booleans, by the network that is judged.
        attacked: The network whose gradients the attacks follow.
        images: N images.
        tasks: The dataset's tasks.
        attacks: One or more attacks.
        seed: Decides the random starts.
        progress: Is told the images done and how many there are.

    Returns:
        (N,) booleans.
    """
    marks, size = [], batch_size(images)
    for number, batch in enumerate(images.batches(size)):
        right = right_of(batch.x, batch.y)
        labels = labels_of(tasks, batch.y)
        for index, attack in enumerate(attacks):
            rows = right.nonzero().squeeze(1)
            if not len(rows):
                break
            again = attacks[:index].count(attack)
            generator = attack_generator(seed, number, attack, batch.x.device, again=again)
            found = seek(attack, attacked, batch.x, labels, rows=rows, generator=generator)
            right[rows] = right_of(found.x_adv, batch.y[rows])
        marks.append(right)
        progress(min((number + 1) * size, len(images)), len(images))
    return torch.cat(marks)


@dataclass(frozen=True)
class Attacked:
    """What an attack did to N images.

    Attributes:
        attack: The attack.
        robust: (N,) booleans: right as they are and under the attack.
        distance: (N,) length, in the attack's norm, of the perturbation of each image that was fooled, also
            beyond the attack's radius where the attack minimizes lengths; NaN where none was found.
        seconds: Wall-clock time.
        images: Images attacked: those that are right as they are.
        doubt: Why the attack doubts its own result; empty where it does not.
    """

    attack: Attack
    robust: Tensor
    distance: Tensor
    seconds: float
    images: int
    doubt: str = ""

    @property
    def accuracy(self) -> float:
        """Share of all images that withstood, in [0, 1]."""
        return fraction(self.robust)


@dataclass(frozen=True)
class Marks:
    """What is known of a network on N images, image by image.

    Attributes:
        clean: (N,) booleans: right as they are.
        attacked: What each attack did, by name.
    """

    clean: Tensor
    attacked: Mapping[str, Attacked] = field(default_factory=dict)

    @property
    def worst_case(self) -> Tensor:
        """(N,) booleans: right as they are and under every attack."""
        marks = self.clean.clone()
        for each in self.attacked.values():
            marks &= each.robust
        return marks

    @property
    def average_robust(self) -> float:
        """Mean accuracy over the attacks, Avg-Robust of Hotegni & Peitz 2024; NaN without attacks."""
        accuracies = [each.accuracy for each in self.attacked.values()]
        return sum(accuracies) / len(accuracies) if accuracies else math.nan


def judge(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    attacks: Mapping[str, Attack],
    *,
    seed: int,
    batch: int = 0,
    progress: Progress | None = None,
) -> Marks:
    """Run every attack on every image that is right as it is, whatever the other attacks did.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attacks: Attacks by name.
        seed: Decides the random numbers, as in `correct_under`. An image's depend on its batch too.
        batch: Images at a time; 0 for `batch_size`.
        progress: Is told how far it is, after every batch.
    """
    *_, judgment = judgments(net, images, tasks, attacks, seed=seed, batch=batch, progress=progress)
    return judgment


def judgments(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    attacks: Mapping[str, Attack],
    *,
    seed: int,
    batch: int = 0,
    progress: Progress | None = None,
) -> Iterator[Marks]:
    """Judge as `judge` does, and yield what is known before the first attack and after each one."""
    size = batch or batch_size(images)
    clean = correct_clean(net, images, batch=size)
    judgment, frozen = Marks(clean), copy_of(net, images)
    yield judgment
    for name, attack in attacks.items():
        told = partial(progress or unheard, name)
        attacked = _attacked(attack, net, frozen, images, tasks, clean, seed=seed, size=size, progress=told)
        judgment = Marks(clean, {**judgment.attacked, name: attacked})
        yield judgment


def _attacked(
    attack: Attack,
    net: RobustNet,
    frozen: InferenceCopy,
    images: Split,
    tasks: tuple[Task, ...],
    clean: Tensor,
    *,
    seed: int,
    size: int,
    progress: Callable[[int, int], None],
) -> Attacked:
    """Run an attack on every image that is right as it is, batch by batch."""
    start, done, total = time.perf_counter(), 0, int(clean.sum())
    robust, distance = clean.clone(), torch.full(clean.shape, torch.nan, device=clean.device)
    doubts: dict[str, None] = {}
    progress(done, total)
    for number, part in enumerate(images.batches(size)):
        here = slice(number * size, number * size + len(part))
        rows = clean[here].nonzero().squeeze(1)
        if not len(rows):
            continue
        labels, y = labels_of(tasks, part.y), part.y[rows]
        generator = attack_generator(seed, number, attack, part.x.device)
        with collected(doubts):
            found = seek(attack, frozen, part.x, labels, rows=rows, generator=generator)
        fooled = ~_right(net, found.x_adv, y)
        robust[here][rows] = ~fooled
        # What an attack that minimizes lengths found beyond its radius counts for the length alone.
        moved_back = (found.outside != found.x_adv).flatten(1).any(dim=1)
        beyond = (~fooled & moved_back).nonzero().squeeze(1)
        if len(beyond):
            fooled[beyond] = ~_right(net, found.outside[beyond], y[beyond])
        distance[here][rows[fooled]] = found.distance[fooled]
        done += len(rows)
        progress(done, total)
    return Attacked(attack, robust, distance, time.perf_counter() - start, total, " ".join(doubts))


def unheard(name: str, done: int, total: int) -> None:
    """Tell nobody."""


@contextlib.contextmanager
def collected(doubts: dict[str, None]) -> Iterator[None]:
    """Collect what attacks warn of, each text once; other warnings go on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AttackWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, AttackWarning):
            doubts[str(warning.message)] = None
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def averaged(net: RobustNet) -> Iterator[None]:
    """Let a random network answer by the mean of `DRAWS` draws within a block, the same ones each time.

    Attacks see the mean of the same draws through `twin_of`: an attacker who knows them is stronger than one
    who meets fresh ones, so no accuracy comes from luck. Any other network is left as it is.
    """
    before = net.draws
    net.draws = DRAWS if net.random else before
    try:
        yield
    finally:
        net.draws = before


def copy_of(net: RobustNet, images: Split) -> InferenceCopy:
    """Return the network as attacks meet it: in float32, faster, `averaged`, and the same up to rounding.

    Whether an image fools is always asked of the network itself.

    Args:
        net: The network.
        images: What is attacked, on the network's device.
    """
    frozen = inference_copy(net, tuple(images.x.shape[1:]))
    frozen.draws = DRAWS if net.random else frozen.draws
    return frozen


def fraction(marks: Tensor) -> float:
    """Return the share of marked images as an exact quotient of counts: (N,) -> [0, 1]."""
    return int(marks.sum()) / len(marks)


@torch.no_grad()
def _right(net: RobustNet, x: Tensor, y: Tensor) -> Tensor:
    with averaged(net):
        logits = net(x)
    if not torch.isfinite(logits).all():
        raise DivergedError("the logits of the trained network are not finite: diverged")
    return rightly_classified(logits, y)


def attack_generator(
    seed: int, batch: int, attack: Attack, device: torch.device, *, again: int = 0
) -> torch.Generator:
    """Return an attack's own random numbers for a batch: what else is listed does not change them.

    Args:
        seed: Of the judgment.
        batch: Number of the batch, from 0.
        attack: The attack; its repr decides.
        device: Of the images.
        again: How often the same attack was listed before: it starts anew.
    """
    purpose = f"batch {batch}, {attack!r}" + (f", {again}" if again else "")
    return torch_generator(derive_seed(seed, purpose), device)
