"""What commands import: that decides how long they take. One process runs them all, the lightest first."""

import subprocess
import sys
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[2] / "results/digits-reference"

PROGRAM = """
import sys

HEAVY = {"torch", "ray", "torchvision", "sklearn", "scipy", "pandas", "matplotlib", "pymoo", "optuna"}

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
loads("list")
loads("status", folder, allowed={"optuna", "scipy"})  # SciPy: the reference campaign was confirmed
loads("front", folder, allowed={"optuna", "scipy"})
del sys.modules["scipy"], sys.modules["optuna"]
loads("validate", "digits", allowed={"torch"})
"""


def test_commands_import_what_they_need(tmp_path):
    program = PROGRAM.replace("import sys\n", f"import sys\nfolder = {str(REFERENCE)!r}\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
