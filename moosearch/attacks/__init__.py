"""Who perturbs: attacks, for training and for judging."""

from moosearch.attacks import gradient, multitask  # noqa: F401 (registers)
from moosearch.attacks.attack import ATTACKS, Attack, perturb

__all__ = ["ATTACKS", "Attack", "perturb"]
