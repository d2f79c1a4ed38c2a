"""How candidates are trained and measured."""

from moosearch.training import costs, verified  # noqa: F401 (register)
from moosearch.training.objectives import OBJECTIVES, Objective, Subject, key_of
from moosearch.training.spec import CandidateSpec
from moosearch.training.train import Epoch, Trained, Training, train

__all__ = [
    "OBJECTIVES",
    "CandidateSpec",
    "Epoch",
    "Objective",
    "Subject",
    "Trained",
    "Training",
    "key_of",
    "train",
]
