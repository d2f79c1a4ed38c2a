"""The l_inf attack of Carlini & Wagner 2017 (section VI.C), as Hotegni & Peitz 2024 run it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import ATTACKS
from moosearch.attacks.ball import Norm
from moosearch.attacks.gradient import margin
from moosearch.attacks.seeker import Classify, RowSeeker
from moosearch.errors import SpecError
from moosearch.registry import Count, NonNegative, Positive

SHRINK = 0.9
"""Factor by which tau falls below the distance reached."""

SMALLEST = 1 / 256
"""An image is left alone where tau gets as small as this: one level of a pixel."""

INSIDE = 0.999999
"""Factor that keeps black and white pixels where the inverse of tanh is finite."""

CONVERGED = 1e-3
"""An image is left alone where its loss falls below this."""


@ATTACKS.register("cw_linf")
@dataclass(frozen=True, repr=False)
class CwLinf(RowSeeker):
    """The l_inf attack of Carlini & Wagner: no pixel is to move further than tau, and tau falls.

    ``min c * max(0, confidence - margin) + sum_i max(0, |eta_i| - tau)``, by Adam from the image itself; an
    image is left alone as soon as a smaller tau brings it no nearer. It minimizes the distance; success is
    counted within ``eps``. With the defaults, those of Hotegni & Peitz 2024, hardly any pixel gets further
    than 0.05: it is weak wherever eps is larger.

    Attributes:
        eps: Radius of the l_inf ball, in pixel units of [0, 1].
        steps: Steps of Adam, for each tau.
        stepsize: Step size of Adam, where tanh of the variable is the image.
        confidence: Margin of the logits that is aimed at.
        initial_const: The first constant c.
        largest_const: c is doubled while it is less than this.
    """

    eps: NonNegative = 0.1
    steps: Count = 10
    stepsize: Positive = 0.01
    confidence: NonNegative = 1.0
    initial_const: Positive = 15.0
    largest_const: Positive = 20.0
    norm: ClassVar[Norm] = "linf"

    def __post_init__(self) -> None:
        """Check that there is a constant.

        Raises:
            SpecError: There is none.
        """
        if self.initial_const >= self.largest_const:
            raise SpecError(
                f"initial_const: got {self.initial_const}, expected less than largest_const "
                f"({self.largest_const})."
            )

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for the nearest images that fool."""
        nearest, (shortest, tau) = x.clone(), torch.ones(2, len(x), device=x.device)
        active = torch.arange(len(x), device=x.device)
        while len(active):
            improved = torch.zeros_like(active, dtype=torch.bool)
            for const in self._constants():
                found = self._minimize(classify, x[active], y[active], tau[active], const)
                length = (found - x[active]).flatten(1).abs().amax(dim=1)
                closer = (classify(found).argmax(dim=1) != y[active]) & (length < shortest[active])
                nearest[active[closer]], shortest[active[closer]] = found[closer], length[closer]
                improved |= closer
            active = active[improved]
            tau[active] = SHRINK * torch.minimum(tau[active], shortest[active])
            active = active[tau[active] > SMALLEST]
        return nearest

    def _constants(self) -> Iterator[float]:
        const = self.initial_const
        while const < self.largest_const:
            yield const
            const *= 2

    def _minimize(self, classify: Classify, x: Tensor, y: Tensor, tau: Tensor, const: float) -> Tensor:
        """Return the images that Adam ends at, each where its loss had converged."""
        w = torch.atanh((2 * x - 1) * INSIDE)
        optimizer = torch.optim.Adam([w], lr=self.stepsize)
        walking = torch.ones_like(y, dtype=torch.bool)
        for number in range(self.steps):
            w.requires_grad = True
            with torch.enable_grad():
                x_adv = (torch.tanh(w) + 1) / 2
                hinge = (self.confidence - margin(classify(x_adv), y)).clamp(min=0)
                excess = ((x_adv - x).abs() - tau.view(-1, 1, 1, 1)).clamp(min=0).flatten(1).sum(dim=1)
                loss = const * hinge + excess
                (w.grad,) = torch.autograd.grad(loss.sum(), w)
            w.requires_grad = False
            if number:
                walking &= loss >= CONVERGED
            before = w.clone()
            optimizer.step()
            w[~walking] = before[~walking]
        return (torch.tanh(w) + 1) / 2
