"""What an attack is, and the contract that every caller goes through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from moosearch.attacks.ball import BALLS, Norm
from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet
from moosearch.registry import Registry

Mode = Literal["eval", "train"]


class Attack(Protocol):
    """A plug-in that perturbs images within a ball: the same seam for training and for judging.

    An attack is trusted for its direction only: `perturb` sees to the ball and to [0, 1].

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball.
        mode: The network's mode while it is attacked.
        multitask: Whether it needs auxiliary tasks.

    A class may leave out ``several_labels``: `ATTACKS` adds it.
    """

    @property
    def eps(self) -> float:
        """Radius of the ball."""
        ...

    @property
    def norm(self) -> Norm:
        """Norm of the ball."""
        ...

    @property
    def mode(self) -> Mode:
        """The network's mode while it is attacked."""
        ...

    @property
    def several_labels(self) -> bool:
        """Whether it attacks images with several labels each."""
        return False

    multitask: ClassVar[bool]

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images; every random number comes from ``generator``."""
        ...


@runtime_checkable
class Seeker(Protocol):
    """An attack that can spend its effort where it still matters: what judging asks for.

    It is asked for some of the images only, and may leave an image alone as soon as it fools the network.
    """

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Look for images that fool.

        Args:
            net: The network; its predictions may differ from the judged one's by rounding.
            x: (B, C, H, W) images in [0, 1], those that are not asked for included, so that an image's
                random start can be its own whatever became of its neighbors.
            labels: One (B,) tensor a task.
            rows: (R,) the images asked for, by number.
            generator: Source of random numbers.

        Returns:
            (R, C, H, W) images that fool, or the best that was found.
        """
        ...


ATTACKS: Registry[Attack] = Registry("attack", protocol=Attack, optional=("several_labels",))


class Found(NamedTuple):
    """What an attack found for R images.

    Attributes:
        x_adv: (R, C, H, W) images in the attack's ball and in [0, 1].
        distance: (R,) length of each perturbation in the attack's norm, before it was brought into the
            ball: what an attack that minimizes it reached.
        outside: (R, C, H, W) the images before they were brought into the ball; in [0, 1].
    """

    x_adv: Tensor
    distance: Tensor
    outside: Tensor


def perturb(attack: Attack, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
    """Run an attack under the house contract: on a network that is `held`, and back into the ball.

    Args:
        attack: The plug-in.
        net: The network; any device.
        x: (B, C, H, W) images in [0, 1].
        labels: One (B,) tensor a task.
        generator: Source of random numbers, on the device of ``x``.

    Returns:
        (B, C, H, W) images inside the attack's ball around ``x`` and in [0, 1], detached, in the memory
        format of ``x``. It is the attack's last iterate, whether or not it fools the network: success is
        judged by the caller.
    """
    x = x.detach()
    with held(net, attack.mode):
        moved = attack(net, x, labels, generator=generator).detach()
    return BALLS[attack.norm](x, attack.eps).project(moved)


def seek(
    attack: Attack, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
) -> Found:
    """Run an attack to judge a network: on the images asked for, under the same contract as `perturb`.

    An attack that is no `Seeker` perturbs the whole batch, and the images asked for are taken out.

    Args:
        attack: The plug-in.
        net: The network to attack; any device.
        x: (B, C, H, W) images in [0, 1].
        labels: One (B,) tensor a task.
        rows: (R,) the images asked for, by number; at least one.
        generator: Source of random numbers, on the device of ``x``.
    """
    x = x.detach()
    with held(net, attack.mode):
        if isinstance(attack, Seeker):
            moved = attack.seek(net, x, labels, rows=rows, generator=generator).detach()
        else:
            moved = attack(net, x, labels, generator=generator).detach()[rows]
    moved = moved.clamp(0, 1)
    ball = BALLS[attack.norm](x[rows], attack.eps)
    eta = (moved - x[rows]).flatten(1)
    distance = eta.abs().amax(dim=1) if attack.norm == "linf" else torch.linalg.vector_norm(eta, dim=1)
    return Found(ball.project(moved), distance, moved)


def connected(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a network whose logits depend on its images for torch, be it with a gradient of zero.

    A layer such as ``(x > 0.5).float()`` cuts the graph; attacks should find no gradient there, not an error.
    """

    def classify(x: Tensor) -> Tensor:
        logits = net(x)
        if torch.is_grad_enabled() and x.requires_grad and not logits.requires_grad:
            logits = logits + 0 * x.flatten(1).sum(dim=1, keepdim=True)
        return logits

    return classify


@contextmanager
def held(net: nn.Module, mode: Mode) -> Iterator[None]:
    """Hold a network still while it is attacked, and put every module and parameter back as it was.

    Only input gradients are computed. In mode ``eval`` batch normalization neither learns from adversarial
    images nor sees their statistics. In mode ``train`` it sees them, and its buffers are put back; whatever
    else a layer does in training, such as dropout, it does too.
    """
    modes = [(module, module.training) for module in net.modules()]
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()] if mode == "train" else []
    net.train(mode == "train")
    for parameter in trainable:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad = True
        for module, training in modes:
            module.training = training
        for buffer, value in buffers:
            buffer.copy_(value)
