"""The example notebook runs, shows what it says, and leaves results/ as it was."""

import hashlib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from moosearch.api.campaign import Campaign

RESULTS = Path(__file__).resolve().parents[1] / "results"


def files():
    paths = [RESULTS / "inspect.ipynb", *(RESULTS / "digits-reference").rglob("*")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(RESULTS / "inspect.ipynb", as_version=4)


def test_it_is_stored_without_outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_it_runs_and_shows_the_front_the_plots_and_the_choices(notebook):
    before = files()
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": RESULTS}}).execute()
    assert files() == before
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    pages = "".join(data.get("text/html", "") for data in shown)
    front = Campaign(RESULTS / "digits-reference").front
    assert front._repr_html_() in pages
    assert sum("image/png" in data for data in shown) == 1
    assert front.choose("asf:clean_accuracy=1,robust_accuracy=2")._repr_html_() in pages
    for choice in front.decisions():
        assert f"<td>{choice.rule}</td>" in pages
