"""The object store has room for what is sent, and has it itself; why Ray cannot start is said in one line."""

import math

import pytest

from moosearch.data.digits import Digits
from moosearch.data.double_digits import DoubleDigits
from moosearch.errors import CampaignError
from moosearch.evaluators import Resources, Work
from moosearch.evaluators import ray_cluster as ray_cluster_module
from moosearch.evaluators.ray_cluster import LocalCluster
from moosearch.evaluators.ray_pool import RayPool
from moosearch.evaluators.ray_store import (
    GIB,
    LEAST,
    MIB,
    MOST,
    Memory,
    check_memory,
    memory_here,
    store_bytes,
)

ROOMY = Memory(64 * GIB, 60 * GIB, 32 * GIB)
SHORT = Memory(24 * GIB, 4 * GIB, 24 * GIB)
"""4 GiB free of 24, and shared memory that looks free, as it does where memory is used up by processes."""


@pytest.mark.parametrize(
    ("images", "weights", "workers", "memory", "expected"),
    [
        (0, 0, 2, ROOMY, LEAST),
        (500_000, 100_000, 2, SHORT, LEAST),  # digits
        (180 * MIB, 45 * MIB, 2, ROOMY, int(1.25 * (180 + 2 * 16 * 45)) * MIB),  # CIFAR-10, ResNet-18
        (180 * MIB, 45 * MIB, 2, SHORT, int(1.25 * (180 + 2 * 16 * 45)) * MIB),
        (10 * GIB, 0, 1, SHORT, 2 * GIB),  # the rest is written to the disk
        (100 * GIB, 0, 1, ROOMY, MOST),
        (10 * GIB, 0, 1, Memory(64 * GIB, 60 * GIB, GIB), GIB),
        (10 * GIB, 0, 1, Memory(64 * GIB, 60 * GIB, 64 * MIB), LEAST),  # as in Docker
        (10 * GIB, 0, 1, Memory(64 * GIB, 60 * GIB, 0), int(1.25 * 10 * GIB)),
    ],
)
def test_sizes(images, weights, workers, memory, expected):
    assert store_bytes(images, weights, workers, memory) == expected


def test_where_memory_is_used_up_one_line_names_serial():
    check_memory(SHORT)
    check_memory(memory_here())
    with pytest.raises(CampaignError) as caught:
        check_memory(Memory(24 * GIB, 2 * GIB, 24 * GIB))
    said = str(caught.value)
    assert "2.0 of 24.0 GiB are free" in said
    assert "--evaluator serial" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "dataset",
    [Digits(), Digits(size=4, train_size=100), DoubleDigits(source="digits", canvas=20, images=200)],
)
def test_a_dataset_says_how_large_it_will_be(dataset):
    splits = dataset.load()
    tensors = [tensor for split in (splits.train, splits.val, splits.test) for tensor in (split.x, split.y)]
    assert dataset.prepare() == sum(t.numel() * t.element_size() for t in tensors)


@pytest.fixture
def asked(monkeypatch):
    """What Ray is started with, and refuses as it would."""
    asked = {}

    def refuse(**arguments):
        asked.update(arguments)
        raise ValueError(
            "After taking into account object store and redis memory usage, the amount of memory on this "
            "node available for tasks and actors (-8.1 GB) is less than 5% of total. You can adjust these "
            "settings with ray.init(memory=<bytes>, object_store_memory=<bytes>).\nMore of it."
        )

    monkeypatch.setattr("ray.init", refuse)
    return asked


@pytest.mark.ray
def test_a_cluster_is_started_with_a_store_of_what_is_sent(asked, monkeypatch):
    monkeypatch.setattr(ray_cluster_module, "memory_here", lambda: SHORT)
    work = Work(0, (), images=180 * MIB, weights=45 * MIB)
    cluster = RayPool(workers=2).cluster(Resources(), work)
    assert isinstance(cluster, LocalCluster)
    with pytest.raises(CampaignError) as caught:
        cluster.start()
    cluster.stop()
    workers = max(2, cluster._cpus)
    assert asked["object_store_memory"] == store_bytes(180 * MIB, 45 * MIB, workers, SHORT)
    assert math.isfinite(asked["_memory"])
    said = str(caught.value)
    assert "--evaluator serial" in said
    assert "ray.init" not in said
    assert "\n" not in said
