"""Networks as verification sees them: affine maps, ReLU and max pooling on float64 vectors."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from torch import Tensor, nn

from moosearch.errors import SpecError
from moosearch.models.network import Normalize

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

PROBES = 512
"""Unit vectors that are sent through a layer at a time."""

CHECKED = 8
"""Random images on which a network that was read is compared with the original."""

KINDS = (
    nn.Identity
    | nn.modules.dropout._DropoutNd
    | nn.Flatten
    | nn.ReLU
    | nn.MaxPool2d
    | nn.Linear
    | nn.Conv2d
    | nn.AvgPool2d
    | nn.AdaptiveAvgPool2d
    | nn.BatchNorm1d
    | nn.BatchNorm2d
    | Normalize
)
"""Layers that can be verified."""

ALLOWED = (
    "convolutions, linear layers, batch normalization, average and max pooling, flattening, dropout and "
    "ReLU, one after the other"
)


@dataclass(frozen=True)
class Affine:
    """``x -> weight x + bias``.

    Attributes:
        weight: (m, n), sparse.
        bias: (m,).
    """

    weight: csr_array
    bias: Vector

    def __call__(self, x: Matrix) -> Matrix:
        """(B, n) -> (B, m)."""
        return np.asarray((self.weight @ x.T).T + self.bias)

    def pull(self, gradient: Matrix, x: Matrix) -> Matrix:
        """Return gradients by the input: (B, m) and the inputs (B, n) -> (B, n)."""
        return np.asarray((self.weight.T @ gradient.T).T)

    def after(self, first: "Affine") -> "Affine":
        """Return both in one: ``first`` and then this one."""
        weight = csr_array(self.weight @ first.weight)
        weight.eliminate_zeros()
        return Affine(weight, self.weight @ first.bias + self.bias)


@dataclass(frozen=True)
class Relu:
    """``x -> max(x, 0)``."""

    def __call__(self, x: Matrix) -> Matrix:
        """(B, n) -> (B, n)."""
        return np.maximum(x, 0)

    def pull(self, gradient: Matrix, x: Matrix) -> Matrix:
        """Return gradients by the input: (B, n) and the inputs (B, n) -> (B, n)."""
        return gradient * (x > 0)


@dataclass(frozen=True)
class MaxPool:
    """The maximum over each of m windows.

    Attributes:
        windows: (m, k) numbers of the inputs in each; a window cut by the border names one of them again.
    """

    windows: NDArray[np.int64]

    def __call__(self, x: Matrix) -> Matrix:
        """(B, n) -> (B, m)."""
        return np.asarray(x[:, self.windows].max(axis=2))

    def pull(self, gradient: Matrix, x: Matrix) -> Matrix:
        """Return gradients by the input: (B, m) and the inputs (B, n) -> (B, n)."""
        found = np.zeros_like(x)
        winners = np.take_along_axis(
            np.broadcast_to(self.windows, (len(x), *self.windows.shape)),
            x[:, self.windows].argmax(axis=2, keepdims=True),
            axis=2,
        ).squeeze(2)
        np.add.at(found, (np.arange(len(x))[:, None], winners), gradient)
        return found


Step = Affine | Relu | MaxPool


@dataclass(frozen=True)
class Piecewise:
    """A piecewise linear network.

    Attributes:
        shape: (C, H, W) of its images.
        steps: What it does, one after the other; no two affine maps follow each other.
        classes: K.
    """

    shape: tuple[int, int, int]
    steps: tuple[Step, ...]
    classes: int

    @classmethod
    def of(cls, network: nn.Sequential, shape: tuple[int, int, int]) -> "Piecewise":
        """Read a network, in eval mode.

        Args:
            network: (B, C, H, W) -> (B, K), layer by layer, such as `RobustNet.deployed`.
            shape: (C, H, W) of the images.

        Raises:
            SpecError: A layer is none of those that can be verified.
        """
        check_layers(network)
        network = copy.deepcopy(network).cpu().double().eval().requires_grad_(requires_grad=False)
        steps: list[Step] = []
        x = torch.zeros(1, *shape, dtype=torch.float64)
        for layer in _flat(network):
            step, x = _step(layer, x)
            if isinstance(step, Affine) and steps and isinstance(steps[-1], Affine):
                steps[-1] = step.after(steps[-1])
            elif step is not None:
                steps.append(step)
        found = cls(shape, tuple(steps), x.shape[1])
        found._check(network)
        return found

    @torch.no_grad()
    def _check(self, network: nn.Sequential) -> None:
        """Check that it computes what the network does: a layer may be a subclass that does more.

        Raises:
            SpecError: It does not.
        """
        images = np.random.default_rng(0).uniform(0, 1, (CHECKED, int(np.prod(self.shape))))
        expected = network(torch.from_numpy(images).view(CHECKED, *self.shape)).numpy()
        if not np.allclose(self(images), expected, rtol=1e-9, atol=1e-9):
            raise SpecError("cannot be verified: a layer of the network does more than its kind says.")

    def __call__(self, x: Matrix) -> Matrix:
        """Return the logits: (B, n) -> (B, K)."""
        for step in self.steps:
            x = step(x)
        return x

    def gradient(self, x: Matrix, weights: Matrix) -> Matrix:
        """Return the gradient of a weighted sum of logits at each point.

        Args:
            x: (B, n) images.
            weights: (B, K), another sum for each.

        Returns:
            (B, n).
        """
        inputs = []
        for step in self.steps:
            inputs.append(x)
            x = step(x)
        gradient = weights
        for step, at in zip(reversed(self.steps), reversed(inputs), strict=True):
            gradient = step.pull(gradient, at)
        return gradient


def check_layers(network: nn.Sequential) -> None:
    """Check that every layer is one that can be verified.

    Args:
        network: Layer by layer, such as `RobustNet.deployed`; its weights are not looked at.

    Raises:
        SpecError: One is not.
    """
    for layer in _flat(network):
        if not isinstance(layer, KINDS):
            kind = type(layer).__name__
            raise SpecError(f"cannot be verified: the network has the layer {kind}. Known are {ALLOWED}.")
        dilated = getattr(layer, "dilation", 1) not in (1, (1, 1))
        told = getattr(layer, "return_indices", False)
        if not isinstance(layer, nn.Conv2d) and (getattr(layer, "ceil_mode", False) or dilated or told):
            raise SpecError(f"cannot be verified: the network has the layer {layer}. Known is plain pooling.")


def _flat(layer: nn.Module) -> list[nn.Module]:
    if isinstance(layer, nn.Sequential):
        return [inner for child in layer for inner in _flat(child)]
    return [layer]


@torch.no_grad()
def _step(layer: nn.Module, x: Tensor) -> tuple[Step | None, Tensor]:
    """Return what a layer does, None for nothing, and its output for one image of zeros."""
    if isinstance(layer, nn.Identity | nn.modules.dropout._DropoutNd):
        return None, x
    if isinstance(layer, nn.Flatten):
        return None, x.flatten(1)
    if isinstance(layer, nn.ReLU):
        return Relu(), x
    if isinstance(layer, nn.MaxPool2d):
        return _pool(layer, x)
    if isinstance(layer, nn.Linear):
        weight = csr_array(layer.weight.numpy())
        bias = np.zeros(layer.out_features) if layer.bias is None else layer.bias.numpy()
        return Affine(weight, bias), x.new_zeros(1, layer.out_features)
    return _probed(layer, x)


def _probed(layer: nn.Module, x: Tensor) -> tuple[Affine, Tensor]:
    """Read an affine layer by its values at 0 and at every unit vector."""
    origin = layer(torch.zeros_like(x))
    size, parts = x.numel(), []
    for start in range(0, size, PROBES):
        rows = torch.arange(start, min(start + PROBES, size))
        probes = F.one_hot(rows, size).double().view(-1, *x.shape[1:])
        parts.append(csr_array((layer(probes) - origin).flatten(1).numpy()))
    weight = csr_array(vstack(parts).T)
    return Affine(weight, origin.flatten().numpy()), torch.zeros_like(origin)


def _pool(layer: nn.MaxPool2d, x: Tensor) -> tuple[MaxPool, Tensor]:
    out = layer(x)
    numbers = torch.arange(x.numel(), dtype=torch.float64).view(x.shape) + 1
    padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
    padded = F.pad(numbers, (padding[1], padding[1], padding[0], padding[0]))
    columns = F.unfold(padded.transpose(0, 1), layer.kernel_size, stride=layer.stride)  # (C, k, places)
    windows = columns.transpose(1, 2).flatten(0, 1).long().numpy() - 1
    return MaxPool(np.where(windows < 0, windows.max(axis=1, keepdims=True), windows)), torch.zeros_like(out)
