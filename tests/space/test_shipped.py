"""Shipped search spaces: found by name, written out to start from."""

import pytest

from moosearch.errors import SpecError
from moosearch.space.files import load, parse
from moosearch.space.shipped import find, load_space, shipped_folder, shipped_spaces, starting_point, summary


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory without search spaces."""
    monkeypatch.chdir(tmp_path)


def test_every_shipped_file_has_a_name_and_a_summary_of_one_sentence():
    spaces = shipped_spaces()
    assert {"digits", "cifar10", "papers/mnist_recipes"} <= set(spaces)
    assert len(spaces) == len(list(shipped_folder().rglob("*.yaml")))
    for path in spaces.values():
        told = summary(path)
        assert path.read_text().startswith(f"# {told.split()[0]}")
        assert told.endswith(".")
        assert len(told) < 150


def test_a_summary_does_not_end_at_et_al(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "# Images (Xiao et al. 2017), of\n# clothes. More.\ncampaign: {}\n# Not this.\n"
    )
    assert summary(tmp_path / "x.yaml") == "Images (Xiao et al. 2017), of clothes."


def test_a_name_is_the_shipped_space_until_a_file_of_that_name_is_there(tmp_path):
    assert find("digits") == shipped_spaces()["digits"]
    assert find("papers/mnist_recipes") == shipped_spaces()["papers/mnist_recipes"]
    (tmp_path / "digits").mkdir()  # a folder is no search space
    assert load_space("digits").data == load(shipped_spaces()["digits"]).data
    (tmp_path / "digits.yaml").write_text("campaign: {}")
    assert find("digits").resolve() == tmp_path / "digits.yaml"
    assert load_space("digits").data == {"campaign": {}}
    (tmp_path / "digits").rmdir()
    (tmp_path / "digits").write_text("campaign: {seed: 1}")
    assert find("digits").resolve() == tmp_path / "digits"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("dgits", "dgits: there is no such file.*Did you mean 'digits'.*Known: .*cifar10"),
        ("digits.yaml", "digits.yaml: there is no such file.*Did you mean 'digits'"),
        ("nowhere/space.yml", "nowhere/space.yml: there is no such file.*Known: .*digits"),
        ("folder", "folder: this is a folder, expected a search space file"),
        ("../digits", "there is no such file"),
        ("", "this is a folder"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_the_shipped_ones(tmp_path, given, told):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecError, match=told):
        find(given)


@pytest.mark.parametrize("name", shipped_spaces())
def test_a_starting_point_is_the_shipped_space_without_its_name(name):
    shipped = load(shipped_spaces()[name]).data
    shipped["campaign"].pop("name", None)
    text = starting_point(name, "mine.yaml")
    assert parse(text).data == shipped
    assert "moosearch search mine.yaml" in text.partition("\ncampaign:")[0]
