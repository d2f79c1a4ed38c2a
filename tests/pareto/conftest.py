"""Evaluations with two objectives: accuracy (1 is ideal) and cost (0 is ideal, 10 the reference)."""

import pytest

from moosearch.evaluation import Candidate, Evaluation, ObjectiveInfo


@pytest.fixture(scope="session")
def objectives():
    return (
        ObjectiveInfo("accuracy", "maximize", "fraction", ideal=1.0, reference=0.0),
        ObjectiveInfo("cost", "minimize", "FLOP", ideal=0.0, reference=10.0),
    )


@pytest.fixture(scope="session")
def evaluated():
    """Return a function that makes a complete evaluation."""

    def make(identity, accuracy, cost, **fields):
        candidate = Candidate(identity, fields.pop("genome", {}), {})
        return Evaluation(candidate, "complete", {"accuracy": accuracy, "cost": cost}, **fields)

    return make


@pytest.fixture(scope="session")
def failed():
    """Return a function that makes a failed evaluation."""

    def make(identity):
        return Evaluation(Candidate(identity, {}, {}), "failed", error="ValueError: no")

    return make
