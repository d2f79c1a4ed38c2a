"""What a campaign's folder knows, read as its files stand."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna

from moosearch.campaign.log import read_events

Runs = dict[str, set[tuple[str, int]]]
"""By candidate: when and in which process it was evaluated; one run each, where nothing was done twice."""


def evaluated(folder: Path) -> Runs:
    """Return what the log knows to be evaluated."""
    runs: Runs = {}
    for event in read_events(folder / "events.jsonl"):
        if event["event"] == "evaluated":
            runs.setdefault(event["candidate"]["id"], set()).add(_run(event["provenance"]))
    return runs


def _run(provenance: Any) -> tuple[str, int]:
    return str(provenance.get("started")), int(provenance.get("pid", 0))


def trials(folder: Path) -> Counter[str]:
    """Count the trials of the study by candidate, after a check of the database itself."""
    with closing(sqlite3.connect(folder / "study.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name=None, storage=storage)
    return Counter(trial.user_attrs["candidate"] for trial in study.get_trials(deepcopy=False))
