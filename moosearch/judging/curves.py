"""Curves of robust accuracy: how many images withstand as an attack gets more room, or more steps.

Both curves fall by construction, and both spend their effort on survivors alone. An image that is fooled
within a ball is fooled within every larger one; and a walk that met an image that fools has met it after any
larger number of steps.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from moosearch.attacks import Attack, seek
from moosearch.attacks.gradient import LOSSES, Pgd, pgd_until_fooled
from moosearch.data import Split, Task, labels_of
from moosearch.errors import SpecError
from moosearch.judging.measure import Progress, attack_generator, batch_size, copy_of, correct_clean
from moosearch.models import RobustNet


def at_radius(attack: Attack, eps: float) -> Attack:
    """Return an attack with another radius; the length of its steps, where it has one, grows with it.

    Raises:
        SpecError: The attack has no radius to change.
    """
    plugin: Any = attack
    own = {field.name: getattr(attack, field.name) for field in fields(plugin)}
    changes: dict[str, Any] = {"eps": eps}
    if "attack" in own:  # one that is carried over from another network
        changes = {"attack": at_radius(own["attack"], eps)}
    elif own.get("eps", 0) == 0:
        raise SpecError(f"{attack!r} has no radius that could grow: name an attack with an eps above 0.")
    elif own.get("step") is not None:
        changes["step"] = own["step"] * (eps / own["eps"])
    changed: Attack = replace(plugin, **changes)
    return changed


def by_radius(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    attack: Attack,
    radii: Sequence[float],
    *,
    seed: int,
    progress: Progress | None = None,
) -> Tensor:
    """Count the radii that each image withstands, up to the first at which it is fooled.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attack: Is given each radius by `at_radius`.
        radii: Ascending; 0 asks for images that are right as they are, as every other radius does too.
        seed: Decides the random numbers, as in `judge`: where an image is attacked at a radius, it meets the
            same ones.
        progress: Is told how far it is, in radii of images.

    Returns:
        (N,) int64 in [0, len(radii)]: the image withstands radius number k where it is larger than k.
    """
    net.eval()
    frozen, size, counts = copy_of(net, images), batch_size(images), []
    for number, batch in enumerate(images.batches(size)):
        labels, count = labels_of(tasks, batch.y), torch.zeros_like(batch.y)
        left = correct_clean(net, batch).nonzero().squeeze(1)
        for index, radius in enumerate(radii):
            if radius > 0 and len(left):
                each = at_radius(attack, radius)
                generator = attack_generator(seed, number, each, batch.x.device)
                found = seek(each, frozen, batch.x, labels, rows=left, generator=generator)
                left = left[correct_clean(net, Split(found.x_adv, batch.y[left]))]
            count[left] += 1
            if progress is not None:
                done = number * size * len(radii) + (index + 1) * len(batch)
                progress("radii", done, len(images) * len(radii))
        counts.append(count)
    return torch.cat(counts)


def walks(attack: Attack) -> bool:
    """Whether `by_steps` can count the steps of an attack: a `Pgd` that looks at labels."""
    return isinstance(attack, Pgd) and attack.objective != "kl"


def by_steps(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    attack: Pgd,
    steps: Sequence[int],
    *,
    seed: int,
    progress: Progress | None = None,
) -> Tensor:
    """Count the numbers of steps that each image withstands, along one walk of PGD.

    The length of a step stays the same, so PGD with a smaller number of steps is the beginning of the walk.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attack: One for which `walks` holds; its own number of steps and restarts are left out of account.
        steps: Ascending, >= 1.
        seed: Decides the random numbers: those of `judge` for this attack with the last number of steps.
        progress: Is told how far it is, in steps of images.

    Returns:
        (N,) int64 in [0, len(steps)]: the image withstands number k of steps where it is larger than k.
    """
    net.eval()
    attack = replace(attack, steps=steps[-1], restarts=1)
    frozen, size, counts = copy_of(net, images), batch_size(images), []
    for number, batch in enumerate(images.batches(size)):
        labels, count = labels_of(tasks, batch.y), torch.zeros_like(batch.y)
        generator = attack_generator(seed, number, attack, batch.x.device)
        start = attack.start(batch.x, generator)
        goal = attack.goals(lambda x: (frozen(x),), batch.x, labels[:1], generator)[0]
        left = correct_clean(net, batch).nonzero().squeeze(1)
        x_adv, walked = start[left], 0
        for until in steps:
            if len(left):
                x_adv, _ = pgd_until_fooled(
                    frozen,
                    LOSSES[attack.objective],
                    batch.x[left],
                    batch.y[left],
                    goal[left],
                    start=x_adv,
                    eps=attack.eps,
                    step=attack.step if attack.targeted == "none" else -attack.step,
                    steps=until - walked,
                    norm=attack.norm,
                )
                right = correct_clean(net, Split(x_adv, batch.y[left]))
                left, x_adv, walked = left[right], x_adv[right], until
            count[left] += 1
            if progress is not None:
                done = number * size * steps[-1] + until * len(batch)
                progress("steps", done, len(images) * steps[-1])
        counts.append(count)
    return torch.cat(counts)
