"""What is tried again, what is kept for later, and how a campaign stops."""

import contextlib
from collections import deque

import pytest

from moosearch.campaign.observer import Retried
from moosearch.errors import Stopped
from moosearch.evaluation import Candidate, Evaluation
from moosearch.evaluators import Begun, EpochDone, Job, Outcome
from moosearch.evaluators.faults import Retries
from moosearch.job import failure
from moosearch.plan.spec import LimitsSpec
from moosearch.run.conductor import Conductor
from moosearch.run.stop import Stop


class ScriptedPool:
    """One job after the other, each with an epoch and the end that a script has for the next one."""

    workers = 1

    def __init__(self, *ends):
        self.ends, self.queue, self.jobs, self.closed = deque(ends), deque(), [], False

    def submit(self, job):
        self.queue.append(job)

    def withdraw(self):
        self.queue.clear()

    def events(self):
        try:
            while self.queue:
                job = self.queue.popleft()
                self.jobs.append(job)
                yield Begun(job, "here", 1)
                yield EpochDone(job, 2, {"epoch": 1}, b"weights")
                end = self.ends.popleft()
                if end == "complete":
                    yield Outcome(Evaluation(job.candidate, "complete"), job)
                else:
                    yield failure(job, end, "no luck")
        finally:
            self.closed = True


class Recorder:
    def __init__(self):
        self.events, self.at_epoch = [], lambda: None

    def __call__(self, event):
        match event:
            case Begun():
                self.events.append("begun")
            case EpochDone():
                self.events.append("epoch")
                self.at_epoch()
            case Retried(outcome):
                self.events.append(f"retried {outcome.evaluation.failure}")


def job(name="a"):
    return Job(Candidate(name, {}, {}))


def see_through(conductor, store):
    for outcome in conductor.outcomes():
        store(outcome)


@pytest.fixture
def conduct(tmp_path):
    """Return a conductor of a scripted pool, with its pool, stop and observer."""

    def make(*ends):
        pool, stop, observer = ScriptedPool(*ends), Stop(), Recorder()
        limits = LimitsSpec(retries=Retries(lost=1, memory=1))
        conductor = Conductor(
            pool, limits, observer, stop, lambda job: tmp_path / f"{job.candidate.id}.safetensors"
        )
        return conductor, pool, stop, observer

    return make


def test_only_final_outcomes_come_back(conduct):
    conductor, pool, _, observer = conduct("lost", "complete")
    conductor.submit(job())
    (outcome,) = conductor.outcomes()
    assert outcome.evaluation.status == "complete"
    assert outcome.job.attempt == 2
    assert observer.events == ["begun", "epoch", "retried lost", "begun", "epoch"]
    # The second attempt goes on where the first one was.
    assert [each.checkpoint for each in pool.jobs] == [b"", b"weights"]


def test_a_checkpoint_goes_when_the_outcome_is_stored(conduct, tmp_path):
    conductor, *_ = conduct("complete")
    conductor.submit(job())
    for _ in conductor.outcomes():
        assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_that_could_not_be_stored_keeps_its_checkpoint(conduct, tmp_path):
    conductor, pool, stop, _ = conduct("complete", "complete")
    conductor.submit(job())

    def store(_outcome):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        see_through(conductor, store)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert pool.closed
    assert not stop.busy


def test_what_runs_is_finished_and_nothing_new_is_begun(conduct):
    conductor, pool, stop, _ = conduct("complete", "complete")
    for name in "ab":
        conductor.submit(job(name))
    found = []

    def store(outcome):
        found.append(outcome.job.candidate.id)
        stop.request()
        conductor.submit(job("c"))

    with pytest.raises(Stopped):
        see_through(conductor, store)
    assert found == ["a"]
    assert [each.candidate.id for each in pool.jobs] == ["a"]


def test_a_failure_that_would_be_tried_again_is_left_to_whoever_goes_on(conduct):
    conductor, pool, stop, observer = conduct("lost", "complete")
    observer.at_epoch = stop.request
    conductor.submit(job())
    with pytest.raises(Stopped):
        assert list(conductor.outcomes()) == []
    assert len(pool.jobs) == 1


def test_a_wish_before_anything_runs(conduct):
    conductor, pool, stop, _ = conduct("complete")
    conductor.submit(job())
    stop.request()
    with pytest.raises(Stopped):
        list(conductor.outcomes())
    assert pool.jobs == []


def test_an_end_waits_for_what_is_being_stored(conduct, tmp_path):
    conductor, pool, stop, _ = conduct("complete", "complete")
    for name in "ab":
        conductor.submit(job(name))
    stored = []

    def store(outcome):
        stop.end(KeyboardInterrupt())
        stored.append(outcome.job.candidate.id)

    with pytest.raises(KeyboardInterrupt):
        see_through(conductor, store)
    assert stored == ["a"]
    assert list(tmp_path.iterdir()) == []
    assert len(pool.jobs) == 1
    assert pool.closed


def test_an_end_that_a_library_swallowed_is_not_forgotten(conduct):
    conductor, pool, stop, _ = conduct("complete", "complete")
    begin = pool.events

    def events():
        for number, event in enumerate(begin()):
            if number == 1:
                with contextlib.suppress(KeyboardInterrupt):
                    stop.end(KeyboardInterrupt())
            yield event

    pool.events = events
    conductor.submit(job())
    with pytest.raises(KeyboardInterrupt):
        list(conductor.outcomes())
