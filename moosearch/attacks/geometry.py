"""Directions of perturbations (Hyun & Park 2024, section 3.3 and table 5)."""

import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import held
from moosearch.attacks.multitask import Mixed
from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet


def task_perturbations(
    attack: Mixed, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator
) -> Tensor:
    """Return what mixed perturbation mixes, the perturbation of every task on its own.

    The network is `held`, as in `perturb`.

    Args:
        attack: Its ball, steps, targets and mode; weights are not drawn.
        net: The network; any device.
        x: (B, C, H, W) images in [0, 1].
        labels: One (B,) tensor a task.
        generator: Source of random numbers, on the device of ``x``.

    Returns:
        (M+1, B, C, H, W) perturbations, that of the main task first; with ``x`` each is in the attack's ball
        and in [0, 1].

    Example:
        The last three columns of table 5, for the first auxiliary task::

            eta = task_perturbations(attack, net, x, labels, generator=generator)
            angle(eta[0], eta[1]).std(), angle(x, eta[0]).std(), angle(x, eta[0] + eta[1]).std()
    """
    x = x.detach()
    with held(net, attack.mode):
        return attack.task_perturbations(net, x, labels, generator=generator)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles between flattened vectors, in degrees: (B, ...), (B, ...) -> (B,) in [0, 180].

    They are computed in float64, and are accurate near 0 and 180 too, where the arc cosine loses half of the
    digits. A zero vector has no direction: its angle is NaN.

    Source: Kahan 2006, How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?
    """
    u, v = (_normalized(vectors.flatten(1).double()) for vectors in (a, b))
    chord = torch.linalg.vector_norm(u - v, dim=1)
    return torch.rad2deg(2 * torch.atan2(chord, torch.linalg.vector_norm(u + v, dim=1)))


def _normalized(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths
