"""The network of a candidate: defenses of its input, normalization, shared trunk, one linear head a task."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from moosearch.models.defenses.defense import DefenseLayer
from moosearch.models.parts import run_in_parts
from moosearch.seeding import seeded_torch


class Outputs(NamedTuple):
    """What one forward pass gives.

    Attributes:
        features: (B, o) trunk output.
        logits: One (B, G_m) tensor a task, the main task first.
    """

    features: Tensor
    logits: tuple[Tensor, ...]


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation, per channel.

    It is the first layer of the network, so that every eps is in pixel units of [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        """Start as the identity; `fit` sets the statistics."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take the (C,) mean and standard deviation of the training images."""
        self.mean.copy_(mean.view(1, -1, 1, 1))
        self.std.copy_(std.view(1, -1, 1, 1).clamp_min(1e-3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return (x - self.mean) / self.std


class RobustNet(nn.Module):
    """Hard parameter sharing: ``f_m = h_m . g`` with a trunk g and a linear head h_m a task.

    Attributes:
        guard: Layers on the images, before normalization; empty without input defenses.
        parts: In how many parts the trunk is run, a power of two: more take less memory and more time, and
            the outputs are the same up to rounding. It is no part of the state.
        draws: Over how many draws of its random numbers the outputs are averaged. From two on the draws are
            the same ones in every call: the network is then a function of its images. It is no part of the
            state.
    """

    parts: int = 1
    draws: int = 1

    def __init__(
        self,
        trunk: nn.Module,
        features: int,
        channels: int,
        groups: list[int],
        guard: nn.Sequential | None = None,
    ) -> None:
        """Put the network together.

        Args:
            trunk: (B, C, H, W) -> (B, features).
            features: Width o of the trunk's output.
            channels: C of the images.
            groups: Number of groups of each task, the main task first.
            guard: (B, C, H, W) in [0, 1] -> the same.
        """
        super().__init__()
        self.guard = nn.Sequential() if guard is None else guard
        self.normalize = Normalize(channels)
        self.trunk = trunk
        self.heads = nn.ModuleList(nn.Linear(features, size) for size in groups)
        self.features = features

    @property
    def random(self) -> bool:
        """Whether the network answers at random, in eval mode too."""
        return any(isinstance(module, DefenseLayer) and module.random for module in self.modules())

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of images in [0, 1], in their precision: (B, C, H, W) -> (B, o).

        Heads are linear: logits of the mean features of several draws are the mean logits (expectation over
        transformation, Athalye et al. 2018, section 4.2).
        """
        if self.draws == 1:
            return self._encode(x)
        with seeded_torch(0, x.device):
            total = self._encode_again(x)
            for _ in range(self.draws - 1):
                total = total + self._encode_again(x)
        return total / self.draws

    def _encode_again(self, x: Tensor) -> Tensor:
        """Encode, and compute it again in backward: draws take no more memory than one."""
        features: Tensor = checkpoint(self._encode, x, use_reentrant=False)
        return features

    def _encode(self, x: Tensor) -> Tensor:
        x_normal = self.normalize(self.guard(x).to(x.dtype))
        features: Tensor = (
            self.trunk(x_normal) if self.parts == 1 else run_in_parts(self.trunk, x_normal, self.parts)
        )
        return features.to(x.dtype)

    def head(self, features: Tensor, task: int) -> Tensor:
        """Return the logits of a task, in the precision of the features: (B, o) -> (B, G_m)."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.heads[task](features)
        return logits

    def outputs(self, x: Tensor) -> Outputs:
        """Run the trunk once and every head on it.

        Args:
            x: (B, C, H, W) images in [0, 1].
        """
        features = self.encode(x)
        return Outputs(features, tuple(self.head(features, task) for task in range(len(self.heads))))

    def forward(self, x: Tensor) -> Tensor:
        """Return the main logits: (B, C, H, W) -> (B, K)."""
        return self.head(self.encode(x), 0)

    def deployed(self) -> nn.Sequential:
        """Return the network without auxiliary heads; it shares the parameters of this one."""
        return nn.Sequential(*self.guard, self.normalize, self.trunk, self.heads[0])
