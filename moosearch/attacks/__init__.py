"""Who perturbs: attacks, for training and for judging."""

from moosearch.attacks import (  # noqa: F401 (registers)
    bpda,
    carlini_wagner,
    gradient,
    minimal,
    multitask,
    noise,
    transfer,
)
from moosearch.attacks.attack import ATTACKS, Attack, Found, perturb, seek
from moosearch.attacks.autoattack import AttackWarning
from moosearch.attacks.ball import Norm, Threat
from moosearch.attacks.geometry import angle, task_perturbations
from moosearch.attacks.suite import check_attacks, named_attacks

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackWarning",
    "Found",
    "Norm",
    "Threat",
    "angle",
    "check_attacks",
    "named_attacks",
    "perturb",
    "seek",
    "task_perturbations",
]
