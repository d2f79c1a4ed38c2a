"""Two nodes on one machine, one of which is killed: its candidates are done again on the other."""

import time

import pytest

import moosearch
from moosearch.campaign.observer import Retried
from moosearch.job import EpochDone, NodesChanged

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of a head that does no work and two nodes that do; its address, and the nodes."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    working = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, working
    cluster.shutdown()


def wait_for_death():
    """Wait until Ray has noticed that a node of three is gone: it misses heartbeats first."""
    import ray

    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 2 and time.monotonic() < deadline:
        time.sleep(0.2)


def test_a_node_that_dies_changes_nothing(nodes, space, tmp_path, monkeypatch):
    monkeypatch.setattr("moosearch.evaluators.ray_pool.NODES_SECONDS", 0.2)
    cluster, working = nodes
    seen, lost = [], []

    def murder(event):
        match event:
            case EpochDone() if working:
                cluster.remove_node(working.pop(), allow_graceful=False)
            case Retried(outcome):
                lost.append(outcome.evaluation)
                wait_for_death()
            case NodesChanged(known):
                seen.append([node.alive for node in known])

    settings = ["campaign.budget={population: 3, generations: 1}", "candidate.training.epochs=8"]
    where = f"campaign.evaluator={{name: ray, address: '{cluster.address}'}}"
    del working[1:]  # the other one stays
    campaign = moosearch.search(space, out=tmp_path / "ray", overrides=[where, *settings], observer=murder)
    assert [evaluation.failure for evaluation in lost] == ["lost"]
    assert sorted(seen[0]) == [True, True, True]
    assert sorted(seen[-1]) == [False, True, True]
    assert [e.status for e in campaign.evaluations] == ["complete"] * 3
    serial = moosearch.search(
        space, out=tmp_path / "serial", overrides=["campaign.evaluator=serial", *settings]
    )
    assert campaign.folder.front.read_text() == serial.folder.front.read_text()
