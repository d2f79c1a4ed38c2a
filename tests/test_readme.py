"""Examples, commands, links and paths in the documents work."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.core import TyperGroup

import moosearch
from moosearch.cli.commands import StandIn
from moosearch.errors import Place
from moosearch.plan.plan import make_plan
from moosearch.space.files import Document, dump, load

ROOT = Path(__file__).resolve().parents[1]


PAGES = (
    "README.md",
    "search_spaces/README.md",
    "results/README.md",
    "moosearch/README.md",
    "tests/README.md",
)
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


def spaces(path):
    found = map(yaml.safe_load, blocks(path, "yaml"))
    return [data for data in found if "architecture" in data.get("candidate", {})]


def genes(data):
    return len(make_plan(Document({"campaign": {"name": "readme"}} | data, Place())).space.genes())


def test_the_spaces_in_the_documents_are_valid():
    first, second = spaces("search_spaces/README.md")
    second["candidate"] |= {"dataset": {"name": "mnist"}}
    assert [genes(first), genes(second)] == [8, 9]


def test_the_space_for_your_own_data_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = np.zeros((8, 32, 32, 3), np.uint8), np.arange(8) % 2
    np.savez("images.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(images[0]).save(tmp_path / "photos" / name / "0.png")
    (space,) = spaces("README.md")
    folder = yaml.safe_load(blocks("README.md", "yaml")[1])
    assert folder["dataset"]["name"] == "image_folder"
    assert [genes(space), genes(space | {"candidate": space["candidate"] | folder})] == [5, 5]


def commands():
    lines = "".join(text.replace("\\\n", " ") for path in PAGES for text in blocks(path, "sh")).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [rest for name, *rest in filter(None, words) if name == "moosearch"]


def test_the_commands_in_the_documents_are_understood(monkeypatch):
    """Names of commands, options and shipped spaces; nothing is run."""
    monkeypatch.chdir(ROOT)
    assert len(commands()) > 30
    for name, *rest in commands():
        command = StandIn(name).make_context(name, rest).command
        if isinstance(command, TyperGroup):
            command.commands[rest[0]].make_context(rest[0], rest[1:])


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


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path):
    for file, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / path).read_text()):
        target = (ROOT / path).parent / file if file else ROOT / path
        assert target.exists(), file
        if heading:
            titles = re.findall(r"(?m)^#+ (.*)$", target.read_text())
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", ["moosearch/README.md", "moosearch/DECISIONS.md", "results/README.md"])
def test_files_and_modules_that_are_named_exist(path):
    text = (ROOT / path).read_text()
    for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.(?:py|json|yaml))`", text):
        assert (ROOT / name).exists() or (ROOT / "moosearch" / name).exists(), name
    for name in re.findall(r"`(?:moosearch\.)?((?:[a-z_]+\.)+[A-Z]\w+)`", text):
        module, _, attribute = f"moosearch.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_documents_stay_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    assert len((ROOT / "moosearch/DECISIONS.md").read_text().splitlines()) < 120


def test_a_campaign_of_an_older_version_opens():
    reference = moosearch.Campaign(ROOT / "tests/older/digits")
    assert len(reference.evaluations) == 96
    assert reference.front.to_frame().to_csv(index=False) == reference.folder.front.read_text()
