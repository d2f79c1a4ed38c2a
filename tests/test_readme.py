"""What README shows is run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import moosearch
from moosearch.errors import Place
from moosearch.plan.plan import make_plan
from moosearch.space.files import Document, dump, load

ROOT = Path(__file__).resolve().parents[1]


LARGE = ("rarmo_mnist", "rarmo_cifar10", "rarmo_svhn")  # planning them times some 100 networks


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("README.md", "python")
    scope = {}
    exec(example, scope)
    assert scope["folder"].joinpath("manifest.json").is_file()
    assert len(scope["campaign"].evaluations) == 8
    assert "robust_accuracy" in capsys.readouterr().out


def test_the_spaces_in_readme_are_valid():
    first, second = (yaml.safe_load(text) for text in blocks("README.md", "yaml"))
    second["candidate"] |= {"dataset": {"name": "mnist"}}
    named = [{"campaign": {"name": "readme"}} | data for data in (first, second)]
    plans = [make_plan(Document(data, Place())) for data in named]
    assert [len(plan.space.genes()) for plan in plans] == [8, 9]


@pytest.mark.rotated(4)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=pytest.mark.slow if path.stem in LARGE else [])
        for path in sorted((ROOT / "search_spaces").rglob("*.yaml"))
    ],
)
def test_shipped_spaces_are_valid(path):
    plan = make_plan(load(path))
    assert plan.campaign.name == path.stem


@pytest.mark.ray
@pytest.mark.slow
def test_the_plugin_in_the_docs_works_in_every_verb(tmp_path):
    """A module in the working directory is found by driver, workers and export, each a process of its own."""
    (code,) = blocks("search_spaces/README.md", "python")
    (tmp_path / "my_module.py").write_text(code)
    data = load(ROOT / "search_spaces/digits.yaml").data
    data["imports"] = ["my_module"]
    data["candidate"]["training"]["loss"] = {"name": "smoothed", "smoothing": {"real": [0, 0.3]}}
    data["candidate"]["training"]["epochs"] = 1
    data["campaign"] |= {"constraints": [], "budget": {"population": 2, "generations": 1}}
    (tmp_path / "space.yaml").write_text(dump(data))
    for arguments in (["search", "space.yaml", "--out", "c"], ["export", "c", "--to", "model"]):
        subprocess.run([sys.executable, "-m", "moosearch", *arguments], check=True, cwd=tmp_path)
    assert (tmp_path / "model/manifest.json").is_file()


@pytest.mark.parametrize(
    "path", ["README.md", "search_spaces/README.md", "results/README.md", "moosearch/README.md"]
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / path).read_text()):
        assert (ROOT / path).parent.joinpath(target).exists(), target


def test_a_campaign_of_an_older_version_opens():
    reference = moosearch.Campaign(ROOT / "tests/older/digits")
    assert len(reference.evaluations) == 96
    assert reference.front.to_frame().to_csv(index=False) == reference.folder.front.read_text()
