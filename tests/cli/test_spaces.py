"""Search spaces by name, `init`, `list`, `--version`: what a new user types outside the repository."""

import re
from pathlib import Path

import pytest

import moosearch
from moosearch.errors import SpecError
from moosearch.plan import catalog
from moosearch.run import doctor
from moosearch.space.files import load
from moosearch.space.shipped import shipped_spaces


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_version(cli):
    assert cli("--version") == (0, f"moosearch {moosearch.__version__}\n", "")


def test_validate_takes_a_name_and_says_which_file_it_is(cli):
    file = str(shipped_spaces()["digits"])
    code, out, err = cli("validate", "digits")
    assert (code, err) == (0, f"search space: {file}\n")
    assert f"{file} is valid" in out


@pytest.mark.parametrize("command", ["search", "train", "analyze classes", "analyze tasks"])
def test_others_take_a_name(cli, command):
    """What is read is the shipped space: there is no such key in it."""
    code, out, err = cli(*command.split(), "digits", "--set", "candidate.architecture.vgg.width=1")
    assert (code, out) == (2, "")
    assert err.startswith(f"search space: {shipped_spaces()['digits']}\nerror: ")
    assert "vgg" in err
    assert "small_cnn" in err


def test_doctor_takes_a_space_where_there_is_no_such_folder(cli, tmp_path, monkeypatch):
    asked = []

    def examine(folder, *, space, **_):
        asked.append((folder, space))
        return iter(())

    monkeypatch.setattr("moosearch.run.doctor.examine", examine)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mine.yaml").write_text("")
    for name in ("digits", "mine.yaml", "mnist", "new"):
        assert cli("doctor", name)[0] == 0
    mine, mnist, new = map(Path, ("mine.yaml", "mnist", "new"))
    assert asked == [(None, shipped_spaces()["digits"]), (None, mine), (mnist, None), (new, None)]


def test_doctor_looks_at_a_space():
    found = {
        check.name: check for check in doctor._asked("search space", shipped_spaces()["digits"], quick=True)
    }
    assert found["search space"].found == "digits: digits.yaml is valid"
    assert found["data"].level == "ok"


@pytest.mark.parametrize("command", ["validate", "search", "train", "analyze classes", "analyze tasks"])
def test_a_name_that_no_space_has_is_one_line(cli, command):
    code, out, err = cli(*command.split(), "dgits")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: dgits: there is no such file.*Did you mean 'digits'.*\n", err)


def test_python_takes_a_name_too(tmp_path):
    for launch in (moosearch.search, moosearch.train):
        with pytest.raises(SpecError, match=r"dgits: there is no such file.*Did you mean 'digits'"):
            launch("dgits")
    with pytest.raises(SpecError, match="Did you mean 'seed'"):
        moosearch.search("digits", overrides=["campaign.sed=1"])
    with pytest.raises(SpecError, match=r"vgg.*small_cnn"):
        moosearch.train("digits", assignments=["architecture=vgg"])
    assert not list(tmp_path.iterdir())


def test_init_writes_a_space_that_validate_takes(cli, tmp_path):
    code, out, _ = cli("init")
    assert code == 0
    assert "next: `moosearch validate digits.yaml`" in out
    before = (tmp_path / "digits.yaml").read_text()
    code, out, err = cli("validate", "digits")
    assert (code, err) == (0, "search space: digits.yaml\n")
    code, _, err = cli("init")
    assert (code, "digits.yaml: exists already" in err) == (2, True)
    assert (tmp_path / "digits.yaml").read_text() == before
    code, out, _ = cli("init", "mine.yml", "--from", "papers/mnist_recipes")
    assert (code, "moosearch search mine.yml" in out) == (0, True)
    assert "name" not in load("mine.yml").data["campaign"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "cifar1"], "Did you mean 'cifar10'"),
        (["my space.yaml"], "expected letters, digits"),
        (["mine.txt"], "expected letters, digits"),
        (["nowhere/mine.yaml"], "cannot write here"),
    ],
)
def test_init_refuses(cli, tmp_path, arguments, told):
    code, out, err = cli("init", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert not list(tmp_path.iterdir())


def test_the_catalog_is_what_is_registered():
    """Else run `python -m moosearch.plan.catalog`: it writes the file again."""
    assert catalog.FILE.read_text() == catalog.text(catalog.registered())


def test_list_names_plugins_and_spaces(cli):
    code, out, _ = cli("list")
    assert code == 0
    for kind, entries in catalog.read().items():
        assert kind in out
        assert all(entry.name in out for entry in entries)
    assert all(name in out for name in shipped_spaces())
    code, out, _ = cli("list", "spaces")
    assert (code, "handwritten digits" in out, "mixed" in out) == (0, True, False)
    code, out, err = cli("list", "space")
    assert (code, "Did you mean 'spaces'" in err) == (2, True)


def test_list_shows_plugins_of_ones_own(cli, tmp_path):
    (tmp_path / "own_losses.py").write_text(
        "from dataclasses import dataclass\n"
        "from moosearch.losses import LOSSES\n"
        "@LOSSES.register('test_own')\n@dataclass(frozen=True)\n"
        "class Own:\n    '''A loss of my own.'''\n    weight: float = 0.25\n"
    )
    from moosearch.losses import LOSSES

    try:
        code, out, _ = cli("list", "losses", "--import", "own_losses")
        assert code == 0
        assert re.search(r"test_own +│ A loss of my own. +│ weight: 0.25", out)
    finally:
        LOSSES._classes.pop("test_own", None)
