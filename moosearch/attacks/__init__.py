"""Who perturbs: attacks, for training and for judging."""

from moosearch.attacks import gradient, multitask  # noqa: F401 (registers)
from moosearch.attacks.attack import ATTACKS, Attack, Found, perturb, seek
from moosearch.attacks.ball import Norm, Threat
from moosearch.attacks.geometry import angle, task_perturbations

__all__ = ["ATTACKS", "Attack", "Found", "Norm", "Threat", "angle", "perturb", "seek", "task_perturbations"]
