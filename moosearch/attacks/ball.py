"""The balls that perturbations stay in: where a walk may start, which way a step goes, how far it may get."""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

Norm = Literal["linf", "l2"]


class Threat(NamedTuple):
    """What an attacker may do: move an image within a ball.

    Attributes:
        norm: Norm of the ball.
        eps: Its radius, in pixel units of [0, 1].
    """

    norm: Norm
    eps: float


class Ball(Protocol):
    """What `pgd` asks of the ball around (B, C, H, W) images, in pixel units of [0, 1]."""

    def __init__(self, x: Tensor, eps: float) -> None:
        """Take the centers and the radius."""

    def project(self, points: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Move (B, C, H, W) points into the ball and into [0, 1]."""
        ...

    def direction(self, gradient: Tensor, *, out: Tensor) -> Tensor:
        """Return the step of norm 1 that a linear function with this gradient gains most by.

        An image without gradient does not move.
        """
        ...


class LinfBall:
    """No pixel moves by more than eps."""

    def __init__(self, x: Tensor, eps: float) -> None:
        """Make one box of the ball and the unit range."""
        self.low, self.high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)

    def project(self, points: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Clip."""
        return torch.clamp(points, self.low, self.high, out=out)

    def direction(self, gradient: Tensor, *, out: Tensor) -> Tensor:
        """Return the signs."""
        return torch.sign(gradient, out=out)


class L2Ball:
    """No image moves further than eps, in Euclidean distance."""

    def __init__(self, x: Tensor, eps: float) -> None:
        """Take the centers and the radius."""
        self.x, self.eps = x, eps

    def project(self, points: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Shorten what is too long, then clip: clipping brings no pixel away from the center."""
        eta = points - self.x
        factor = (self.eps / _lengths(eta)).clamp_(max=1)
        return torch.addcmul(self.x, eta, factor, out=out).clamp_(0, 1)

    def direction(self, gradient: Tensor, *, out: Tensor) -> Tensor:
        """Divide each image's gradient by its length."""
        return torch.div(gradient, _lengths(gradient), out=out)


BALLS: dict[Norm, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}


def uniform_start(x: Tensor, eps: float, generator: Generator, *, norm: Norm = "linf") -> Tensor:
    """Draw a point of the ball around every image, [0, 1] apart: (B, C, H, W) -> (B, C, H, W)."""
    if norm == "linf":
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + noise.mul_(2).sub_(1).mul_(eps)
    # The direction is that of a Gaussian; a ball of radius r holds (r / eps) ** pixels of the volume.
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    volume = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    radius = eps * volume ** (1 / x[0].numel())
    return x + noise.mul_(radius / _lengths(noise))


def _lengths(vectors: Tensor) -> Tensor:
    """Return Euclidean lengths that can be divided by: (B, C, H, W) -> (B, 1, 1, 1)."""
    # In float64 the squares of small gradients do not vanish.
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return lengths.clamp_(min=torch.finfo(vectors.dtype).tiny).to(vectors.dtype)
