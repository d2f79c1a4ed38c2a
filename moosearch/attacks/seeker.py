"""What attacks made for judging have in common: they work on the images asked for, and on no others."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Generator, Tensor

from moosearch.attacks.attack import Mode, connected
from moosearch.attacks.gradient import GradientAttack
from moosearch.data.tasks import Labels
from moosearch.models.network import RobustNet

Classify = Callable[[Tensor], Tensor]
"""(R, C, H, W) images -> (R, K) logits, both float32."""


class RowSeeker:
    """A `Seeker` in terms of one function, `find`.

    An image that `find` cannot fool comes back as it was, or at the best point that was met.
    """

    mode: ClassVar[Mode] = "eval"
    multitask: ClassVar[bool] = False
    several_labels: ClassVar[bool] = False

    __repr__ = GradientAttack.__repr__

    def check(self, *, classes: int, shape: tuple[int, ...]) -> None:
        """Check that a network of K classes on (C, H, W) images can be attacked.

        Raises:
            SpecError: It cannot.
        """

    def find(self, classify: Classify, x: Tensor, y: Tensor, *, generator: Generator) -> Tensor:
        """Look for images that fool.

        Args:
            classify: The network; it is in eval mode and its parameters are frozen.
            x: (R, C, H, W) images in [0, 1], float32 and contiguous: what libraries count on.
            y: (R,) labels.
            generator: Source of random numbers.

        Returns:
            (R, C, H, W) images, not necessarily in the ball.
        """
        raise NotImplementedError

    def __call__(self, net: RobustNet, x: Tensor, labels: Labels, *, generator: Generator) -> Tensor:
        """Perturb (B, C, H, W) images."""
        rows = torch.arange(len(x), device=x.device)
        return self.seek(net, x, labels, rows=rows, generator=generator)

    def seek(
        self, net: RobustNet, x: Tensor, labels: Labels, *, rows: Tensor, generator: Generator
    ) -> Tensor:
        """Look for images that fool among the rows."""
        chosen = x[rows]

        classify = connected(lambda images: net(images.to(x.dtype)).float())
        images = chosen.float().contiguous()
        with torch.no_grad():
            self.check(classes=classify(images[:1]).shape[1], shape=tuple(x.shape[1:]))
            found = self.find(classify, images, labels[0][rows], generator=generator)
        return chosen.copy_(found)


def draw_seed(generator: Generator) -> int:
    """Draw a seed for code that takes no generator."""
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))
