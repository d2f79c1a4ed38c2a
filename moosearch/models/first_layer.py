"""The first convolution on images of one channel, with a fast gradient for the image."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 4
"""Side of the blocks of pixels whose gradients are computed as if they were channels."""


class FirstConv(nn.Module):
    """A frozen convolution on (B, 1, H, W) images; attacks need its input gradient and no other.

    That gradient is a convolution with a single output channel, which a CPU computes several times slower
    than one with sixteen: so the 4 x 4 pixels of a block become sixteen channels of a convolution of stride 4
    with the same weights, shifted. The numbers are the same up to rounding.
    """

    weight: Tensor
    bias: Tensor
    blocked: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        """Copy a convolution that `fits`."""
        super().__init__()
        channels, kernel = conv.out_channels, conv.kernel_size[0]
        self.register_buffer("weight", conv.weight.detach().clone())
        self.register_buffer("bias", torch.zeros_like(conv.weight[:, 0, 0, 0]))
        size = BLOCK + kernel - 1
        self.register_buffer("blocked", conv.weight.new_zeros(BLOCK * BLOCK, channels, size, size))
        self.padding = kernel // 2

    @staticmethod
    def fits(conv: nn.Module) -> bool:
        """Whether it is a convolution of one channel that keeps the size of the image."""
        if not isinstance(conv, nn.Conv2d) or conv.in_channels != 1:
            return False
        kernel = conv.kernel_size[0]
        return (
            kernel % 2 == 1
            and conv.kernel_size == (kernel, kernel)
            and conv.padding == (kernel // 2, kernel // 2)
            and conv.padding_mode == "zeros"
            and conv.stride == conv.dilation == (1, 1)
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """Follow ``weight``, which was changed."""
        kernel = self.weight.shape[-1]
        flipped = self.weight[:, 0].flip(1, 2)
        for row in range(BLOCK):
            for column in range(BLOCK):
                place = self.blocked[BLOCK * row + column, :, row : row + kernel, column : column + kernel]
                place.copy_(flipped)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, O, H, W)."""
        if x.shape[2] % BLOCK or x.shape[3] % BLOCK:
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        y: Tensor = _Convolve.apply(x, self.weight, self.bias, self.blocked, self.padding)
        return y


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, blocked: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(blocked)
        ctx.padding = weight.shape[-1] - 1 - padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (blocked,) = ctx.saved_tensors
        blocks = F.conv2d(gradients[0], blocked, stride=BLOCK, padding=ctx.padding)
        return F.pixel_shuffle(blocks, BLOCK), None, None, None, None
