"""What is searched while something breaks: candidates that take half a second, with a few epochs."""

import copy
from typing import Any

import yaml

_BASE = """
campaign:
  name: faults
  seed: 3
  objectives:
    - {name: clean_accuracy}
    - {name: robust_accuracy, attacks: [{name: pgd, eps: 0.1, step: 0.05, steps: 2}]}
    - {name: flops}
  algorithm: nsga2
  budget: {population: 3, generations: 3}
  evaluator: serial
  limits: {checkpoint: 0}
candidate:
  dataset: {name: digits, auxiliary: [odd_even]}
  architecture:
    choice:
      - {name: small_cnn, width: {integer: [2, 8, 2]}, depth: 2}
      - {name: lenet, width: {log_real: [0.05, 0.1]}}
  training:
    epochs: 5
    batch_size: 256
    attack: {name: pgd, eps: 0.1, step: 0.05, steps: 1}
    loss: {choice: [cross_entropy, trades]}
    optimizer: {lr: {log_real: [0.01, 0.3]}}
"""
CANDIDATES, EPOCHS = 9, 5


def base(**campaign: Any) -> dict[str, Any]:
    """Return the space of 9 candidates, with parts of ``campaign:`` replaced."""
    space: dict[str, Any] = yaml.safe_load(_BASE)
    space["campaign"] |= campaign
    return space


def troubled(kind: str, **campaign: Any) -> dict[str, Any]:
    """Return a space of 2 candidates, one of which is in trouble; see `plugins/troubled.py`."""
    space = base(algorithm="grid", budget={"population": 2, "generations": 1}, **campaign)
    space["imports"] = ["troubled"]
    space["candidate"]["architecture"] = {"name": "small_cnn", "width": 4, "depth": 2}
    training = copy.deepcopy(space["candidate"]["training"])
    training["optimizer"] = {"lr": 0.1}
    training["loss"] = {"name": "troubled", "kind": {"choice": ["none", kind]}}
    space["candidate"]["training"] = training
    return space


def hungry() -> dict[str, Any]:
    """Return a space of 2 candidates, one of which needs more memory than there is for a batch."""
    space = troubled("none")
    space["candidate"]["architecture"] = {"name": "hungry", "hungry": {"choice": [False, True]}}
    space["candidate"]["training"]["loss"] = "cross_entropy"
    return space
