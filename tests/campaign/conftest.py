"""Shared by tests of campaigns: what is really trained."""

import pytest

from moosearch.evaluators import serial


@pytest.fixture
def trained(monkeypatch):
    """Ids of what was really trained."""
    ids, real = [], serial.evaluate

    def counting(work, job, *arguments):
        ids.append(job.candidate.id)
        return real(work, job, *arguments)

    monkeypatch.setattr(serial, "evaluate", counting)
    return ids
