"""What keeps a network from being sure or steep, whatever its loss: smoothed labels, small gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import pydantic
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from moosearch.models import RobustNet
from moosearch.models.parts import Still
from moosearch.registry import Count, NonNegative, Number


@dataclass(frozen=True)
class RegularizationSpec:
    """Regularization of a training; every weight of 0 costs nothing.

    Both penalties are on the clean images of the batch, after augmentation, as published; on the main task;
    and means over the images, whose pixels are in [0, 1].

    Attributes:
        label_smoothing: Share of each label that is spread over all classes, in the cross-entropies of the
            loss and of the auxiliary tasks (Szegedy et al. 2016). MART's margin, LOAT's and MOREL's own
            terms, and attacks see labels as they are.
        input_gradient: Weight of the squared length of the cross-entropy's gradient for the image (Ross &
            Doshi-Velez 2018).
        jacobian: Weight of the squared Frobenius norm of the Jacobian of the logits for the image (Hoffman et
            al. 2019, whose weight is twice this one).
        projections: Random directions in which that norm is estimated; each costs a backward pass, and its
            derivative another one. Unused where `jacobian` is 0.
    """

    label_smoothing: Annotated[Number, pydantic.Field(ge=0, lt=1)] = 0.0
    input_gradient: NonNegative = 0.0
    jacobian: NonNegative = 0.0
    projections: Count = 1

    @property
    def penalties(self) -> tuple[str, ...]:
        """The penalties whose weight is not 0, by field."""
        return tuple(name for name in ("input_gradient", "jacobian") if getattr(self, name) > 0)


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """Keep to what has second derivatives, within a block: to no compiled trunk, to attention by products.

    The backward pass of penalties belongs into such a block too: a trunk in parts is run again there.
    """
    with torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH):
        yield


@differentiated_twice()
def penalties(
    net: RobustNet, x: Tensor, y: Tensor, spec: RegularizationSpec, *, generator: Generator
) -> dict[str, Tensor]:
    """Return the penalties of a batch times their weights, with a graph, by field, but those of weight 0.

    They are to be differentiated within `differentiated_twice`. The network is run once more, in its own mode
    and in float32: derivatives of derivatives are less exact in bfloat16. Statistics of batch normalization
    do not learn from this pass. In training mode images meet in the statistics of the batch, and the
    derivatives are of all images' values together.

    Args:
        net: The network.
        x: (B, C, H, W) images in [0, 1].
        y: (B,) main labels.
        spec: The weights.
        generator: Source of the directions, on the device of ``x``.
    """
    x = x.detach().requires_grad_()
    with Still([net]):
        logits = net(x)
    found = {}
    if spec.input_gradient > 0:
        length = squared_gradient(F.cross_entropy(logits, y, reduction="sum"), x)
        found["input_gradient"] = spec.input_gradient * length
    if spec.jacobian > 0:
        found["jacobian"] = spec.jacobian * squared_jacobian(
            logits, x, projections=spec.projections, generator=generator
        )
    return found


def squared_gradient(value: Tensor, x: Tensor) -> Tensor:
    """Return the mean over images of the squared length of a gradient, with a graph.

    Args:
        value: A scalar, the sum of a value an image.
        x: (B, C, H, W) images that it was computed from. Where a layer cuts the graph between them, such as
            ``(x > 0.5).float()``, the gradient is zero.

    Source: Ross & Doshi-Velez 2018, eq. 5.
    """
    (gradient,) = torch.autograd.grad(value, x, create_graph=True, materialize_grads=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def squared_jacobian(logits: Tensor, x: Tensor, *, projections: int, generator: Generator) -> Tensor:
    """Estimate the mean over images of the squared Frobenius norm of the Jacobian, with a graph.

    The estimate is unbiased: K times the mean squared length of the gradient of the logits' component in a
    random direction.

    Args:
        logits: (B, K).
        x: (B, C, H, W) images that they were computed from.
        projections: Number of directions an image.
        generator: Source of the directions.

    Source: Hoffman et al. 2019, algorithm 1.
    """
    total = torch.zeros((), device=x.device, dtype=logits.dtype)
    for _ in range(projections):
        directions = torch.randn(logits.shape, generator=generator, device=x.device, dtype=logits.dtype)
        component = (logits * F.normalize(directions, dim=1)).sum()
        total = total + squared_gradient(component, x)
    return logits.shape[1] / projections * total
