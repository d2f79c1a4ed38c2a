"""Any file of a campaign may be cut off or gone: `resume` has it back, and trains nothing anew."""

import json
import shutil
import sqlite3

import pytest

import moosearch
from moosearch.api.verbs import confirm
from moosearch.campaign import storage
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.log import read_events
from moosearch.errors import CampaignError, StorageError
from moosearch.evaluators import serial
from moosearch.job import failure
from moosearch.run.recovery import is_whole_safetensors
from moosearch.space.files import is_whole

pytestmark = pytest.mark.rotated(3, group="recovery")  # whole campaigns

BOTH = pytest.mark.parametrize("setting", [pytest.param("", marks=pytest.mark.slow), "journal"])
"""A database takes seconds: this one is slow."""


@pytest.fixture(params=["", "journal"])
def setting(request):
    """Both kinds of a ledger in the folder."""
    return request.param


@pytest.fixture(scope="session")
def finished_journal(tiny, shared):
    """A finished campaign like `finished`, with a journal."""

    def make(folder):
        overrides = ["campaign.name=tiny", "campaign.keep=all", "campaign.storage=journal"]
        moosearch.search(tiny(), out=folder, overrides=overrides)

    return moosearch.Campaign(shared("journal", make))


@pytest.fixture
def folder(finished, finished_journal, setting, tmp_path):
    """A copy of a finished campaign that may be damaged."""
    source = finished_journal if setting else finished
    return CampaignFolder(shutil.copytree(source.folder.root, tmp_path / "c"))


def ledger_file(folder):
    return folder.study if folder.study.exists() else folder.journal


def check_equal(folder, finished):
    """The campaign is whole, and is the undisturbed one; log and ledger hold every evaluation once."""
    campaign = moosearch.Campaign(folder.root)
    assert campaign.finished
    times = ("seconds", "provenance")
    mine, theirs = (
        [{key: value for key, value in e.to_tree().items() if key not in times} for e in each.evaluations]
        for each in (campaign, finished)
    )
    assert mine == theirs
    assert folder.front.read_text() == finished.folder.front.read_text()
    ids = [event["candidate"]["id"] for event in read_events(folder.events) if event["event"] == "evaluated"]
    assert sorted(ids) == sorted(e.candidate.id for e in finished.evaluations)
    assert is_whole(folder.spec)
    assert json.loads(folder.environment.read_text())["id"]
    for identity in ids:
        assert folder.weights(identity).read_bytes() == finished.folder.weights(identity).read_bytes()
        assert folder.history(identity).read_text() == finished.folder.history(identity).read_text()


def test_whose_weights_are_gone_is_named_when_it_is_trained_again(finished, tmp_path, trained, cli):
    copy = CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))
    identity = finished.front.members[0].candidate.id
    copy.weights(identity).unlink()
    code, out, _ = cli("resume", copy.root)
    assert (code, trained) == (0, [identity])
    assert out.count("is trained again") == 1
    assert f"candidate {identity} is trained again: its weights are not there" in out


def test_what_cannot_be_trained_again_is_said(finished, tmp_path, monkeypatch, cli):
    copy = CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))
    identity = finished.front.members[0].candidate.id
    copy.weights(identity).unlink()

    error = "ValueError: no luck"
    monkeypatch.setattr(serial, "evaluate", lambda _, job, *__: iter([failure(job, "nan", error)]))
    _, out, _ = cli("resume", copy.root)
    assert f"models/{identity} could not be restored: ValueError: no luck" in out


@BOTH
def test_a_ledger_that_is_cut_off_anywhere_is_rebuilt(folder, finished, trained, setting):
    path = ledger_file(folder)
    whole = path.read_bytes()
    page = 4096
    cuts = [0, 50, page, len(whole) // 2 // page * page, len(whole) // 2, len(whole) - 1]
    if setting:
        lines = [position for position, byte in enumerate(whole) if byte == ord("\n")]
        cuts = [0, lines[0], lines[4] + 1, lines[-3] + 1, lines[-2] + 50, len(whole) - 1]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        moosearch.resume(folder.root)
        check_equal(folder, finished)
    path.unlink()
    moosearch.resume(folder.root)
    check_equal(folder, finished)
    assert trained == []
    assert any(event["event"] == "restored" for event in read_events(folder.events))
    if not setting:
        assert folder.study.with_name("study.db.damaged-2").exists()


@pytest.mark.parametrize("cut", [0, 4096, 20000, None])
def test_a_database_is_rebuilt_that_was_cut_off_in_the_middle_of_a_transaction(
    folder, finished, cut, setting
):
    if setting:
        pytest.skip("SQLite alone has transactions in a file")
    connection = sqlite3.connect(folder.study)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("UPDATE trial_user_attributes SET value_json = value_json || ' '")
    hot = {name: (folder.root / name).read_bytes() for name in ("study.db", "study.db-journal")}
    connection.close()
    assert len(hot["study.db-journal"]) > 512
    for name, content in hot.items():
        (folder.root / name).write_bytes(content[:cut] if name == "study.db" else content)
    moosearch.resume(folder.root)
    check_equal(folder, finished)


@pytest.mark.parametrize("number", [2, 7])
def test_what_the_ledger_lost_it_has_again_from_the_log(folder, finished, trained, setting, number):
    if setting:
        lines = folder.journal.read_text().splitlines(keepends=True)
        lost = [line for line in lines if '"candidate":' in line][number]
        folder.journal.write_text("".join(line for line in lines if line != lost))
    else:
        with sqlite3.connect(folder.study) as database:
            for table in ("trial_user_attributes", "trial_system_attributes", "trial_values", "trial_params"):
                database.execute(f"DELETE FROM {table} WHERE trial_id = ?", [number + 1])
            database.execute("DELETE FROM trials WHERE number = ?", [number])
        database.close()
    moosearch.resume(folder.root)
    check_equal(folder, finished)
    assert trained == []


@BOTH
def test_a_log_that_is_cut_off_anywhere_has_all_again(folder, finished, trained):
    whole = folder.events.read_bytes()
    ends = [position for position, byte in enumerate(whole) if byte == ord("\n")]
    for cut in (0, ends[0], ends[1] + 1, ends[1] + 5, len(whole) // 2, len(whole) - 1):
        folder.events.write_bytes(whole[:cut])
        moosearch.resume(folder.root)
        check_equal(folder, finished)
    folder.events.unlink()
    moosearch.resume(folder.root)
    check_equal(folder, finished)
    assert sum(event["event"] == "created" for event in read_events(folder.events)) == 1
    assert trained == []


@BOTH
@pytest.mark.parametrize("name", ["campaign.yaml", "environment.json"])
@pytest.mark.parametrize("log", [True, False], ids=["log", "study"])
def test_what_the_campaign_is_is_restored(folder, finished, trained, cli, name, log):
    path = folder.root / name
    whole, events = path.read_bytes(), folder.events.read_bytes()
    for cut in (0, len(whole) // 2, len(whole) - 5, None):
        path.unlink()
        if cut is not None:
            path.write_bytes(whole[:cut])
        folder.events.write_bytes(events if log else b"")
        for command in ("status", "front"):
            code, _, err = cli(command, folder.root)
            assert code in (0, 2)
            assert err.count("\n") == bool(code)
            assert code == 0 or "moosearch resume" in err
        moosearch.resume(folder.root)
        assert path.read_bytes() == whole
        check_equal(folder, finished)
    assert trained == []


def test_what_nothing_remembers_is_not_made_up(folder, setting):
    folder.spec.write_text("campaign: {")
    folder.events.unlink()
    ledger_file(folder).write_bytes(b"")
    with pytest.raises(CampaignError, match="damaged"):
        moosearch.resume(folder.root)
    assert folder.spec.read_text() == "campaign: {"


def test_a_ledger_without_a_log_is_not_begun_anew(finished, tmp_path):
    """A campaign of a version that wrote no log."""
    folder = CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))
    folder.events.unlink()
    folder.environment.write_text("{}")
    folder.study.write_bytes(folder.study.read_bytes()[:5000])
    with pytest.raises(CampaignError, match="damaged"):
        moosearch.resume(folder.root)
    assert folder.study.stat().st_size == 5000


@BOTH
def test_weights_that_are_lost_are_trained_again(folder, finished, trained):
    ids = [e.candidate.id for e in finished.evaluations]
    folder.weights(ids[0]).unlink()
    folder.weights(ids[1]).write_bytes(folder.weights(ids[1]).read_bytes()[:-1])
    folder.weights(ids[2]).write_bytes(folder.weights(ids[2]).read_bytes()[:7])
    folder.history(ids[3]).write_text("epoch")
    shutil.rmtree(folder.models / ids[4])
    before = ledger_file(folder).read_bytes()
    moosearch.resume(folder.root)
    assert sorted(trained) == sorted(ids[:5])
    check_equal(folder, finished)
    assert len(moosearch.Campaign(folder.root).evaluations) == len(ids)
    assert ledger_file(folder).read_bytes()[:4000] == before[:4000]


def test_files_of_weights_are_checked_by_their_length(finished, tmp_path):
    whole = finished.folder.weights(finished.evaluations[0].candidate.id).read_bytes()
    path = tmp_path / "w.safetensors"
    path.write_bytes(whole)
    assert is_whole_safetensors(path)
    for cut in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        assert not is_whole_safetensors(path)
    path.write_bytes(whole + b"x")
    assert not is_whole_safetensors(path)
    path.write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    assert not is_whole_safetensors(path)
    assert not is_whole_safetensors(tmp_path)


@pytest.mark.slow
def test_a_confirmation_has_its_plan_and_its_trainings_again(finished, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("moosearch.judging.masking.checks", lambda *_, **__: {})
    monkeypatch.setattr("moosearch.report.plots.front.save", lambda *_: [])
    folder = CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))
    overrides = ["campaign.confirmation={attacks: [fgsm], seeds: 1, images: 40}"]
    confirm(folder.root, rules=["knee", "best:clean_accuracy"], overrides=overrides)
    table, plan = folder.confirmed_table.read_text(), folder.confirmation.read_bytes()
    records = sorted(folder.confirmed.glob("*/1.json"))
    for cut in (0, len(plan) // 2, None):
        folder.confirmation.unlink()
        if cut is not None:
            folder.confirmation.write_bytes(plan[:cut])
            code, _, err = cli("status", folder.root)
            assert code == 2
            assert "moosearch resume" in err
        confirm(folder.root)
        assert folder.confirmation.read_bytes() == plan
    for path, size in (
        (records[0], 0),
        (records[0], 200),
        (records[-1].with_suffix(".safetensors"), 300),
        (records[-1], -1),
    ):
        path.write_bytes(path.read_bytes()[:size])
        assert cli("front", folder.root)[0] == 0
        confirm(folder.root)
        assert folder.confirmed_table.read_text() == table
    shutil.rmtree(folder.confirmed)
    assert moosearch.Campaign(folder.root).confirmation is None


def test_a_database_that_cannot_be_written_loses_nothing(tiny, tmp_path, finished, monkeypatch):
    """Whatever the database says, a campaign ends with one line and goes on."""
    import sqlalchemy

    calls = []

    def append(self, *arguments, **more):
        calls.append(1)
        if len(calls) > 3:
            raise sqlalchemy.exc.OperationalError("insert", {}, Exception("the server is gone\nreally"))
        return real(self, *arguments, **more)

    import optuna

    real = optuna.Study.add_trial
    monkeypatch.setattr(optuna.Study, "add_trial", append)
    overrides = ["campaign.name=tiny", "campaign.keep=all"]
    with pytest.raises(StorageError, match="the server is gone really"):
        moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    monkeypatch.undo()
    moosearch.resume(tmp_path / "c")
    check_equal(CampaignFolder(tmp_path / "c"), finished)


def test_a_journal_whose_writer_was_killed_does_not_block(finished_journal, tmp_path, trained):
    folder = CampaignFolder(shutil.copytree(finished_journal.folder.root, tmp_path / "c"))
    lock = folder.root / "study.journal.lock"
    lock.touch()
    moosearch.resume(folder.root)
    assert not lock.exists()


def test_a_database_that_somebody_else_holds_is_not_damaged(finished, tmp_path, monkeypatch):
    folder = CampaignFolder(shutil.copytree(finished.folder.root, tmp_path / "c"))
    real = sqlite3.connect
    monkeypatch.setattr(storage.sqlite3, "connect", lambda path: real(path, timeout=0))
    with sqlite3.connect(folder.study) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CampaignError, match="locked"):
            moosearch.resume(folder.root)
    database.close()
    assert not list(folder.root.glob("*damaged*"))
