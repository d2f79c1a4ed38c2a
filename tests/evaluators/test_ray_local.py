"""A cluster of our own: nobody else reaches it, it comes again when it dies, and nothing of it stays."""

import ipaddress
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

import moosearch
from moosearch.campaign.log import read_events
from moosearch.campaign.observer import Retried
from moosearch.job import EpochDone, NodesChanged

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONGER = ["candidate.training.epochs=8", "campaign.budget={population: 3, generations: 1}"]
RAY = "campaign.evaluator={name: ray, workers: 2}"


def psutil():
    import ray  # noqa: F401 (brings it)

    return __import__("psutil")


def family(pid=None):
    return psutil().Process(pid).children(recursive=True)


def lives(process):
    return process.is_running() and process.status() != "zombie"


def is_loopback(ip):
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class Murderer:
    """Kills a server of the cluster after an epoch, another one after some candidates."""

    def __init__(self):
        self.threads = set()
        self.listening, self.killed, self.lost, self.nodes = [], [], [], []

    def __call__(self, event):
        match event:
            case EpochDone(row=row):
                self.murder(row["epoch"])
            case Retried(outcome):
                self.lost.append(outcome.evaluation)
            case NodesChanged(nodes):
                self.nodes.append(nodes)

    def murder(self, epoch):
        if not self.killed:
            self.threads = {
                process.environ().get("OMP_NUM_THREADS")
                for process in family()
                if process.name().startswith("ray::_eval")
            }
            self.listening = [
                (process.name(), connection.laddr.ip)
                for process in [psutil().Process(), *family()]
                for connection in process.net_connections("inet")
                if connection.status == "LISTEN"
            ]
            self.kill("raylet")
        if len(self.killed) == 1 and self.lost and epoch > 1:
            self.kill("gcs_server")

    def kill(self, name):
        (process,) = [process for process in family() if process.name() == name]
        process.kill()
        wait_until(lambda: not lives(process), 30)  # a signal takes effect when it likes
        self.killed.append(name)


def test_its_servers_are_killed_and_the_front_is_that_of_serial(space, tmp_path, monkeypatch):
    """And while it runs, nothing of it listens beyond this machine, and afterwards nothing of it runs."""
    before = set(family())
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    murderer = Murderer()
    campaign = moosearch.search(space, out=tmp_path / "ray", overrides=[RAY, *LONGER], observer=murderer)
    assert murderer.killed == ["raylet", "gcs_server"]
    assert murderer.threads == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert not [name for name in os.environ if name.startswith("RAY_AUTH")]
    assert len(murderer.lost) >= 2
    assert {evaluation.failure for evaluation in murderer.lost} == {"lost"}
    assert [e.status for e in campaign.evaluations] == ["complete"] * 3
    assert {"raylet", "gcs_server"} <= {name for name, _ in murderer.listening}
    assert not [(name, ip) for name, ip in murderer.listening if not is_loopback(ip)]
    assert len(murderer.nodes) == 3  # at the start, and after each start
    assert all(nodes[0].alive and nodes[0].cpus >= 2 for nodes in murderer.nodes)
    assert not [process for process in family() if process not in before and lives(process)]
    serial = moosearch.search(
        space, out=tmp_path / "serial", overrides=["campaign.evaluator=serial", *LONGER]
    )
    assert campaign.folder.front.read_text() == serial.folder.front.read_text()


@pytest.fixture
def started(space, tmp_path):
    """Start a command in a session of its own, and end all of it in the end."""
    processes = []

    def start(*arguments):
        # A test run that was started in the background ignores Ctrl-C, and its children would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "moosearch", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def heard(folder, event):
    """What a campaign's log says of some event."""
    path = folder / "events.jsonl"
    return [entry for entry in read_events(path) if entry["event"] == event] if path.exists() else []


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


def test_ctrl_c_reaches_no_worker_and_kill_9_leaves_none(space, tmp_path, started):
    """A terminal sends Ctrl-C to all processes of its group: candidates finish all the same."""
    path, folder = tmp_path / "space.yaml", tmp_path / "c"
    path.write_text(yaml.safe_dump(space))
    process = started("search", path, "--out", folder, "--set", RAY, "--set", "candidate.training.epochs=20")
    wait_until(lambda: len(heard(folder, "begun")) == 2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not heard(folder, "retried")
    done = moosearch.Campaign(folder).evaluations
    assert [e.status for e in done] == ["complete"] * 2

    process = started("resume", folder)
    wait_until(lambda: len(heard(folder, "begun")) == 4)
    rays = [each for each in family(process.pid) if lives(each)]
    assert {"raylet", "gcs_server"} <= {each.name() for each in rays}
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(lives, rays)), seconds=20)


def test_a_cluster_that_does_not_come_again_is_lost(space, tmp_path, monkeypatch):
    import moosearch.evaluators.ray_pool
    from moosearch.errors import EvaluatorLostError

    monkeypatch.setattr(moosearch.evaluators.ray_pool, "RESTARTS", 0)
    before = set(family())
    with pytest.raises(EvaluatorLostError, match=r"Ray is gone.*: its raylet died"):
        moosearch.search(space, out=tmp_path / "c", overrides=[RAY, *LONGER], observer=Murderer())
    assert not [process for process in family() if process not in before and lives(process)]
