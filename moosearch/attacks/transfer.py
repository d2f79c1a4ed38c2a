"""Transfer: images that were made to fool another network."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS, Attack, perturb
from moosearch.attacks.ball import Norm
from moosearch.attacks.gradient import Pgd
from moosearch.attacks.seeker import RowSeeker
from moosearch.data.tasks import Labels
from moosearch.errors import ExportError, SpecError
from moosearch.models.exported import load_exported, signature
from moosearch.models.frozen import inference_copy
from moosearch.models.network import RobustNet


@ATTACKS.register("transfer")
@dataclass(frozen=True, repr=False)
class Transfer(RowSeeker):
    """An attack on a surrogate, carried over to the network: what an attacker does who cannot see it.

    The attack walks to its end, whether or not it fools the surrogate earlier, and never asks the network.

    Attributes:
        surrogate: An exported folder, of the same images and classes. It is looked for by `check` and where
            the attack runs, not where it is described: a campaign is read where the folder is not.
        attack: The attack on the surrogate; its ball is the ball of this attack.
    """

    surrogate: str
    attack: Annotated[Attack, ATTACKS] = Pgd(eps=0.1, step=0.01, steps=20)

    def __post_init__(self) -> None:
        """Check that the attack is one on an exported network.

        Raises:
            SpecError: It needs tasks or a mode that an exported network does not have.
        """
        if self.attack.multitask or self.attack.mode != "eval":
            raise SpecError(
                f"attack: got {self.attack!r}, expected one on the main task alone and in mode eval: "
                "an exported network has no other head."
            )

    @property
    def eps(self) -> float:
        """Radius of the attack's ball."""
        return self.attack.eps

    @property
    def norm(self) -> Norm:
        """Norm of the attack's ball."""
        return self.attack.norm

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check that the surrogate is there and is about such images and as many classes."""
        try:
            found = signature(self._folder)
        except ExportError as error:
            raise SpecError(f"surrogate: {error}") from None
        if found.shape != shape or len(found.classes) != classes:
            raise SpecError(
                f"surrogate: {self.surrogate} tells {len(found.classes)} classes of images of shape "
                f"{list(found.shape)} apart, expected {classes} classes and {list(shape)}."
            )

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Perturb all images, so that every network meets the same ones, and return those asked for."""
        with torch.no_grad():
            self.check(classes=net(x[:1]).shape[1], shape=tuple(x.shape[1:]))
        written = (self._folder / "weights.safetensors").stat().st_mtime_ns
        surrogate = _surrogate(self._folder, written, tuple(x.shape[1:]), x.device)
        return perturb(self.attack, surrogate, x.float(), labels[:1], generator=generator)[rows].to(x.dtype)

    @property
    def _folder(self) -> Path:
        return Path(self.surrogate).expanduser().resolve()


@lru_cache(maxsize=4)
def _surrogate(folder: Path, _written: int, shape: tuple[int, ...], device: torch.device) -> RobustNet:
    """Load a surrogate once for each version of it."""
    return inference_copy(load_exported(folder).to(device), shape)
