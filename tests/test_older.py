"""Campaigns of older versions: `digits` kept all in its study, `tiny` has a log; both have confirmations."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

TESTS = Path(__file__).parent
CAMPAIGNS = (TESTS / "older/digits", TESTS / "older/tiny", TESTS.parent / "results/digits-reference")


def tables(folder):
    """Return its tables, but for the one in which a column has another name now."""
    return {path: path.read_bytes() for path in folder.rglob("*.csv") if path.name != "confirmed.csv"}


@pytest.mark.parametrize("root", CAMPAIGNS, ids=lambda root: root.name)
def test_it_opens(cli, root):
    for command in ("status", "front", "decide"):
        code, out, err = cli(command, root)
        assert (code, err) == (0, ""), command
        assert out


def test_they_are_compared(cli):
    code, out, _ = cli("compare", *CAMPAIGNS[::2])
    assert code == 0
    assert "digits" in out


@pytest.fixture
def tiny(tmp_path):
    """A copy of the small one, whose weights are there."""
    return shutil.copytree(CAMPAIGNS[1], tmp_path / "tiny")


def test_it_resumes_and_trains_nothing(cli, tiny):
    before, log = tables(tiny), (tiny / "events.jsonl").read_bytes()
    code, out, err = cli("resume", tiny)
    assert (code, "8 candidates, 0 failed" in out) == (0, True), err
    assert tables(tiny) == before
    added = (tiny / "events.jsonl").read_bytes().removeprefix(log)
    events = {json.loads(line)["event"] for line in added.splitlines()}
    assert not events & {"begun", "epoch", "evaluated", "restored"}


def test_its_confirmation_is_read(cli, tiny):
    """What was trained and judged then is not done again."""
    (stored,) = tiny.glob("confirmed/*/1.json")
    before = stored.stat().st_mtime_ns
    code, out, err = cli(*f"confirm {tiny} --pick knee --seeds 1 --attacks fgsm,pgd5 --images 40".split())
    assert (code, "1 member confirmed by 1 training" in out) == (0, True), err
    assert stored.stat().st_mtime_ns == before


def test_its_evaluation_is_repeated(cli, tiny):
    (stored,) = tiny.glob("evaluations/*/*.csv")
    before = pd.read_csv(stored)
    code, _, err = cli(*f"evaluate {tiny} --pick knee --attacks fgsm --images 40".split())
    assert code == 0, err
    after, same = pd.read_csv(stored), ["candidate", "attack", "images"]
    assert after.columns.equals(before.columns)
    assert after[same].equals(before[same])


@pytest.mark.slow
def test_a_member_is_exported(cli, tiny, tmp_path):
    code, _, err = cli("export", tiny, "--pick", "knee", "--to", tmp_path / "model")
    assert code == 0, err
    manifest = json.loads((tmp_path / "model/manifest.json").read_text())
    assert manifest["confirmation"]["trainings"]
