"""What is minimized in training."""

from moosearch.losses import classification  # noqa: F401 (registers)
from moosearch.losses.loss import LOSSES, Loss, Terms

__all__ = ["LOSSES", "Loss", "Terms"]
