"""Gaussian noise on the images: a network that answers at random."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moosearch.models.defenses.defense import INPUT_DEFENSES, DefenseLayer
from moosearch.models.defenses.straight_through import straight_through
from moosearch.registry import NonNegative


class NoiseLayer(DefenseLayer):
    """``clamp(x + sigma * n, 0, 1)`` with standard normal n; backward, it is the identity.

    In training each image has noise of its own. In eval mode the images of a batch share it, so that an
    image's logits in a given draw do not depend on which others are in the batch.
    """

    random: ClassVar[bool] = True
    sigma: Tensor

    def __init__(self, sigma: float) -> None:
        """Hold the standard deviation, so that a schedule may change it."""
        super().__init__()
        self.hold(sigma=sigma)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same."""
        drawn = x if self.training else x[:1]
        # Not randn_like: it draws other numbers where the images lie otherwise in memory.
        noise = torch.randn(drawn.shape, dtype=x.dtype, device=x.device)
        noisy = x + self.sigma * noise
        return straight_through(noisy.clamp(0, 1), noisy)


@INPUT_DEFENSES.register("noise")
@dataclass(frozen=True)
class InputNoise:
    """Gaussian noise on the images, in training and afterwards.

    A network with it is judged by the mean of many draws, which attacks see too (Athalye et al. 2018,
    section 4.2), and cannot be exported.

    Attributes:
        sigma: Standard deviation, in pixel units of [0, 1].
    """

    sigma: NonNegative = 0.1

    def layer(self, shape: tuple[int, int, int]) -> NoiseLayer:
        """Build the layer."""
        return NoiseLayer(self.sigma)
