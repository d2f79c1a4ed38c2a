"""What `make demo` does with exit codes: run by make itself, on commands of the test's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def demo(tmp_path):
    """Run `make demo`, a search of which ends with an exit code: -> (exit code, stdout, verbs)."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    scripts = tmp_path / "venv" / "bin"
    scripts.mkdir(parents=True)

    def run(code):
        command = scripts / "moosearch"
        command.write_text(
            f'#!/bin/sh\necho "$1" >> {tmp_path}/verbs\n[ "$1" = search ] && exit {code}\nexit 0\n'
        )
        command.chmod(0o755)
        done = subprocess.run(
            ["make", "demo", "VENV=venv", "READY="], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, (tmp_path / "verbs").read_text().split()

    return run


@pytest.mark.parametrize("code", [0, 3])
def test_the_demo_ends_with_report_and_export_where_some_candidates_failed(demo, code):
    returned, out, verbs = demo(code)
    assert (returned, verbs) == (0, ["search", "report", "export"])
    assert "Look first at results/digits/report.html" in out


@pytest.mark.parametrize("code", [1, 2, 130])
def test_the_demo_stops_where_the_search_did_not_end(demo, code):
    returned, _, verbs = demo(code)
    assert (returned, verbs) == (2, ["search"])
