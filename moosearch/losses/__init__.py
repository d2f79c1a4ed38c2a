"""What is minimized in training."""

from moosearch.losses import classification, loat, morel  # noqa: F401 (registers)
from moosearch.losses.loss import LOSSES, Criterion, Loss, Stateless, Terms

__all__ = ["LOSSES", "Criterion", "Loss", "Stateless", "Terms"]
