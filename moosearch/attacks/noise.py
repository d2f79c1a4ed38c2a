"""Random points of the ball: the baseline that every attack must beat."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.ball import BALLS, Norm, uniform_start
from moosearch.attacks.gradient import margin
from moosearch.attacks.seeker import Classify, RowSeeker
from moosearch.registry import Count, NonNegative


@ATTACKS.register("noise")
@dataclass(frozen=True, repr=False)
class Noise(RowSeeker):
    """Of several points drawn uniformly from the ball, the one with the largest margin.

    Attributes:
        eps: Radius of the ball, in pixel units of [0, 1].
        norm: Norm of the ball: ``linf`` or ``l2``.
        draws: Points for each image.
    """

    eps: NonNegative = 0.1
    norm: Norm = field(default="linf", repr=False)
    draws: Count = 10
    several_labels: ClassVar[bool] = True

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for images that fool."""
        ball, best, highest = BALLS[self.norm](x, self.eps), x, torch.full_like(x[:, 0, 0, 0], -torch.inf)
        for _ in range(self.draws):
            drawn = ball.project(uniform_start(x, self.eps, generator, norm=self.norm))
            value = margin(classify(drawn), y)
            best = torch.where((value > highest).view(-1, 1, 1, 1), drawn, best)
            highest = torch.maximum(highest, value)
        return best
