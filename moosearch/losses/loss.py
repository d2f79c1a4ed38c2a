"""What a training loss is: a criterion on the outputs of a network. It knows no attack and no optimizer."""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from moosearch.data.tasks import Labels
from moosearch.models.network import Outputs
from moosearch.registry import Registry


@dataclass(frozen=True)
class Terms:
    """A loss and what it consists of.

    Attributes:
        total: Scalar to minimize.
        parts: Named scalars, for the training history.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Loss(Protocol):
    """A plug-in: the loss of the main task. Auxiliary tasks are added by the training step.

    Attributes:
        needs_clean: Whether it looks at the outputs on the clean images.
    """

    @property
    def needs_clean(self) -> bool:
        """Whether it looks at the outputs on the clean images."""
        ...

    def __call__(self, clean: Outputs | None, adversarial: Outputs, labels: Labels) -> Terms:
        """Return the loss of a batch; ``clean`` is None where it is not needed."""
        ...


LOSSES: Registry[Loss] = Registry("loss", "losses")
