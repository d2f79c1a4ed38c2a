"""Who perturbs: attacks, for training and for judging."""

from moosearch.attacks import gradient, multitask  # noqa: F401 (registers)
from moosearch.attacks.attack import ATTACKS, Attack, perturb
from moosearch.attacks.geometry import angle, task_perturbations

__all__ = ["ATTACKS", "Attack", "angle", "perturb", "task_perturbations"]
