"""Convolutions 1x1 with a stride, computed as a subsampling and a convolution 1x1 with stride 1."""

import torch.nn.functional as F
from torch import Tensor, nn


class Subsampled(nn.Conv2d):
    """A convolution 1x1 with a stride and no padding: the same map, parameters and FLOPs as the plain one.

    It reads one pixel of each stride alone. oneDNN's own kernels for that write past their workspace in the
    backward pass to the weights, in channels_last and with fewer input channels than a block: on AVX2 from
    the smallest images on, on AVX-512 from 64x64. Nothing is lost by taking the pixels first.

    Source: github.com/uxlfoundation/oneDNN, issue 6035.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, ceil(H / stride), ceil(W / stride))."""
        # Pooling over single pixels, unlike a slice, keeps the memory layout in its backward pass too.
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight, self.bias, groups=self.groups)


def subsampled(trunk: nn.Module) -> nn.Module:
    """Make every convolution 1x1 with a stride and no padding a `Subsampled`, and return the trunk.

    Modules and parameters stay the same objects, and so do the names in state dicts. Subclasses of
    `torch.nn.Conv2d` are left alone: they may do more.
    """
    for module in trunk.modules():
        if type(module) is nn.Conv2d and strides_alone(module):
            module.__class__ = Subsampled
    return trunk


def strides_alone(conv: nn.Conv2d) -> bool:
    """Whether a convolution looks at single pixels, and not at all of them."""
    return conv.kernel_size == (1, 1) and conv.stride != (1, 1) and conv.padding in ((0, 0), "valid")
