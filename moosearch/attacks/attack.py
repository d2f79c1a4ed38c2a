"""What an attack is, and the contract that every caller goes through."""

from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet
from moosearch.registry import Registry


class Attack(Protocol):
    """A plug-in that perturbs images within a ball: the same seam for training and for judging.

    An attack is trusted for its direction only: `perturb` sees to the ball and to [0, 1].

    Attributes:
        eps: Radius of the l_inf ball, in pixel units of [0, 1].
        multitask: Whether it needs auxiliary tasks.
    """

    @property
    def eps(self) -> float:
        """Radius of the l_inf ball."""
        ...

    multitask: ClassVar[bool]

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images; every random number comes from ``generator``."""
        ...


ATTACKS: Registry[Attack] = Registry("attack")


def perturb(attack: Attack, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
    """Run an attack under the house contract.

    The network is in eval mode (batch normalization neither learns from adversarial images nor sees their
    statistics) and its parameters are frozen (only input gradients are computed); both are put back.

    Args:
        attack: The plug-in.
        net: The network; any device.
        x: (B, C, H, W) images in [0, 1].
        labels: One (B,) tensor a task.
        generator: Source of random numbers, on the device of ``x``.

    Returns:
        (B, C, H, W) images inside the eps-ball around ``x`` and in [0, 1], detached. It is the attack's
        last iterate, whether or not it fools the network: success is judged by the caller.
    """
    training = net.training
    trainable = [p for p in net.parameters() if p.requires_grad]
    net.eval()
    for parameter in trainable:
        parameter.requires_grad = False
    try:
        moved = attack(net, x.detach(), labels, generator=generator).detach()
    finally:
        for parameter in trainable:
            parameter.requires_grad = True
        net.train(training)
    with torch.no_grad():
        return moved.clamp(x - attack.eps, x + attack.eps).clamp_(0, 1)
