"""Augmentation of training batches: random crops and horizontal flips, on the device of the batch."""

from dataclasses import dataclass
from typing import Annotated

import pydantic
import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """How a batch of training images is varied; images keep their size.

    Attributes:
        crop: Pixels of zeros put around an image, out of which a window of its size is cut at random.
        flip: Whether an image is mirrored left to right with probability 1/2.
    """

    crop: Annotated[int, pydantic.Field(ge=0)] = 0
    flip: bool = False

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Vary each image of a batch on its own.

        Args:
            x: (B, C, H, W) images of any dtype.
            generator: A generator on the device of ``x``.

        Returns:
            (B, C, H, W); ``x`` itself where everything is off.
        """
        if not self.crop and not self.flip:
            return x
        images, channels, height, width = x.shape
        device = x.device
        rows = torch.arange(height, device=device).expand(images, height)
        columns = torch.arange(width, device=device).expand(images, width)
        if self.flip:
            mirrored = torch.rand(images, 1, generator=generator, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        if self.crop:
            x = F.pad(x, [self.crop] * 4)
            shift = torch.randint(2 * self.crop + 1, (2, images, 1), generator=generator, device=device)
            rows, columns = rows + shift[0], columns + shift[1]
        image = torch.arange(images, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[:, None, None]
        return x[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
