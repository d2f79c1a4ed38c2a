"""What a wheel holds, and that it works where the repository is not: the command itself is run from one."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import moosearch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a wheel, unpacked."""
    wheels = pytest.importorskip("hatchling.builders.wheel")
    pytest.importorskip("hatch_fancy_pypi_readme")
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = wheels.WheelBuilder(str(ROOT)).build(directory=str(folder / "built"), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def files(folder, top=""):
    found = (path for path in (folder / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_it_holds_the_package_and_the_search_spaces_and_nothing_else(wheel):
    info = f"moosearch-{moosearch.__version__}.dist-info"
    expected = files(ROOT, "moosearch")
    for internal in ("moosearch/README.md", "moosearch/DECISIONS.md"):
        del expected[internal]
    expected |= {f"moosearch/{name}": content for name, content in files(ROOT, "search_spaces").items()}
    found = files(wheel)
    of_the_wheel = {name for name in found if name.startswith(f"{info}/")}
    assert {name: content for name, content in found.items() if name not in of_the_wheel} == expected
    assert found[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert "moosearch/py.typed" in expected
    assert b"moosearch = moosearch.cli:main" in found[f"{info}/entry_points.txt"]


def test_its_description_shows_nothing_that_an_index_does_not_have(wheel):
    """No picture and no link lies beside it; what is said in the README is said."""
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    head, _, description = metadata.read_text().partition("\n\n")
    assert f"\nVersion: {moosearch.__version__}\n" in head
    assert "\nDescription-Content-Type: text/markdown" in head
    shown = re.sub(r"```.*?```", "", description, flags=re.DOTALL)
    assert not re.findall(r"\]\((?!https?://|#)[^)]*\)", shown)
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"(?m)^#+ .*$", description) == re.findall(r"(?m)^#+ .*$", readme)
    assert len(re.findall(r"\(picture: ", description)) == len(re.findall(r"!\[", readme)) > 0


def test_the_command_finds_the_search_spaces_of_the_wheel(wheel, tmp_path):
    """In an empty folder, from the wheel alone."""
    program = "import sys; from moosearch.cli import main; sys.argv = ['moosearch', *{}]; main()"
    environment = os.environ | {"PYTHONPATH": str(wheel), "COLUMNS": "200"}

    def run(*arguments):
        command = [sys.executable, "-c", program.format(list(arguments))]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    assert run("--version").stdout == f"moosearch {moosearch.__version__}\n"
    run("init", "--from", "cifar10", "mine.yaml")
    wanted = (ROOT / "search_spaces/cifar10.yaml").read_text().partition("\ncandidate:")[2]
    assert (tmp_path / "mine.yaml").read_text().endswith(wanted)
