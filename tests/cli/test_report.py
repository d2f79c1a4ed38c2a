import shutil
from pathlib import Path

import pytest

from moosearch.cli import report as command
from moosearch.report import data


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(data, "importance", lambda *_: None)


@pytest.fixture
def folder(reference, tmp_path):
    copy = tmp_path / "campaign"
    shutil.copytree(reference, copy)
    return copy


@pytest.fixture
def reference():
    return Path(__file__).parents[1] / "older/digits"


def test_a_file_in_the_folder_or_elsewhere(cli, folder, tmp_path):
    code, out, _ = cli("report", folder)
    assert (code, out) == (0, f"written to {folder / 'report.html'}\n")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    other = tmp_path / "there" / "page.html"
    assert cli("report", folder, "--out", other)[0] == 0
    assert other.read_text(encoding="utf-8") == (folder / "report.html").read_text(encoding="utf-8")


def test_it_can_be_opened(cli, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: opened.append(url) or True)
    assert cli("report", folder, "--open")[0] == 0
    assert opened == [(folder / "report.html").resolve().as_uri()]
    monkeypatch.setattr(command.webbrowser, "open", lambda _: False)
    code, _, err = cli("report", folder, "--open")
    assert code == 0
    assert "no browser was found" in err


def test_wrong_input_is_told(cli, folder, tmp_path):
    code, _, err = cli("report", tmp_path / "nothing")
    assert code == 2
    assert "no campaign here" in err
    code, _, err = cli("report", folder, "--out", tmp_path)
    assert code == 2
    assert "is a folder, expected a file" in err
    code, _, err = cli("report", folder, "--out", folder / "campaign.yaml" / "x.html")
    assert code == 2
    assert "cannot write here" in err
    assert cli("report", folder, "--watch", 0)[0] == 2


def test_watching_ends_with_the_campaign_and_writes_when_something_changed(cli, folder, monkeypatch):
    import dataclasses

    from moosearch.campaign import status

    real, looks, written = status.read_status, [], []
    states = [(3, True), (3, True), (4, True), (4, False)]

    def read(campaign):
        done, running = states[min(len(looks), 3)]
        looks.append(done)
        return dataclasses.replace(real(campaign), done=done, running=running)

    monkeypatch.setattr(status, "read_status", read)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    monkeypatch.setattr(command, "_write", lambda *given: written.append(given[2]))
    code, out, _ = cli("report", folder, "--watch", 2)
    assert code == 0
    assert "the last version" in out
    assert looks == [3, 3, 4, 4]
    assert written == [2, 2, 2]  # at first, when another was done, when it ended
