"""Shared by all tests: one thread, and no randomness that a test did not ask for."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_collection_modifyitems(items):
    """Where tests run in several processes, one of them has Ray: a cluster takes seconds to start."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two cores must not fight: results with one thread are the same everywhere."""
    import torch

    torch.set_num_threads(1)
