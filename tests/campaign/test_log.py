"""The log is the truth: what was edited in it is noticed, named, never believed, and had back on resume."""

import dataclasses
import itertools
import json
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest

import moosearch
from moosearch.campaign.events import EventLog
from moosearch.campaign.folder import CampaignFolder, DamagedError
from moosearch.campaign.log import digest_of, parted, read_events, repair, sealed
from moosearch.campaign.observer import Restored
from moosearch.campaign.record import Record
from moosearch.campaign.status import read_status
from moosearch.campaign.tables import History, hypervolumes
from moosearch.pareto import Front
from moosearch.plan.plan import make_plan
from moosearch.run import run
from moosearch.space.files import load

pytestmark = pytest.mark.rotated(2, group="log")  # whole campaigns

OLDER = Path(__file__).parents[1] / "older/digits"


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of a finished campaign that may be edited."""
    return CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))


def resumed(folder):
    """What is said of what was restored, when a campaign goes on."""
    said = []

    def listen(event):
        if isinstance(event, Restored):
            said.append(event.line)

    moosearch.resume(folder.root, observer=listen)
    return said


def lines_of(folder):
    return folder.events.read_bytes().splitlines(keepends=True)


def number_of(folder, kind, which=0):
    """The index of a line, the first of a kind or a later one."""
    found = [index for index, line in enumerate(lines_of(folder)) if f'"event": "{kind}"'.encode() in line]
    return found[which]


def written(folder, lines):
    folder.events.write_bytes(b"".join(lines))


def test_every_line_ends_with_the_digest_of_all_before_it(finished):
    before = b""
    for line in lines_of(finished.folder):
        body, digest = parted(line)
        assert digest == digest_of(before, body) == json.loads(line)["digest"].encode()
        assert sealed(body, digest) == line
        before = digest


def edited(line):
    """A value is changed by hand: the clean accuracy, or else a digit of the time."""
    changed = line.replace(b'"clean_accuracy": 0.', b'"clean_accuracy": 0.9', 1)
    return changed if changed != line else line.replace(b'"time": "2', b'"time": "3', 1)


EDITS = {
    "edited": lambda lines, at: [*lines[:at], edited(lines[at]), *lines[at + 1 :]],
    "removed": lambda lines, at: [*lines[:at], *lines[at + 1 :]],
    "twice": lambda lines, at: [*lines[: at + 1], *lines[at:]],
    "moved": lambda lines, at: [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]],
    "stripped": lambda lines, at: [*lines[:at], parted(lines[at])[0] + b"}\n", *lines[at + 1 :]],
    "foreign": lambda lines, at: [*lines[:at], b'{"time": "2026", "event": "evaluated"}\n', *lines[at:]],
}
WHERE = {"edited": 1, "removed": 1, "twice": 2, "moved": 0, "stripped": 1, "foreign": 1}
"""Which line is named, counted from the one that is edited."""


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_by_file_and_line(folder, cli, edit):
    at = number_of(folder, "evaluated", 3)
    written(folder, EDITS[edit](lines_of(folder), at))
    for command in ("front", "status"):
        code, _, err = cli(command, folder.root)
        assert code == 2
        assert f"{folder.events}, line {at + WHERE[edit]}: not as written" in err
        assert f"moosearch resume {folder.root}" in err
    with pytest.raises(DamagedError):
        EventLog(folder.events)


@pytest.mark.parametrize("edit", EDITS)
def test_resume_has_back_what_was_edited(folder, finished, trained, edit):
    at = number_of(folder, "evaluated", 3)
    before = EDITS[edit](lines_of(folder), at)
    written(folder, before)
    said = resumed(folder)
    assert said[0].startswith("events.jsonl restored: thrown away: ")
    assert said[0].endswith("a copy is events.jsonl.damaged-1")
    assert folder.events.with_name("events.jsonl.damaged-1").read_bytes() == b"".join(before)
    again = moosearch.Campaign(folder.root)
    assert again.evaluations == finished.evaluations
    assert trained == []


def test_what_neither_log_nor_study_has_as_it_was_is_evaluated_again(folder, finished, trained):
    """Both were edited alike: neither is believed."""
    at = number_of(folder, "evaluated", 3)
    identity = json.loads(lines_of(folder)[at])["candidate"]["id"]
    written(folder, EDITS["edited"](lines_of(folder), at))
    with sqlite3.connect(folder.study) as database:
        database.execute("UPDATE trial_values SET value = 0.99 WHERE trial_id = 4 AND objective = 0")
    database.close()
    moosearch.resume(folder.root)
    assert trained == [identity]
    again = moosearch.Campaign(folder.root)
    assert [e.objectives for e in again.evaluations] == [e.objectives for e in finished.evaluations]
    assert folder.study.with_name("study.db.damaged-1").exists()


def test_digests_cannot_be_stripped_from_a_whole_log(folder, cli):
    written(folder, [parted(line)[0] + b"}\n" for line in lines_of(folder)])
    code, _, err = cli("front", folder.root)
    assert code == 2
    assert "its digests are gone" in err


@pytest.mark.parametrize("change", ["value", "extra"])
def test_an_edited_study_is_not_believed(folder, finished, trained, change):
    if change == "value":
        with sqlite3.connect(folder.study) as database:
            database.execute("UPDATE trial_values SET value = 0.99 WHERE trial_id = 2 AND objective = 0")
        database.close()
    else:
        study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder.study}")
        trial = study.trials[0]
        trial.user_attrs["candidate"] = "0" * 12
        study.add_trial(trial)
    assert moosearch.Campaign(folder.root).evaluations == finished.evaluations
    (said,) = resumed(folder)
    assert said.startswith("study.db restored: it was edited")
    assert trained == []
    again = moosearch.Campaign(folder.root)
    assert again.evaluations == finished.evaluations
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder.study}")
    by_id = {e.candidate.id: [*e.objectives.values()] for e in finished.evaluations}
    assert {trial.user_attrs["candidate"]: trial.values for trial in study.trials} == by_id
    assert folder.study.with_name("study.db.damaged-1").exists()


def test_a_death_between_log_and_study_is_made_good(tiny, tmp_path, finished, trained, monkeypatch):
    calls, real = itertools.count(1), optuna.Study.add_trial

    def dying(self, *arguments, **more):
        if next(calls) == 3:
            raise KeyboardInterrupt
        real(self, *arguments, **more)

    monkeypatch.setattr(optuna.Study, "add_trial", dying)
    overrides = ["campaign.name=tiny", "campaign.keep=all"]
    with pytest.raises(KeyboardInterrupt):
        moosearch.search(tiny(storage=""), out=tmp_path / "c", overrides=overrides)
    monkeypatch.undo()
    assert len(moosearch.Campaign(tmp_path / "c").evaluations) == 3
    again = moosearch.resume(tmp_path / "c")
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{again.folder.study}")
    assert len(study.trials) == len(again.evaluations) == 8
    assert again.folder.front.read_text() == finished.folder.front.read_text()


def test_a_campaign_whose_file_says_something_else_is_not_mixed_with_it(folder, cli, trained):
    text = folder.spec.read_text()
    assert "  seed: 3\n" in text
    folder.spec.write_text(text.replace("  seed: 3\n", "  seed: 4\n"))
    code, _, err = cli("resume", folder.root)
    assert code == 2
    assert "campaign.yaml: seed is 4, and was 3 when the campaign began" in err
    assert trained == []
    assert not list(folder.root.glob("*.damaged-*"))


def test_reading_goes_on_where_it_ended(finished, tmp_path):
    lines, path = lines_of(finished.folder), tmp_path / "events.jsonl"
    record, seen = Record(path), []
    path.touch()
    for end in range(len(lines)):
        with path.open("ab") as stream:
            stream.write(lines[end][:-9])
            stream.flush()
            before = len(record.refresh().entries)
            stream.write(lines[end][-9:])  # a line on its way is none yet
        assert len(record.entries) == before
        record.refresh()
        if len(record.entries) > before:
            seen.append(json.loads(lines[end])["candidate"]["id"])
    assert [*record.entries] == seen
    assert record.beginnings == 1
    assert record.evaluations() == finished.evaluations
    assert record.finished
    assert record.header == finished.header
    other = tmp_path / "other"
    other.write_bytes(b"".join(lines[: len(lines) // 2]))
    other.replace(path)  # a log that was repaired is read from its beginning
    assert len(record.refresh().entries) < len(seen)
    assert record.beginnings == 2


def test_a_campaign_that_is_watched_follows_the_log(folder, finished):
    lines = lines_of(folder)
    cut = number_of(folder, "evaluated", 5)
    written(folder, lines[:cut])
    campaign = moosearch.Campaign(folder.root)
    assert (read_status(campaign).done, campaign.finished) == (5, False)
    with folder.events.open("ab") as stream:
        stream.write(b"".join(lines[cut:]))
    status = read_status(campaign)
    assert (status.done, campaign.finished) == (8, True)
    assert list(status.history) == finished.history
    assert campaign.front.members == finished.front.members


def test_histories_are_those_of_whole_fronts(finished, made_up, tmp_path):
    rows = [(a / 20, (a * 7 + b * 3) % 41) for a in range(1, 19) for b in range(3)]
    campaign = made_up(tmp_path / "c", [*rows[:20], None, *rows[20:]])
    for each in (campaign, finished):
        evaluations, history = each.evaluations, History(each.header)
        expected = []
        for generation in sorted({e.generation for e in evaluations}):
            until = [e for e in evaluations if e.generation <= generation]
            front = Front.of(until, each.header.objectives)
            expected.append((generation, len(until), len(front), front.hypervolume()))
        for count in (1, 7, 8, len(evaluations)):
            assert history.of(evaluations[:count]) == hypervolumes(evaluations[:count], each.header)
        found = [tuple(row[key] for key in row if key != "failed") for row in each.history]
        assert found == expected


def test_an_older_campaign_is_taken_over(tmp_path, trained):
    root = shutil.copytree(OLDER, tmp_path / "older")
    before = moosearch.Campaign(root)
    status, front = read_status(before), before.front
    assert not before.folder.events.exists()
    taken(before.folder)
    before.folder.study.unlink()
    after = moosearch.Campaign(root)
    assert after.evaluations == before.evaluations
    assert after.header == before.header
    assert after.front == front
    assert dataclasses.replace(read_status(after), last="", ended="") == status
    assert trained == []


def taken(folder):
    """Open a campaign as `resume` does, and train nothing."""
    plan = make_plan(load(folder.spec))
    with folder.lock(), EventLog(folder.events) as log:
        run._record(plan, folder, log, run._describe(plan, folder, log))


def test_lines_of_an_older_version_are_sealed_by_the_first_digest_after_them(folder, finished, cli):
    """Its log has no digests and no header; the study has both what is in it, and what the log lost."""
    lines = [json.loads(line) for line in lines_of(folder)]
    old = []
    for event in lines:
        del event["digest"]
        if event["event"] == "created":
            del event["header"], event["format"]
        old.append(json.dumps(event).encode() + b"\n")
    lost = number_of(folder, "evaluated", 3)
    del old[lost]
    written(folder, old)
    demoted(folder)
    assert moosearch.Campaign(folder.root).evaluations == finished.evaluations
    taken(folder)
    assert folder.events.read_bytes().startswith(b"".join(old))
    assert Record.of(folder.events).evaluations() == finished.evaluations
    whole = folder.events.read_bytes()
    folder.events.write_bytes(whole.replace(b'"clean_accuracy": 0.', b'"clean_accuracy": 0.9', 1))
    code, _, err = cli("front", folder.root)
    assert code == 2
    assert f"lines 1 to {len(old) + 1}: not as written" in err
    _, gone = repair(folder.events)
    assert gone == [*range(1, len(old) + 2)]  # which of them was edited nobody can tell
    assert len([*read_events(folder.events)]) == len(whole.splitlines()) - len(old) - 1


def demoted(folder):
    """Make a study what an older version wrote: format 1, trials without digests."""
    with sqlite3.connect(folder.study) as database:
        database.execute("DELETE FROM trial_user_attributes WHERE key = 'digest'")
        ((text,),) = database.execute("SELECT value_json FROM study_user_attributes WHERE key = 'header'")
        header = json.dumps(json.loads(text) | {"format": 1})
        database.execute("UPDATE study_user_attributes SET value_json = ? WHERE key = 'header'", [header])
    database.close()


def test_a_spec_that_looks_like_the_end_of_one_is_read_as_it_is(tmp_path, finished):
    evaluation = finished.evaluations[0]
    spec = {"part": {"deep": {"a": 1}, "status": "failed", "objectives": {"x": 1}}, "text": '}, "status": "'}
    candidate = dataclasses.replace(evaluation.candidate, spec=spec)
    with EventLog(tmp_path / "events.jsonl") as log:
        log.keep(dataclasses.replace(evaluation, candidate=candidate))
    (entry,) = Record.of(tmp_path / "events.jsonl").entries.values()
    assert (entry.id, entry.status, entry.objectives) == (candidate.id, "complete", evaluation.objectives)
