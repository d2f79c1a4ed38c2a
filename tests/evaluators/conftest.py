"""A small space for Ray, and what Ray's own code may warn of."""

import copy

import pytest

SPACE = {
    "campaign": {
        "name": "rays",
        "objectives": [
            "clean_accuracy",
            {"name": "robust_accuracy", "attacks": [{"name": "pgd", "eps": 0.1, "steps": 2}]},
            "flops",
        ],
        "budget": {"population": 4, "generations": 2},
    },
    "candidate": {
        "dataset": "digits",
        "architecture": {"name": "small_cnn", "width": {"integer": [2, 8, 2]}, "depth": 2},
        "training": {
            "epochs": 1,
            "batch_size": 256,
            "loss": {"choice": ["cross_entropy", "trades"]},
            "optimizer": {"lr": {"log_real": [0.01, 0.3]}},
        },
    },
}


@pytest.fixture
def space():
    return copy.deepcopy(SPACE)


def pytest_collection_modifyitems(items):
    """Ray's own subprocess and socket handling, at shutdown, and what it deprecates."""
    for item in items:
        if item.get_closest_marker("ray"):
            for ignored in (
                "ignore::ResourceWarning",
                "ignore::pytest.PytestUnraisableExceptionWarning",
                "ignore::FutureWarning:ray",
                "ignore::DeprecationWarning:ray",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored))
