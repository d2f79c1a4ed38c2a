"""What an architecture is: a plug-in that builds a trunk for a shape of image."""

from typing import Protocol

from torch import nn

from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.models.defenses.defense import DefenseSpec
from moosearch.models.network import RobustNet
from moosearch.models.subsampled import subsampled
from moosearch.registry import Registry
from moosearch.seeding import seeded_torch


class Architecture(Protocol):
    """A plug-in: a family of networks; its fields are width, depth and the like."""

    def trunk(self, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Build the trunk.

        Args:
            shape: (C, H, W) of the images.

        Returns:
            A module (B, C, H, W) -> (B, o), and o.

        Raises:
            SpecError: The images are too small for it.
        """
        ...


ARCHITECTURES: Registry[Architecture] = Registry("architecture")


def build_network(
    architecture: Architecture,
    shape: tuple[int, int, int],
    tasks: tuple[Task, ...],
    *,
    seed: int,
    defenses: DefenseSpec | None = None,
) -> RobustNet:
    """Build an architecture's network on the CPU, initialized from a seed.

    Defenses draw their weights last: the others are what they are without them.

    Args:
        architecture: The plug-in.
        shape: (C, H, W) of the images.
        tasks: The main task, then the auxiliary ones.
        seed: Seed of the initialization.
        defenses: What the network carries besides; nothing if not given.
    """
    with seeded_torch(seed):
        trunk, features = architecture.trunk(shape)
        net = RobustNet(subsampled(trunk), features, shape[0], [task.size for task in tasks])
        if defenses is not None:
            net.trunk = defenses.denoised(net.trunk, shape)
            net.guard = defenses.guard(shape)
        return net


def check_size(shape: tuple[int, int, int], smallest: int, name: str) -> None:
    """Check that both sides of an image are long enough for an architecture.

    Args:
        shape: (C, H, W) of the images.
        smallest: The fewest pixels of a side.
        name: The architecture, for the message.

    Raises:
        SpecError: They are not.
    """
    size = min(shape[1:])
    if size < smallest:
        raise SpecError(
            f"{name} with these fields needs images of at least {smallest} x {smallest}: "
            f"{size} pixels are too few."
        )


def scaled(size: int, width: float) -> int:
    """Return a published number of channels times a width factor, rounded, and at least 1."""
    return max(1, round(size * width))
