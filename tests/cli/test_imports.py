"""What commands import: that decides how long they take. One process runs them all, the lightest first."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys

_, folder, older = sys.argv
HEAVY = {"torch", "ray", "torchvision", "sklearn", "scipy", "pandas", "matplotlib", "pymoo"}
HEAVY |= {"optuna", "sqlalchemy", "alembic"}

import moosearch
assert not {name for name in sys.modules if name.startswith("moosearch.")}
from moosearch.cli import main

def loads(*arguments, allowed=()):
    sys.argv = ["moosearch", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
    found = HEAVY & set(sys.modules)
    assert found <= set(allowed), (arguments, found)

loads("--help")
loads("--version")
assert not {"numpy", "pydantic"} & set(sys.modules)  # nor any of the commands
loads("search", "--help")
loads("list")
loads("status", folder)
loads("front", folder)
drawing = {"optuna", "sqlalchemy", "alembic", "scipy", "pandas", "matplotlib", "sklearn"}
from matplotlib.figure import Figure
Figure.savefig = lambda *_, **__: None  # takes half of the time, and imports nothing
loads("compare", folder, older, "--out", "compared", "--html", "page.html", allowed=drawing)
loads("analyze", "genes", older, "--out", "genes", allowed=drawing)
assert moosearch.Campaign(folder).confirmation.to_frame() is not None
import moosearch.algorithms, moosearch.report.plots.front, moosearch.report.campaign_page
assert not {"torch", "ray"} & set(sys.modules)
for name in HEAVY:
    sys.modules.pop(name, None)
loads("validate", "digits", allowed={"torch"})
assert "sympy" not in sys.modules  # takes a third of a second
loads("validate", "svhn", allowed={"torch"})  # its networks are counted without numbers
assert "torch._dynamo" not in sys.modules  # torch's compiler takes a second
"""


def test_commands_import_what_they_need(tmp_path):
    folders = (ROOT / "results/digits-reference", ROOT / "tests/older/digits")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *folders], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
