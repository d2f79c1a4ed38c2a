"""How candidates are trained and measured."""

from moosearch.training import costs  # noqa: F401 (registers)
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
