"""A candidate that takes the process along is lost after its tries; nobody else is, and nothing is stuck."""

import faulthandler
import json
import os
import platform
import random
import signal
from collections import Counter, deque
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import moosearch
from moosearch.campaign.events import EventLog
from moosearch.campaign.log import read_events
from moosearch.campaign.observer import Retried
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import Begun, Job, Outcome
from moosearch.evaluators.faults import Retries
from moosearch.evaluators.last_words import LastWords
from moosearch.losses import LOSSES, Stateless, Terms
from moosearch.plan.spec import LimitsSpec
from moosearch.run.conductor import Conductor
from moosearch.run.deaths import Deaths, count_deaths, deaths_in
from moosearch.run.stop import Stop

OPENED, STOPPED, FINISHED = ({"event": name} for name in ("opened", "stopped", "finished"))


def begun(name, number=0):
    return {"event": "begun", "candidate": name, "number": number}


def evaluated(name):
    return {"event": "evaluated", "candidate": {"id": name, "genome": {}, "spec": {}}}


def confirmed(name, number):
    return {"event": "confirmed", "candidate": name, "number": number}


def epoch(name, reached, number=0, **kept):
    return {"event": "epoch", "candidate": name, "number": number, "row": {"epoch": reached}, **kept}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([OPENED, begun("a")], {}),  # it may run still
        ([OPENED, begun("a"), OPENED], {"a": 1}),
        ([OPENED, begun("a"), OPENED, OPENED, begun("a"), OPENED], {"a": 2}),
        ([OPENED, begun("a"), STOPPED, OPENED], {}),
        ([OPENED, begun("a"), OPENED, begun("a"), STOPPED, OPENED], {"a": 1}),
        ([OPENED, begun("a"), FINISHED, OPENED], {}),
        ([OPENED, begun("a"), {"event": "retried", "candidate": "a", "number": 0}, OPENED], {}),
        ([OPENED, begun("a"), evaluated("a"), begun("b"), OPENED], {"b": 1}),
        ([OPENED, begun("a"), begun("b"), OPENED], {"a": 1, "b": 1}),
        ([OPENED, begun("a"), begun("b"), OPENED, begun("b"), evaluated("b"), OPENED], {}),
        # Getting further than ever is no death in vain; getting there once more is.
        ([OPENED, begun("a"), OPENED, begun("a"), epoch("a", 1, checkpoint=True), OPENED], {"a": 1}),
        ([OPENED, begun("a"), OPENED, begun("a"), epoch("a", 1), OPENED], {"a": 2}),
        ([*[OPENED, begun("a"), epoch("a", 1, checkpoint=True)] * 3, OPENED], {"a": 3}),
        ([OPENED, begun("a"), OPENED, begun("a"), {"event": "restored", "files": ["models/a"]}, OPENED], {}),
        ([{"event": "epoch"}, {"event": "begun", "number": "x"}, OPENED, {"event": "restored"}], {}),
    ],
)
def test_deaths_are_counted_in_a_row(events, expected):
    assert count_deaths(events) == {(name, 0): times for name, times in expected.items()}


def test_trainings_of_a_confirmation_are_told_apart():
    events = [OPENED, begun("a", 1), begun("a", 2), confirmed("a", 1), OPENED]
    assert count_deaths(events) == {("a", 2): 1}


def test_a_job_is_on_disk_before_it_begins(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("moosearch.campaign.events.os.fsync", lambda _file: synced.append(1))
    with EventLog(tmp_path / "events.jsonl") as log:
        before = len(synced)
        log(Begun(Job(Candidate("0a", {}, {})), "here", 1))
        assert len(synced) == before + 1


class Dying:
    """A pool of some workers on one machine, which a killer takes along; with a clock, as jobs differ."""

    def __init__(self, workers, killers, seconds):
        self.workers, self.killers, self.seconds = workers, killers, seconds
        self.queue, self.most = deque(), Counter()

    def submit(self, job):
        self.queue.append(job)

    def withdraw(self):
        self.queue.clear()

    def events(self):
        running = []
        while self.queue or running:
            while self.queue and len(running) < self.workers:
                job = self.queue.popleft()
                running.append((self.seconds[job.candidate.id], job))
                yield Begun(job, "here", 1)
            for _, job in running:
                self.most[job.candidate.id] = max(self.most[job.candidate.id], len(running))
            running.sort(key=lambda pair: pair[0])
            spent, job = running.pop(0)
            if job.candidate.id in self.killers:
                raise SystemError("everything is gone")
            running = [(left - spent, other) for left, other in running]
            yield Outcome(Evaluation(job.candidate, "complete", attempts=job.attempt), job)


def campaign(path, names, pool, lost, known):
    """One process of a campaign: what is not known is evaluated, and the log says what happened."""
    with EventLog(path) as log:
        limits = LimitsSpec(retries=Retries(lost=lost))
        conductor = Conductor(pool, limits, log, Stop(), path.with_name, deaths_in(path))
        conductor._checkpoint = lambda job: path.with_name(f"{job.candidate.id}.checkpoint")
        for name in names:
            if name not in known:
                conductor.submit(Job(Candidate(name, {}, {})))
        try:
            for outcome in conductor.outcomes():
                log.keep(outcome.evaluation)
                known[outcome.job.candidate.id] = outcome.evaluation
        except SystemError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_killers_are_lost_innocents_are_not_and_it_ends(tmp_path, workers, lost, seed):
    names = [f"{number:012x}" for number in range(9)]
    rng = random.Random(seed)
    killers = set(rng.sample(names, 2))
    seconds = {name: rng.random() for name in names}
    known, processes = {}, 1
    while not campaign(tmp_path / "log", names, Dying(workers, killers, seconds), lost, known):
        processes += 1
        assert processes < 40
    failed = {name for name, evaluation in known.items() if evaluation.status == "failed"}
    assert known.keys() == set(names)
    assert failed >= killers
    assert {known[name].failure for name in failed} == {"lost"}
    assert {known[name].attempts for name in killers} == {lost + 1}
    if lost or workers == 1:  # where nothing is tried twice, nothing can be told apart
        assert failed == killers
    if workers == 1:
        assert processes == 1 + len(killers) * (lost + 1)


def test_the_last_try_is_made_alone(tmp_path):
    names = [f"{number:012x}" for number in range(4)]
    path = tmp_path / "log"
    seconds = dict.fromkeys(names, 1.0)
    for _ in range(2):
        assert not campaign(path, names, Dying(4, {names[2]}, seconds | {names[2]: 0.5}), 2, {})
    new = [f"{number:012x}" for number in range(4, 6)]
    pool, known = Dying(4, set(), seconds | dict.fromkeys(new, 1.0)), {}
    assert campaign(path, [*new, *names], pool, 2, known)
    assert {name: e.attempts for name, e in known.items()} == dict.fromkeys(names, 3) | dict.fromkeys(new, 1)
    assert list(known) == [*names, *new]
    assert pool.most == dict.fromkeys(names, 1) | dict.fromkeys(new, 2)


KILLER = {"name": "deadly", "kills": {"choice": [False, True]}}


def dies_in_a_process_of_its_own(call):
    """Call something in a copy of this process; say how that ended."""
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        faulthandler.disable()  # pytest's
        try:
            call()
        finally:
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_process_of_another_machine_left_no_note_here(tmp_path, monkeypatch):
    monkeypatch.setattr("moosearch.run.deaths.read_note", lambda pid: LastWords(f"was {pid}"))
    opened = [{"event": "opened", "host": platform.node(), "pid": pid} for pid in (1, 2)]
    log = tmp_path / "log"
    for host, cause in ((platform.node(), "was 1"), ("elsewhere", "")):
        events = [opened[0] | {"host": host}, begun("a"), opened[1]]
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        assert deaths_in(log) == Deaths({("a", 0): 1}, cause)


def test_a_candidate_that_kills_the_serial_evaluators_process_is_lost(tiny, tmp_path):
    """It is tried as often as allowed, by one resume after the other, and the search goes on without it."""

    @LOSSES.register("deadly")
    @dataclass(frozen=True)
    class Deadly(Stateless):
        """Kills its process."""

        kills: bool = False
        needs_clean: ClassVar[bool] = False

        def terms(self, clean, adversarial, labels):
            if self.kills:
                os.kill(os.getpid(), signal.SIGSEGV)
            return Terms(torch.nn.functional.cross_entropy(adversarial.logits[0], labels[0]))

    space = tiny()
    space["candidate"]["architecture"] = {"name": "small_cnn", "width": 2, "depth": 2}
    space["candidate"]["training"] |= {"attack": "none", "loss": KILLER, "optimizer": {"lr": 0.1}}
    space["campaign"] |= {
        "algorithm": "grid",
        "budget": {"population": 2, "generations": 1},
        "limits": {"retries": {"lost": 1}},
    }
    folder = tmp_path / "c"
    heard = []

    def record(event):
        if isinstance(event, Retried):
            heard.append((event.outcome.job.attempt, event.outcome.evaluation.reason))

    try:
        for _ in range(2):
            assert dies_in_a_process_of_its_own(lambda: moosearch.search(space, out=folder)) == -11
        campaign = moosearch.search(space, out=folder, observer=record)
    finally:
        LOSSES._classes.pop("deadly")
    found = {e.candidate.genome["training.loss.kills"]: e for e in campaign.evaluations}
    assert (found[False].status, found[False].attempts) == ("complete", 1)
    assert (found[True].failure, found[True].attempts) == ("lost", 2)
    how = "was ended by signal 11 (SIGSEGV: segmentation fault) while this candidate was evaluated"
    assert found[True].reason.endswith(f"{how}, 2 times in a row")
    begun = Counter(e["candidate"] for e in read_events(folder / "events.jsonl") if e["event"] == "begun")
    assert begun[found[True].candidate.id] == 2
