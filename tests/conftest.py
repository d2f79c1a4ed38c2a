"""Shared by all tests: one thread, and no randomness that a test did not ask for."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two cores must not fight: results with one thread are the same everywhere."""
    import torch

    torch.set_num_threads(1)
