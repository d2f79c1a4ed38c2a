"""Observers: every event goes to all of them; a tracker that raises gets no more."""

import dataclasses
from typing import get_args

import pytest

from moosearch.campaign.events import EventLog
from moosearch.campaign.log import read_events
from moosearch.campaign.observer import (
    ConfirmationStarted,
    Confirmed,
    Evaluated,
    Event,
    Finished,
    GenerationFinished,
    GenerationStarted,
    Interrupted,
    Observers,
    Restored,
    Retried,
    Started,
    WarmStarted,
)
from moosearch.job import Begun, EpochDone, Job, Node, NodesChanged, Outcome


def test_every_event_goes_to_all_in_order():
    calls = []
    events = [Restored("a line"), Interrupted("as asked"), Finished()]
    observe = Observers(
        [lambda event: calls.append(("first", event)), lambda event: calls.append(("second", event))],
        [lambda event: calls.append(("tracker", event))],
    )
    for event in events:
        observe(event)
    assert calls == [(name, event) for event in events for name in ("first", "second", "tracker")]


def test_a_tracker_that_raises_gets_no_more_events_and_an_observer_that_does_ends_the_campaign():
    calls = []

    class Broken:
        def __repr__(self):
            return "Broken"

        def __call__(self, event):
            calls.append(event)
            raise OSError("gone")

    observe = Observers([], [Broken(), lambda _event: calls.append("next")])
    with pytest.warns(UserWarning, match=r"Broken gets no more events: OSError\('gone'\)"):
        observe(Finished())
    observe(Finished())
    assert calls == [Finished(), "next", "next"]
    with pytest.raises(OSError, match="gone"):
        Observers([Broken()])(Finished())


def test_a_line_of_the_log_has_the_documented_names_and_fields(tmp_path, finished):
    """Readers of old and new logs depend on them: the table in `moosearch.campaign.events`."""
    evaluation, header = finished.evaluations[0], finished.header
    identity, job = evaluation.candidate.id, Job(evaluation.candidate, number=2, attempt=3, parts=4)
    failed = dataclasses.replace(
        evaluation, status="failed", failure="lost", error="e", provenance={"host": "h"}, attempts=3
    )
    which = {"candidate": identity, "number": 2}
    ended = {"host": "h", "failure": "lost", "error": "e", "seconds": dict(evaluation.seconds)}
    node = Node("n", "10.0.0.1", True, 4.0, 0.5)
    state = {"front": len(finished.front), "failed": 0, "hypervolume": finished.front.hypervolume()}
    cases = [
        (WarmStarted(("taken over",)), None),
        (Restored("a line"), None),
        (Evaluated(evaluation), None),
        (Started(header, 1, 2), {"event": "started", "known": 1, "workers": 2}),
        (
            GenerationStarted(1, (evaluation.candidate,)),
            {"event": "generation_started", "generation": 1, "candidates": [identity]},
        ),
        (
            Begun(job, "h", 7),
            {"event": "begun", **which, "attempt": 3, "parts": 4, "host": "h", "pid": 7},
        ),
        (
            EpochDone(job, 5, {"epoch": 1, "loss": 2.0}, b"weights"),
            {"event": "epoch", **which, "epochs": 5, "checkpoint": True, "row": {"epoch": 1, "loss": 2.0}},
        ),
        (
            EpochDone(Job(evaluation.candidate), 5, {"epoch": 1}, replicate=1, replicates=2),
            {"event": "epoch", "candidate": identity, "number": 1, "epochs": 5, "row": {"epoch": 1}},
        ),
        (Retried(Outcome(failed, job)), {"event": "retried", **which, "attempt": 3, "parts": 4, **ended}),
        (NodesChanged((node,)), {"event": "nodes", "nodes": [vars(node)]}),
        (
            GenerationFinished(2, tuple(finished.evaluations), finished.front),
            {"event": "generation_finished", "generation": 2, **state},
        ),
        (
            ConfirmationStarted(header, 4, 1, 2),
            {"event": "confirmation_started", "trainings": 4, "known": 1, "workers": 2},
        ),
        (
            Confirmed(Outcome(failed, job)),
            {
                "event": "confirmed",
                **which,
                "attempts": 3,
                "status": "failed",
                "objectives": dict(evaluation.objectives),
                **ended,
            },
        ),
        (Interrupted("as asked"), {"event": "stopped", "reason": "as asked"}),
        (Finished(), {"event": "finished"}),
    ]
    assert {type(event) for event, _ in cases} == set(get_args(Event))
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        for event, _ in cases:
            log(event)
    _opened, *lines = read_events(path)
    for line in lines:
        assert line.pop("time")
        line.pop("digest", None)
    assert lines == [line for _, line in cases if line is not None]
