"""Observers: whatever one is told, several are."""

import inspect

from moosearch.campaign.observer import Observer, Observers


def test_several_hear_everything_that_one_hears():
    hooks = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction) if not name.startswith("_")]
    heard = []
    both = [
        type("Ear", (Observer,), {hook: lambda *_, hook=hook: heard.append(hook) for hook in hooks})()
    ] * 2
    for hook in hooks:
        arguments = len(inspect.signature(getattr(Observer, hook)).parameters) - 1
        getattr(Observers(both[:1], both[1:]), hook)(*[None] * arguments)
    assert heard == [hook for hook in hooks for _ in both]
