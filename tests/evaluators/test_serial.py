"""Serial: one job after the other, more while it runs, and none any more when it is told so."""

import dataclasses

import pytest

from moosearch.evaluation import Candidate
from moosearch.evaluators import Begun, Job, Outcome, Resources, Work
from moosearch.evaluators.serial import Serial


def job(name):
    """A job that fails at once: its recipe is none."""
    return Job(Candidate(name, {}, {}))


@pytest.fixture
def pool():
    with Serial().open(Work(seed=0, objectives=()), Resources()) as pool:
        yield pool


def ended(events):
    return [event.job.candidate.id for event in events if isinstance(event, Outcome)]


def test_jobs_end_in_order_and_more_may_come_meanwhile(pool):
    pool.submit(job("a"))
    pool.submit(job("b"))
    heard = []
    for event in pool.events():
        heard.append(event)
        if isinstance(event, Outcome) and event.job.candidate.id == "a":
            pool.submit(dataclasses.replace(event.job, attempt=2))
            if event.job.attempt == 2:
                pool.withdraw()
    assert [type(event) for event in heard[:2]] == [Begun, Outcome]
    assert ended(heard) == ["a", "b", "a"]


def test_what_is_withdrawn_is_not_done(pool):
    pool.submit(job("a"))
    pool.submit(job("b"))
    events = pool.events()
    next(events)
    pool.withdraw()
    assert ended(events) == ["a"]
    assert list(pool.events()) == []
