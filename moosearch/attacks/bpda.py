"""BPDA: an attack on a network whose input layers pass gradients on as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Generator, Tensor, nn

from moosearch.attacks.attack import ATTACKS, Attack, Mode, Seeker
from moosearch.attacks.ball import Norm
from moosearch.attacks.gradient import Pgd
from moosearch.attacks.seeker import RowSeeker
from moosearch.data.tasks import Labels
from moosearch.errors import SpecError
from moosearch.models.defenses.straight_through import straight_through
from moosearch.models.network import RobustNet


@ATTACKS.register("bpda")
@dataclass(frozen=True)
class Bpda:
    """Another attack, with the identity as the backward pass of the input layers (Athalye et al. 2018).

    It is made for input defenses that mask gradients, whoever wrote them: a layer on images gives nearly the
    image back, or the network would be wrong. On a network without such layers it is the other attack.

    Attributes:
        attack: The other attack; its ball is the ball of this one.
    """

    attack: Annotated[Attack, ATTACKS] = Pgd(eps=0.1, step=0.01, steps=20, objective="margin")
    multitask: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check that the attack is one on the main task alone.

        Raises:
            SpecError: It needs tasks.
        """
        if self.attack.multitask:
            raise SpecError(f"attack: got {self.attack!r}, expected one on the main task alone.")

    @property
    def eps(self) -> float:
        """Radius of the attack's ball."""
        return self.attack.eps

    @property
    def norm(self) -> Norm:
        """Norm of the attack's ball."""
        return self.attack.norm

    @property
    def mode(self) -> Mode:
        """The network's mode while it is attacked."""
        return self.attack.mode

    @property
    def several_labels(self) -> bool:
        """Whether the attack attacks images with several labels."""
        return self.attack.several_labels

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check what the attack checks."""
        if isinstance(self.attack, RowSeeker | Pgd | Bpda):
            self.attack.check(classes=classes, shape=shape)

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        with seen_through(net):
            return self.attack(net, x, labels, generator=generator)

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Look for images that fool."""
        with seen_through(net):
            if isinstance(self.attack, Seeker):
                return self.attack.seek(net, x, labels, rows=rows, generator=generator)
            return self.attack(net, x, labels, generator=generator)[rows]


class _SeenThrough(nn.Module):
    """Layers that are the identity in backward."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            value = self.layers(x)
        return straight_through(value, x)


@contextmanager
def seen_through(net: RobustNet) -> Iterator[None]:
    """Let gradients pass the input layers of a network as they are within a block; its outputs stay."""
    guard = net.guard
    if len(guard):
        net.guard = nn.Sequential(_SeenThrough(guard))
    try:
        yield
    finally:
        net.guard = guard
