"""Accuracy of a trained network: clean, and under attacks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moosearch.attacks import Attack, perturb
from moosearch.data import Split, Task, labels_of
from moosearch.errors import EvaluationError
from moosearch.models import RobustNet
from moosearch.seeding import derive_seed, torch_generator

BATCH = 512


@torch.no_grad()
def correct_clean(net: RobustNet, images: Split) -> Tensor:
    """Mark the images that are classified rightly: (N,) booleans.

    Raises:
        EvaluationError: The logits are not finite.
    """
    net.eval()
    marks = []
    for batch in images.batches(BATCH):
        logits = net(batch.x)
        if not torch.isfinite(logits).all():
            raise EvaluationError("the logits of the trained network are not finite: diverged")
        marks.append(logits.argmax(dim=1) == batch.y)
    return torch.cat(marks)


def correct_under(
    net: RobustNet, images: Split, tasks: tuple[Task, ...], attacks: Sequence[Attack], *, seed: int
) -> Tensor:
    """Mark the images that are classified rightly as they are *and* under every attack.

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
    marks = []
    for number, batch in enumerate(images.batches(BATCH)):
        right = correct_clean(net, batch)
        for index, attack in enumerate(attacks):
            # The seed is the attack's own: what else is listed does not change its random start. An
            # attack listed twice starts anew.
            again = attacks[:index].count(attack)
            purpose = f"batch {number}, {attack!r}" + (f", {again}" if again else "")
            generator = torch_generator(derive_seed(seed, purpose), batch.x.device)
            # The whole batch is attacked, so that an image's random start is its own whatever
            # became of its neighbors.
            labels = labels_of(tasks, batch.y)
            x_adv = perturb(attack, net, batch.x, labels, generator=generator)
            right &= correct_clean(net, Split(x_adv, batch.y))
        marks.append(right)
    return torch.cat(marks)


def fraction(marks: Tensor) -> float:
    """Return the share of marked images as an exact quotient of counts: (N,) -> [0, 1]."""
    return int(marks.sum()) / len(marks)
