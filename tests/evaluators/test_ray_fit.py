"""How many candidates fit, on one node each."""

import pytest

from moosearch.errors import CampaignError
from moosearch.evaluators import Resources
from moosearch.evaluators.ray_fit import Offer, fit
from moosearch.evaluators.ray_pool import _Pool


def offers(*nodes):
    return [Offer(f"n{number}", node) for number, node in enumerate(nodes)]


CPU4 = {"CPU": 4.0, "node:10.0.0.1": 1.0, "memory": 1e9}
GPU1 = {"CPU": 4.0, "GPU": 1.0}
GPU2 = {"CPU": 16.0, "GPU": 2.0, "a100": 2.0}


@pytest.mark.parametrize(
    ("nodes", "resources", "workers", "expected"),
    [
        ([CPU4], Resources(), 0, (4, 0.0)),
        ([CPU4], Resources(), 3, (3, 0.0)),
        ([CPU4], Resources(), 9, (4, 0.0)),
        ([CPU4, CPU4], Resources(cpus=3), 0, (2, 0.0)),  # not 8 // 3: a candidate is on one node
        ([GPU1], Resources(gpus=0.25), 0, (4, 0.25)),
        ([GPU1], Resources(gpus=0.3), 0, (3, 0.3)),
        ([GPU1], Resources(), 1, (1, 1.0)),
        ([GPU1], Resources(), 0, (1, 1.0)),  # how many it has memory for is not known
        ([GPU1, GPU2], Resources(), 16, (3, 1.0)),
        ([GPU1], Resources(device="cuda"), 0, (1, 1.0)),
        ([GPU1], Resources(device="cpu"), 0, (4, 0.0)),
        ([CPU4, GPU1], Resources(device="cpu"), 0, (8, 0.0)),
        ([GPU2], Resources(gpus=0.6), 0, (2, 0.6)),
        ([GPU2], Resources(gpus=2), 0, (1, 2.0)),
        ([GPU2], Resources(gpus=0), 0, (16, 0.0)),
        ([CPU4, GPU1], Resources(), 0, (1, 1.0)),  # results are those of one kind of device
        ([CPU4, GPU1], Resources(gpus=0), 0, (8, 0.0)),
        ([GPU1, GPU2], Resources(custom={"a100": 0.5}), 0, (2, 1.0)),
        ([GPU1, GPU2], Resources(custom={"a100": 1}, gpus=1), 0, (2, 1.0)),
    ],
)
def test_counts(nodes, resources, workers, expected):
    assert fit(offers(*nodes), resources, workers) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "most", "expected"),
    [
        ([GPU1], 0, 9, (4, 0.25)),  # one a core
        ([GPU1], 0, 3, (3, 0.3333)),
        ([GPU1], 3, 9, (3, 0.3333)),
        ([GPU2], 3, 9, (3, 0.5)),  # of 2/3 of a GPU, each GPU would hold one
        ([GPU2], 0, 4, (8, 0.25)),
        ([CPU4, GPU1], 0, 9, (4, 0.25)),
        ([{"CPU": 64.0, "GPU": 1.0}], 0, 10, (10, 0.1)),
        ([{"CPU": 64.0, "GPU": 1.0}], 64, 1, (1, 1.0)),
    ],
)
def test_a_gpu_is_shared_as_far_as_its_memory_goes(nodes, workers, most, expected):
    assert fit(offers(*nodes), Resources(), workers, most) == expected


def test_a_gpu_that_is_asked_for_and_not_there_is_refused():
    with pytest.raises(CampaignError, match="asks for 1 CPUs and 1 GPUs of one node"):
        fit(offers(CPU4), Resources(device="cuda"), 0)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(cpus=8), "asks for 8 CPUs of one node, and no node has them: n0 has 4 CPUs, 0 GPUs; n1"),
        (Resources(gpus=2), "asks for 1 CPUs and 2 GPUs"),
        (Resources(custom={"a10": 1}), "'a10'. Did you mean 'a100'?"),
        (Resources(custom={"a100": 2}), "asks for 1 CPUs and 2 a100"),
        (Resources(custom={"GPU": 1}), "set campaign.resources.gpus instead"),
        (Resources(gpus=1.5), "fractions below 1 and whole numbers"),
    ],
)
def test_what_fits_nowhere_is_refused_with_what_there_is(resources, message):
    nodes = offers(CPU4, {"CPU": 4.0, "GPU": 1.0, "a100": 1.0})
    with pytest.raises(CampaignError) as caught:
        fit(nodes, resources, 0)
    assert message in str(caught.value)


def test_an_empty_cluster_is_refused():
    with pytest.raises(CampaignError, match="there is none"):
        fit([], Resources(), 0)


def test_nodes_are_not_asked_for_while_the_head_is_silent():
    """Ray would wait for a dead head, and end the process: what becomes of it is `trouble`'s to say."""
    import socket

    from moosearch.evaluators.ray_cluster import JoinedCluster

    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        cluster = JoinedCluster("127.0.0.1:1", {})
        assert cluster.answers(), "it has not been joined yet"
        cluster._head = head.getsockname()
        assert cluster.answers()
    assert not cluster.answers()

    class Silent:
        def answers(self):
            return False

        def nodes(self):
            raise AssertionError

    pool = _Pool.__new__(_Pool)
    pool._cluster, pool._nodes, pool._asked = Silent(), (), 0.0
    assert list(pool._look_after_nodes()) == []
