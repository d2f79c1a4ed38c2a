"""Small made-up files in the layouts of the real ones; copies of arrays go to a folder of the test."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def made_up(classes=3, train=20, test=4, shape=(6, 6, 3), seed=0):
    """Members of a file: noise whose mean grows with the class, ``train`` and ``test`` images a class."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for part, each in (("train", train), ("test", test)):
        y = np.tile(np.arange(classes), each)
        noise = generator.integers(0, 100, (len(y), *shape))
        arrays[f"x_{part}"] = (noise + (y * (150 // classes)).reshape(-1, *[1] * len(shape))).astype(np.uint8)
        arrays[f"y_{part}"] = y
    return arrays


@pytest.fixture
def npz(tmp_path):
    """Write an .npz file of made-up images; keywords are of `made_up` or further members."""

    def write(name="images.npz", *, without=(), **members):
        sizes = {
            key: members.pop(key) for key in ("classes", "train", "test", "shape", "seed") if key in members
        }
        arrays = made_up(**sizes) | members
        path = tmp_path / name
        np.savez(path, **{key: value for key, value in arrays.items() if key not in without})
        return str(path)

    return write
