"""Augmentation of training batches: crops, flips and black rectangles, on the device of the batch."""

from dataclasses import dataclass
from typing import Annotated

import pydantic
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from moosearch.registry import Number, late


@dataclass(frozen=True)
class Augmentation:
    """How a batch of training images is varied; images keep their size.

    Attributes:
        crop: Pixels of zeros put around an image, out of which a window of its size is cut at random.
        flip: Whether an image is mirrored left to right with probability 1/2.
        erase: Largest height and width, as a share of the image's, of a black rectangle at a random place; 0
            for none. It is the L0 defense of Mour 2023, after Rao et al. 2020.
    """

    crop: Annotated[int, pydantic.Field(ge=0)] = 0
    flip: bool = False
    erase: Annotated[Number, pydantic.Field(ge=0, le=1)] = late(0.0)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Vary each image of a batch on its own.

        Args:
            x: (B, C, H, W) images of any dtype.
            generator: A generator on the device of ``x``.

        Returns:
            (B, C, H, W); ``x`` itself where everything is off.
        """
        x = self._moved(x, generator) if self.crop or self.flip else x
        return self._erased(x, generator) if self.erase else x

    def _moved(self, x: Tensor, generator: Generator) -> Tensor:
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

    def _erased(self, x: Tensor, generator: Generator) -> Tensor:
        images, _, *sides = x.shape
        inside = []
        for side in sides:
            drawn = torch.rand(2, images, 1, generator=generator, device=x.device)
            length = (drawn[0] * (int(self.erase * side) + 1)).floor()
            start = (drawn[1] * (side - length + 1)).floor()
            place = torch.arange(side, device=x.device)
            inside.append((place >= start) & (place < start + length))
        black = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return x.masked_fill(black, 0)
