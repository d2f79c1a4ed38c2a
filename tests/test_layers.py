"""Who may import whom: packages import from lower layers alone, and heavy libraries have owners."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "moosearch"

LAYER = {
    "errors": 0,
    "evaluation": 0,
    "extras": 0,
    "seeding": 0,
    "registry": 0,
    "wording": 0,
    "space": 1,
    "pareto": 1,
    "algorithms": 2,
    "data": 2,
    "models": 3,
    "attacks": 4,
    "losses": 4,
    "judging": 5,
    "verify": 5,
    "training": 6,
    "evaluators": 7,
    "campaign": 8,
    "export": 9,
    "report": 9,
    "__init__": 10,
    "cli": 10,
    "__main__": 11,
}
OWNERS = {
    "torch": {
        "seeding",
        "data",
        "models",
        "attacks",
        "losses",
        "judging",
        "verify",
        "training",
        "evaluators",
        "campaign",
        "export",
    },
    "torchvision": {"data", "models"},
    "pymoo": {"algorithms", "pareto"},
    "moocore": {"pareto"},
    "optuna": {"campaign"},
    "ray": {"evaluators"},
    "matplotlib": {"campaign"},
    "plotly": {"report"},
    "optuna_dashboard": {"report"},
    "yaml": {"space"},
    "typer": {"cli"},
    "onnxruntime": {"export"},
    "mlflow": {"campaign"},
    "tensorboard": {"campaign"},
    "sqlalchemy": {"campaign"},
    "foolbox": {"attacks"},
    "pyautoattack": {"attacks"},
    "scipy": {"judging", "pareto", "verify", "campaign"},
    "highspy": {"verify"},
}


def imports(path):
    """Every module that a file imports, with whether it is imported when the file is."""
    tree = ast.parse(path.read_text())
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    typing_only = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            yield name, node not in inner and node not in typing_only


def test_imports_go_down():
    offenders = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name, at_import in imports(path):
            room, *inner = name.split(".")
            if room == "moosearch" and inner and at_import and inner[0] != own:
                # Neighbors may use each other on the ground floor alone.
                allowed = LAYER[inner[0]] < LAYER[own] or LAYER[inner[0]] == LAYER[own] == 0
            else:
                allowed = own in OWNERS.get(room, {own})
            if not allowed:
                offenders.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not offenders


def test_every_package_is_listed():
    found = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert found == LAYER.keys()


def test_configuration_is_in_one_file():
    assert not [
        p.name
        for p in ROOT.iterdir()
        if p.name in ("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".ruff.toml")
    ]
