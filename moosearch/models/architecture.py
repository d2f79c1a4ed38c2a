"""What an architecture is: a plug-in that builds a trunk for a shape of image."""

from typing import Protocol

from torch import nn

from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.models.network import RobustNet
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
    architecture: Architecture, shape: tuple[int, int, int], tasks: tuple[Task, ...], *, seed: int
) -> RobustNet:
    """Build an architecture's network on the CPU, initialized from a seed.

    Args:
        architecture: The plug-in.
        shape: (C, H, W) of the images.
        tasks: The main task, then the auxiliary ones.
        seed: Seed of the initialization.
    """
    with seeded_torch(seed):
        trunk, features = architecture.trunk(shape)
        return RobustNet(trunk, features, shape[0], [task.size for task in tasks])


def halvings(shape: tuple[int, int, int], times: int, name: str) -> None:
    """Check that an image can be halved ``times`` times.

    Raises:
        SpecError: It would become empty.
    """
    size = min(shape[1:])
    if size < 2**times:
        raise SpecError(
            f"{name} halves the image {times} times: {size} pixels are too few, "
            f"expected at least {2**times}. Use a smaller depth or larger images."
        )
