"""Images to look at: chosen the same way every time, as they are and perturbed, with predictions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from moosearch.attacks import Attack, perturb, seek
from moosearch.data import Split, Task, labels_of
from moosearch.errors import EvaluationError
from moosearch.judging.measure import averaged, batch_size, copy_of, correct_clean
from moosearch.models import RobustNet
from moosearch.seeding import derive_seed, torch_generator


@dataclass(frozen=True)
class Gallery:
    """R images that are classified rightly as they are, those that were fooled first.

    Attributes:
        number: (R,) the images' numbers in their split.
        x: (R, C, H, W) images in [0, 1].
        x_adv: (R, C, H, W) the same, perturbed.
        y: (R,) labels.
        clean: (R, K) probabilities of the classes for ``x``.
        adversarial: (R, K) those for ``x_adv``.
    """

    number: Tensor
    x: Tensor
    x_adv: Tensor
    y: Tensor
    clean: Tensor
    adversarial: Tensor

    @property
    def fooled(self) -> Tensor:
        """(R,) booleans: the perturbed image is classified wrongly."""
        return self.adversarial.argmax(dim=1) != self.y


def spread(y: Tensor, count: int, classes: int, *, first: int = 0) -> Tensor:
    """Choose images so that classes are met as evenly as they can be, the first ones of each class.

    Args:
        y: (N,) labels.
        count: How many to choose, if there are as many.
        classes: Number of classes K.
        first: The class that is served first; the others follow in order.

    Returns:
        (count,) positions in ``y``, class after class from ``first`` on.
    """
    labels = pd.Series(y.cpu().numpy())
    rank, turn = labels.groupby(labels).cumcount().to_numpy(), (labels.to_numpy() - first) % classes
    chosen = np.lexsort((turn, rank))[:count]
    return torch.from_numpy(chosen[np.argsort(turn[chosen], kind="stable")]).to(y.device)


def gallery(
    net: RobustNet, images: Split, tasks: tuple[Task, ...], attack: Attack, *, count: int, seed: int
) -> Gallery:
    """Attack images, and choose some that were fooled and some that withstood, spread over the classes.

    They are chosen from what fits into one batch. A judging attack leaves an image alone as soon as it fools,
    barely; those chosen are shown at the end of the attack's way instead, unless that leads back.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attack: The attack.
        count: How many to choose: half of them fooled, or as many as there are.
        seed: Decides the random numbers.

    Returns:
        At most ``count`` images; fewer where fewer are classified rightly.

    Raises:
        EvaluationError: No image is classified rightly.
    """
    net.eval()
    frozen, classes = copy_of(net, images), tasks[0].size
    pool = next(images.batches(batch_size(images)))
    labels, x_adv = labels_of(tasks, pool.y), pool.x.clone()
    generator = torch_generator(derive_seed(seed, f"gallery, {attack!r}"), pool.x.device)
    right = correct_clean(net, pool).nonzero().squeeze(1)
    if not len(right):
        raise EvaluationError("no image is classified rightly: there is nothing to attack.")
    x_adv[right] = seek(attack, frozen, pool.x, labels, rows=right, generator=generator).x_adv
    withstood = correct_clean(net, Split(x_adv[right], pool.y[right]))
    fooled, withstood = right[~withstood], right[withstood]
    fooled = fooled[spread(pool.y[fooled], max(count // 2, count - len(withstood)), classes)]
    # The classes that the first half did not meet come first in the second.
    rest, first = count - len(fooled), len(fooled) % classes
    withstood = withstood[spread(pool.y[withstood], rest, classes, first=first)]
    if len(fooled):
        some = tuple(part[fooled] for part in labels)
        end = perturb(attack, frozen, pool.x[fooled], some, generator=generator)
        led_back = correct_clean(net, Split(end, pool.y[fooled]))
        x_adv[fooled] = torch.where(led_back.view(-1, 1, 1, 1), x_adv[fooled], end)
    shown = torch.cat([fooled, withstood])
    with torch.no_grad(), averaged(net):
        clean, adversarial = (net(x[shown]).softmax(dim=1) for x in (pool.x, x_adv))
    return Gallery(shown, pool.x[shown], x_adv[shown], pool.y[shown], clean, adversarial)
