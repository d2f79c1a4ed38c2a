"""How far a campaign is, who runs it and what runs where."""

import dataclasses
import io
import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, Group

import moosearch
from moosearch.api.campaign import Campaign
from moosearch.campaign.events import EventLog
from moosearch.campaign.status import FailedCandidate, JobStatus, NodeStatus, read_status
from moosearch.cli import status as command
from moosearch.cli.status import drawn, line_of

BEGUN = {"number": 0, "attempt": 1, "parts": 1, "host": "gpu1", "pid": 7}
NODE = {"name": "gpu1", "address": "10.0.0.1", "alive": True, "cpus": 8.0, "gpus": 2.0}


@pytest.fixture
def folder(finished, tmp_path):
    """A campaign that somebody else's process could be running."""
    return shutil.copytree(finished.folder.root, tmp_path / "c")


@pytest.fixture
def campaign(folder):
    return Campaign(folder)


@pytest.fixture
def log(campaign):
    """The log of a process that runs it: two nodes, one of them gone; two jobs, one of them tried again."""
    with EventLog(campaign.folder.events) as log:
        log.append("started", known=8, workers=2)
        log.append("nodes", nodes=[NODE, {**NODE, "name": "gpu2", "alive": False}])
        log.append("begun", candidate="a" * 12, **BEGUN)
        log.append("begun", candidate="b" * 12, **BEGUN)
        log.append("retried", candidate="b" * 12, number=0, attempt=1, failure="lost", error="gone")
        log.append("begun", candidate="b" * 12, **{**BEGUN, "attempt": 2})
        log.append("epoch", candidate="b" * 12, number=0, epochs=4, row={"epoch": 3.0})
        yield log


def text(found, rows=0):
    console = Console(file=io.StringIO(), width=100, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(Group(*drawn(found, rows)))
    return capture.get()


def test_a_finished_campaign(finished):
    found = read_status(finished)
    assert (found.state, found.running, found.ended) == ("finished", False, "finished")
    assert (found.done, found.total, found.waiting) == (8, 8, 0)
    assert found.driver is None
    assert found.jobs == ()
    assert found.left is None
    assert [row["generation"] for row in found.history] == [1, 2]
    assert found.history[-1]["hypervolume"] == finished.front.hypervolume()
    best = finished.front.best("flops")
    assert found.best["flops"] == {"value": best.objectives["flops"], "candidate": best.candidate.id}
    (node,) = found.nodes
    assert node.name == finished.evaluations[0].provenance["host"]
    assert (node.done, node.running, node.nodes) == (8, 0, 0)


def test_what_runs_where(campaign, log):
    with campaign.folder.lock():
        found = read_status(campaign, datetime.now(UTC) + timedelta(seconds=60))
        assert found.running
        assert found.workers == 2
        assert found.driver.seconds >= 58
        first, second = found.jobs
        assert (first.candidate, first.host, first.attempt, first.epochs) == ("a" * 12, "gpu1", 1, 0)
        assert (second.candidate, second.attempt, second.epoch, second.epochs) == ("b" * 12, 2, 3, 4)
        assert 60 <= first.seconds < 120
        assert found.retries == {"lost": 1}
        one, other, past = found.nodes
        assert (one.name, one.address, one.alive, one.cpus, one.gpus, one.running) == (
            "gpu1",
            "10.0.0.1",
            1,
            8.0,
            2.0,
            2,
        )
        assert (other.name, other.alive, other.nodes, other.running) == ("gpu2", 0, 1, 0)
        assert past.done == 8
        shown = text(found)
    assert "tried again: 1 lost" in shown
    assert "3/4" in shown
    assert "10.0.0.1" in shown


def test_nodes_of_one_machine_are_one_row(campaign, log):
    log.append("nodes", nodes=[NODE, NODE, {**NODE, "alive": False}])
    with campaign.folder.lock():
        found = read_status(campaign)
    node = found.nodes[0]
    assert (node.nodes, node.alive, node.cpus, node.running) == (3, 2, 16.0, 2)
    assert "2 of 3" in text(found)


def test_nothing_runs_where_the_driver_is_dead(campaign, log):
    found = read_status(campaign)
    assert not found.running
    assert found.jobs == ()
    assert found.driver is None
    assert found.pace is None
    assert all(node.running == node.alive == 0 for node in found.nodes)
    assert "epoch" not in text(found)  # a column of what runs


def test_a_process_that_just_came_runs_nothing_yet(campaign, log):
    with campaign.folder.lock(), EventLog(campaign.folder.events):
        found = read_status(campaign)
    assert found.running
    assert found.jobs == ()


def test_who_runs_it(campaign, log):
    with campaign.folder.lock():
        told = {"host": "node\x1b7", "pid": 4711, "user": "maria", "since": "2026-01-01T00:00:00+00:00"}
        campaign.folder.driver.write_text(json.dumps(told))
        found = read_status(campaign, datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
        assert (found.driver.host, found.driver.pid, found.driver.user) == ("node 7", 4711, "maria")
        assert found.driver.seconds == 60
        assert "run by maria on node 7 (process 4711) for 1:00" in text(found)
        for broken in ("", "[]", '{"host": 3}', "[" * 100_000, '{"since": "x", "host": "h", "pid": "p"}'):
            campaign.folder.driver.write_text(broken)
            assert read_status(campaign).driver.host == log._now.host  # as the log has it


def test_pace_counts_epochs_that_are_done(folder, log):
    """3 of 4 epochs of one candidate in 60 s: 80 s a candidate, of 8 - 8 nothing left."""
    found = Campaign(folder)
    with found.folder.lock():
        status = read_status(found, datetime.now(UTC) + timedelta(seconds=60))
    assert status.pace == pytest.approx(80, rel=0.05)
    assert status.left == 0


def test_why_it_stopped(tiny, tmp_path):
    import moosearch.run.stop

    stop = moosearch.run.stop.Stop()
    stop.request()
    with pytest.raises(moosearch.errors.Stopped):
        moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.name=tiny"], stop=stop)
    campaign = Campaign(tmp_path / "c")
    found = read_status(campaign)
    assert (found.state, found.ended) == ("stopped", "stopped as asked")
    assert "stopped as asked" in text(found)
    assert "moosearch resume" in text(found)
    with EventLog(campaign.folder.events):
        pass
    assert "its process ended without a word" in text(read_status(campaign))


def test_the_lock_is_taken_once(campaign, monkeypatch):
    looks = []
    cls = type(campaign.folder)
    monkeypatch.setattr(cls, "running", property(lambda _: bool(looks.append(1))))
    read_status(campaign)
    assert len(looks) == 1


@pytest.mark.parametrize("retries", [{}, {"lost": 3}])
def test_a_screen_is_enough(finished, retries):
    found = dataclasses.replace(
        read_status(finished),
        running=True,
        state="running",
        jobs=tuple(JobStatus(f"{i:012x}", 0, 0, "node", 1, 1, i, 90, 5.0 * i) for i in range(64)),
        nodes=tuple(NodeStatus(f"node{i}", "10.0.0.1", 1, 1, 4.0, 1.0, 8, 9) for i in range(8)),
        history=read_status(finished).history * 20,
        failed=tuple(FailedCandidate("a" * 12, "nan", 1, "Diverged") for _ in range(30)),
        failures={"nan": 30},
        retries=retries,
    )
    lines = text(found, 29).splitlines()
    assert len(lines) <= 29
    assert max(map(len, lines)) <= 100
    shown = "\n".join(lines)
    assert "and 28 more failed" in shown
    for table in ("epoch", "address", "hypervolume"):
        assert table in shown


def test_json_is_strict_and_whole(cli, folder, log):
    code, out, _ = cli("status", folder, "--json")
    assert code == 0

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(out, parse_constant=refuse)
    assert found.keys() == {field.name for field in dataclasses.fields(read_status(Campaign(folder)))}
    assert found["state"] == "finished"


def test_watching_ends_with_the_campaign(cli, finished):
    code, out, _ = cli("status", finished.folder.root, "--watch")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert out.startswith("tiny: finished; generation 2/2, 8/8 candidates done")


def test_watching_says_what_changed(cli, folder, log, monkeypatch):
    """A pipe gets a line a change, not a line a look."""
    campaign = Campaign(folder)
    lock = campaign.folder.lock()
    lock.__enter__()
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            log.append("begun", candidate="c" * 12, **BEGUN)
        if len(looks) == 5:
            lock.__exit__(None, None, None)

    monkeypatch.setattr(command.time, "sleep", sleep)
    code, out, _ = cli("status", folder, "--watch", "--interval", "7")
    assert code == 0
    assert looks == [7.0] * 5
    first, second, last = out.splitlines()
    assert "2 running" in first
    assert "3 running" in second
    assert "tried again 1 lost" in last
    assert "; 3 running" not in last


def test_watching_on_a_terminal(finished, monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    monkeypatch.setattr(command, "out", console)
    command._watch(iter([read_status(finished)] * 2), as_json=False)
    assert "tiny: finished" in console.file.getvalue()


def test_ctrl_c_ends_watching(cli, finished, monkeypatch):
    def interrupted(campaign, at=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("moosearch.campaign.status.read_status", interrupted)
    code, out, err = cli("status", finished.folder.root, "--watch")
    assert (code, out, err) == (0, "", "")


def test_watching_bears_with_a_campaign_that_cannot_be_read_for_once(monkeypatch, finished):
    answers = iter([moosearch.errors.CampaignError("locked")] * 2 + [read_status(finished)])

    def read(campaign):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("moosearch.campaign.status.read_status", read)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    assert [found.state for found in command._looks(finished, 1)] == ["finished"]
    answers = iter([moosearch.errors.CampaignError("locked")] * 3)
    with pytest.raises(moosearch.errors.CampaignError):
        list(command._looks(finished, 1))


def test_a_line_tells_what_matters(finished):
    found = dataclasses.replace(read_status(finished), retries={"memory": 2, "lost": 0})
    assert "tried again 2 memory;" in line_of(found)
