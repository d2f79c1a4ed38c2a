"""Who may import whom: rooms import from lower floors, in no circles, and heavy libraries have owners."""

import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "moosearch"
LARGEST_FILE, LARGEST_SHARE = 550, 0.15
"""Lines of a file, and a room's share of all lines."""
FLOOR = {
    room: int(number)
    for number, rooms in re.findall(r"^ ?(\d+)  (\w+(?: \w+)*)", (PACKAGE / "README.md").read_text(), re.M)
    for room in rooms.split()
}
"""The floor of every room, as the package's README draws it."""

NETWORKS = {
    "models",
    "attacks",
    "losses",
    "judging",
    "verify",
    "training",
    "evaluators",
    "analysis",
    "export",
}
OWNERS = {
    "torch": {"seeding", "data", "plan", "run", "trackers", *NETWORKS},
    "torchvision": {"data", "models"},
    "pymoo": {"algorithms", "pareto"},
    "moocore": {"pareto"},
    "optuna": {"campaign", "analysis", "report"},
    "ray": {"evaluators"},
    "matplotlib": {"report/plots"},
    "plotly": {"report"},
    "optuna_dashboard": {"report"},
    "yaml": {"space"},
    "typer": {"cli"},
    "rich": {"cli"},
    "onnxruntime": {"export"},
    "mlflow": {"trackers"},
    "tensorboard": {"trackers"},
    "sqlalchemy": {"campaign"},
    "foolbox": {"attacks"},
    "pyautoattack": {"attacks"},
    "scipy": {"judging", "pareto", "verify", "analysis"},
    "highspy": {"verify"},
}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(name):
    return name.split(".")[1] if "." in name else "__init__"


def imports(path):
    """Every module that a file imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from {name if name in FILES else node.module for name in modules}


def typing_only(path):
    """What a file imports for type checkers alone."""
    return {
        name
        for test in ast.walk(ast.parse(path.read_text()))
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
        if isinstance(node, ast.ImportFrom)
        for name in [node.module]
    }


def test_imports_go_down():
    offenders = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for file, path in FILES.items()
        for name in imports(path)
        if name.split(".")[0] == "moosearch"
        and room_of(name) != room_of(file)
        and FLOOR[room_of(name)] >= FLOOR[room_of(file)]
    ]
    assert not offenders


def test_heavy_libraries_are_imported_by_their_owners_alone():
    offenders = []
    for path in FILES.values():
        own = path.relative_to(PACKAGE).as_posix().removesuffix(".py")
        for name in set(imports(path)) - typing_only(path):
            owners = OWNERS.get(name.split(".")[0])
            if owners is not None and not any(f"{own}/".startswith(f"{owner}/") for owner in owners):
                offenders.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not offenders


def test_the_device_is_chosen_in_one_place():
    """Others ask whether there is a GPU to report on it, or to give memory back."""
    asking = {
        str(path.relative_to(PACKAGE)) for path in FILES.values() if "cuda.is_available" in path.read_text()
    }
    assert asking == {"evaluators/devices.py", "evaluators/faults.py", "run/doctor.py"}


def test_no_room_has_a_circle():
    circles = []
    for room in FLOOR:
        within = {
            file: {name for name in imports(path) if name in FILES and room_of(name) == room and name != file}
            for file, path in FILES.items()
            if room_of(file) == room
        }
        try:
            TopologicalSorter(within).prepare()
        except CycleError as error:
            circles.append(" -> ".join(error.args[1]))
    assert not circles


def test_no_room_and_no_file_is_too_large():
    lines = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    rooms = defaultdict(int)
    for file, count in lines.items():
        rooms[room_of(file)] += count
    assert {file: count for file, count in lines.items() if count > LARGEST_FILE} == {}
    limit = LARGEST_SHARE * sum(lines.values())
    assert {room: count for room, count in rooms.items() if count > limit} == {}


def test_every_room_has_a_floor():
    found = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert found == FLOOR.keys()


def test_configuration_is_in_one_file():
    assert not [
        p.name
        for p in ROOT.iterdir()
        if p.name in ("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".ruff.toml")
    ]
