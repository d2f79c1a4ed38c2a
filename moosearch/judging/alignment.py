"""How alike the features of images are before and after an attack (Hotegni & Peitz 2024, figure 3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moosearch.attacks import Attack, perturb
from moosearch.data import Split, Task, labels_of
from moosearch.judging.measure import Progress, averaged, batch_size, copy_of
from moosearch.models import RobustNet
from moosearch.seeding import derive_seed, torch_generator


@dataclass(frozen=True)
class Alignment:
    """Mean cosines between natural and adversarial features, each in [-1, 1].

    Attributes:
        own: Of an image and its own adversarial version: the diagonal.
        within_class: Of two images of the same class, one of them adversarial; NaN without such a pair.
        between_classes: Of two images of different classes; NaN without such a pair.
        by_class: (K, K) natural class by adversarial class; an image is not compared with itself, and NaN
            stands where there is no pair.
    """

    own: float
    within_class: float
    between_classes: float
    by_class: Tensor


@torch.no_grad()
def features(
    net: RobustNet,
    images: Split,
    tasks: tuple[Task, ...],
    attack: Attack,
    *,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what the trunk makes of images, as they are and perturbed, right or wrong: two (N, o) tensors.

    MOREL aligns an embedding of these features that is thrown away after training.

    Args:
        net: The network.
        images: N images, on the network's device.
        tasks: The dataset's tasks.
        attack: The attack, gone to its end.
        seed: Decides the random numbers.
        progress: Is told how far it is, in images.
    """
    net.eval()
    frozen, natural, adversarial, done = copy_of(net, images), [], [], 0
    for number, batch in enumerate(images.batches(batch_size(images))):
        generator = torch_generator(derive_seed(seed, f"alignment {number}, {attack!r}"), batch.x.device)
        x_adv = perturb(attack, frozen, batch.x, labels_of(tasks, batch.y), generator=generator)
        with averaged(net):
            natural.append(net.encode(batch.x))
            adversarial.append(net.encode(x_adv))
        done += len(batch)
        if progress is not None:
            progress("features", done, len(images))
    return torch.cat(natural), torch.cat(adversarial)


def cosines(natural: Tensor, adversarial: Tensor) -> Tensor:
    """Return the cosine of every pair: (N, o), (M, o) -> (N, M); 0 where a vector is 0."""
    return F.normalize(natural, dim=1) @ F.normalize(adversarial, dim=1).T


def alignment(natural: Tensor, adversarial: Tensor, y: Tensor, classes: int) -> Alignment:
    """Average the cosines of all pairs of an image and an adversarial one, without forming the pairs.

    Args:
        natural: (N, o) features of images.
        adversarial: (N, o) features of the same images, perturbed.
        y: (N,) labels in [0, classes).
        classes: Number of classes K.
    """
    # In float64: a class's sum over many pairs loses its own images' cosines again.
    z, z_adv = (F.normalize(part.double(), dim=1) for part in (natural, adversarial))
    member = F.one_hot(y, classes).to(z.dtype)  # (N, K)
    own = (z * z_adv).sum(dim=1)
    sums = (member.T @ z) @ (member.T @ z_adv).T - torch.diag(member.T @ own)  # (K, K), over pairs
    sizes = member.sum(dim=0)
    pairs = torch.outer(sizes, sizes) - torch.diag(sizes)
    same = torch.eye(classes, dtype=torch.bool, device=y.device)
    return Alignment(
        float(own.mean()),
        float(_means(sums[same].sum(), pairs[same].sum())),
        float(_means(sums[~same].sum(), pairs[~same].sum())),
        _means(sums, pairs),
    )


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Divide; NaN where nothing was summed, also where rounding left something of it."""
    return torch.where(counts > 0, sums / counts, torch.nan)
