"""The log: whole lines or none, strict JSON, read from its end."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest

from moosearch.campaign import events
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import DamagedError
from moosearch.campaign.log import dumps, parted, read_events, repair
from moosearch.campaign.now import Now, RunningJob, parse, read_now
from moosearch.campaign.observer import Finished, Interrupted
from moosearch.job import Node

BEGUN = {"number": 0, "attempt": 1, "parts": 1, "host": "here", "pid": 7}
HOSTILE = [
    b"",
    b"\xff\xfe\x00",
    b"{",
    b'"text"',
    b"[" * 100_000,
    b'{"event": 3}',
    b"9" * 5000,
    b'{"event": "now"}',
    b'{"event": "now", "jobs": 3, "nodes": null}',
    b'{"event": "begun"}',
    b'{"event": "begun", "time": 3, "candidate": [], "number": "x"}',
    b'{"event": "begun", "time": "", "candidate": "a", "number": 1e999, "attempt": 1, "host": "h", "pid": 1}',
    b'{"event": "epoch", "time": "t", "candidate": "a", "number": 0, "epochs": 1, "row": []}',
    b'{"event": "evaluated", "time": "t", "candidate": {}}',
    b'{"event": "evaluated", "time": "t", "candidate": {"id": ["a"]}}',
    b'{"event": "nodes", "time": "t", "nodes": [{"name": "n"}]}',
    b'{"event": "retried", "time": "t", "candidate": "a", "failure": {}}',
    b'{"event": "started", "time": "t", "workers": null}',
    b'{"event": "stopped", "time": "t"}',
    b'{"event": "restored", "time": "t", "files": [3]}',
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def kinds(path):
    return [event["event"] for event in read_events(path)]


def test_who_writes_is_said_first(path):
    with EventLog(path):
        pass
    (opened,) = read_events(path)
    assert opened["event"] == "opened"
    assert opened["pid"] == os.getpid()
    assert opened["versions"]["torch"]


def test_a_number_that_json_does_not_have_is_null(path):
    row = {"loss": math.nan, "rows": [math.inf, 1.0], "deep": {"low": -math.inf}}
    with EventLog(path) as log:
        log.append("epoch", row=row, accuracy=np.float32(0.5), count=np.int64(3), bad=np.float32("nan"))

    def refuse(name):
        raise AssertionError(name)

    line = json.loads(path.read_text().splitlines()[-1], parse_constant=refuse)
    assert line["row"] == {"loss": None, "rows": [None, 1.0], "deep": {"low": None}}
    assert (line["accuracy"], line["count"], line["bad"]) == (0.5, 3, None)
    assert dumps(1.5) == "1.5"


def test_a_torn_last_line_is_cut_at_the_next_start(path):
    with EventLog(path) as log:
        log.append("one")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time": "2026", "event": "tw')
    assert kinds(path) == ["opened", "one"]
    with EventLog(path) as log:
        log.append("two")
    assert path.read_bytes().startswith(whole)
    assert [k for k in kinds(path) if k != "now"] == ["opened", "one", "opened", "two"]


def test_a_file_of_nothing_but_a_torn_line_is_emptied(path):
    path.write_bytes(b"x" * 200_000)
    with EventLog(path):
        pass
    assert kinds(path) == ["opened"]


@pytest.mark.parametrize("survives", [0, 1, 20])
def test_what_cannot_be_written_whole_is_not_there(path, monkeypatch, survives):
    real = os.write
    left = survives

    def write(descriptor, data):
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        left -= (written := real(descriptor, bytes(data[:left])))
        return written

    with EventLog(path) as log:
        log.append("before")
        whole = path.read_bytes()
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            log.append("lost")
        assert path.read_bytes() == whole
        monkeypatch.setattr(os, "write", real)
        log.append("after")
    assert kinds(path) == ["opened", "before", "after"]


def test_writes_in_pieces_make_a_whole_line(path, monkeypatch):
    real = os.write
    with EventLog(path) as log:
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:7])))
        log.append("one", text="ä" * 50)
    assert [*read_events(path)][-1]["text"] == "ä" * 50


def test_durable_events_are_on_disk_before_the_campaign_goes_on(path, monkeypatch, finished):
    real, synced = os.fsync, []

    def fsync(descriptor):
        synced.append(path.read_bytes() if path.exists() else b"")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with EventLog(path) as log:
        synced.clear()
        log.append("epoch")
        assert not synced
        log.keep(finished.evaluations[0])
        assert len(synced) == 1
        assert synced[0] == path.read_bytes()
        log(Finished())
        assert len(synced) == 2
    (kept,) = (event for event in read_events(path) if event["event"] == "evaluated")
    assert kept["candidate"]["id"] == finished.evaluations[0].candidate.id


def test_a_campaign_is_told_from_its_start_to_its_end(finished):
    told = [*read_events(finished.folder.events)]
    names = [event["event"] for event in told]
    assert names[0] == "opened"
    assert names[-1] == "finished"
    for name, times in {
        "created": 1,
        "started": 1,
        "generation_finished": 2,
        "evaluated": 8,
        "begun": 8,
    }.items():
        assert names.count(name) == times, name
    begun = next(event for event in told if event["event"] == "begun")
    assert {"candidate", "number", "attempt", "parts", "host", "pid", "time"} <= begun.keys()
    evaluated = next(event for event in told if event["event"] == "evaluated")
    assert evaluated["seconds"]["total"] > 0
    assert evaluated["provenance"]["host"] == begun["host"]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_foreign_lines_change_nothing(path, line):
    with EventLog(path) as log:
        log.append("started", known=0, workers=2)
        log.append("begun", candidate="a" * 12, **BEGUN)
    before = read_now(path)
    with path.open("ab") as stream:
        stream.write(line + b"\n")
    assert dataclasses.replace(read_now(path), last=before.last) == before
    with pytest.raises(DamagedError, match=r"events\.jsonl, line 4: not as written"):
        kinds(path)
    with pytest.raises(DamagedError, match="line 4"):
        EventLog(path)
    whole = path.read_bytes()
    assert repair(path) == ("events.jsonl.damaged-1", [4])
    assert path.with_name("events.jsonl.damaged-1").read_bytes() == whole
    assert kinds(path) == ["opened", "started", "begun"]
    assert path.read_bytes() + line + b"\n" == whole


def test_what_a_terminal_would_obey_is_not_kept(path):
    with EventLog(path) as log:
        log.append("begun", candidate="a" * 12, **{**BEGUN, "host": "\x1b[31mred\n" + "x" * 9999})
    host = read_now(path).jobs[0].host
    assert host.isprintable()
    assert len(host) <= 500


def test_what_runs_is_what_begun_and_did_not_end(path):
    a, b, c = ("a" * 12, "b" * 12, "c" * 12)
    node = {"name": "n", "address": "10.0.0.1", "alive": True, "cpus": 4, "gpus": 0.5}
    with EventLog(path) as log:
        log.append("started", known=0, workers=2)
        log.append("nodes", nodes=[node])
        for identity in (a, b, c):
            log.append("begun", candidate=identity, **BEGUN)
        log.append("epoch", candidate=b, number=1, epochs=9, row={"epoch": 4.0, "loss": 1.0})
        log.append("evaluated", candidate={"id": a})
        log.append("retried", candidate=c, number=0, attempt=1, failure="lost", error="x")
        now = read_now(path)
        (job,) = now.jobs
        assert (job.candidate, job.epoch, job.epochs, job.training) == (b, 4, 9, 1)
        assert now.retries == {"lost": 1}
        assert now.done == 1
        assert now.nodes == [Node("n", "10.0.0.1", True, 4.0, 0.5)]
        log.append("begun", candidate=c, **{**BEGUN, "attempt": 2})
        assert [(j.candidate, j.attempt) for j in read_now(path).jobs] == [(b, 1), (c, 2)]
        log(Interrupted("stopped as asked"))
    now = read_now(path)
    assert not now.jobs
    assert now.ended == "stopped as asked"
    with EventLog(path):
        now = read_now(path)
    assert not now.ended
    assert now.nodes == []
    assert now.retries == {"lost": 1}  # of the campaign, not of the process


def test_trainings_of_a_confirmation_are_told_apart(path):
    with EventLog(path) as log:
        log.append("confirmation_started", trainings=3, known=0, workers=2)
        for number in (1, 2):
            log.append("begun", candidate="a" * 12, **{**BEGUN, "number": number})
        log.append("epoch", candidate="a" * 12, number=2, epochs=5, row={"epoch": 3})
        log.append("confirmed", candidate="a" * 12, number=1)
        (job,) = read_now(path).jobs
    assert (job.number, job.epoch) == (2, 3)


def test_weights_that_were_trained_again_are_no_evaluation(path):
    with EventLog(path) as log:
        log.append("started", known=8, workers=1)
        log.append("begun", candidate="a" * 12, **BEGUN)
        log.append("restored", files=["study.db", "models/" + "a" * 12])
    now = read_now(path)
    assert now.jobs == []
    assert now.done == 0


def test_only_the_end_of_a_long_log_is_read(path, monkeypatch):
    """Whatever ran long ago and still does is known all the same."""
    monkeypatch.setattr(events, "INTERVAL", 50)
    monkeypatch.setattr("moosearch.campaign.now.BLOCK", 4096)
    with EventLog(path) as log:
        log.append("started", known=0, workers=2)
        log.append("begun", candidate="f" * 12, **BEGUN)
        for index in range(2000):
            log.append("begun", candidate=f"{index:012x}", **BEGUN)
            log.append("evaluated", candidate={"id": f"{index:012x}"})
    parsed = []
    monkeypatch.setattr("moosearch.campaign.now.parse", lambda line: parsed.append(line) or parse(line))
    now = read_now(path)
    assert len(parsed) <= 52
    assert [job.candidate for job in now.jobs] == ["f" * 12]
    assert now.done == 2000
    # Without what says it all, the whole log says the same.
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if b'"event": "now"' not in line]
    path.write_bytes(b"".join(parted(line)[0] + b"}\n" for line in lines))  # as an older version wrote it
    assert read_now(path) == now
    with EventLog(path):  # and its next writer says it
        pass
    assert kinds(path)[-1] == "now"


def test_now_is_written_and_read_whole():
    job = RunningJob("a" * 12, 1, 2, "h", 3, "2026", 4, 5, 6)
    now = Now(
        "a", "h", 1, "u", "b", "c", True, 2, 3, [job], [Node("n", "a", False, 1.0, 2.0)], {"lost": 2}, "e"
    )
    assert Now.of(json.loads(json.dumps(now.to_tree()))) == now


def test_there_need_be_no_log(tmp_path):
    assert read_now(tmp_path / "none") == Now()
    assert list(read_events(tmp_path / "none")) == []
