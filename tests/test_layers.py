"""Who may import whom: packages import from lower layers alone, and heavy libraries have owners."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "moosearch"

LAYER = {
    "errors": 0,
    "evaluation": 0,
    "extras": 0,
    "seeding": 0,
    "registry": 0,
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    relative = path.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    assert own in LAYER, f"give {own} a layer"
    for name, at_import in imports(path):
        parts = name.split(".")
        if parts[0] == "moosearch" and len(parts) > 1 and at_import:
            assert parts[1] == own or LAYER[parts[1]] <= LAYER[own], f"{relative} imports {name}"
            if parts[1] != own and LAYER[parts[1]] == LAYER[own]:
                assert LAYER[own] in (0, 8), f"{relative} imports its neighbor {name}"
        elif parts[0] in OWNERS:
            assert own in OWNERS[parts[0]], f"{relative} imports {name}"


def test_inspecting_needs_neither_torch_nor_ray(tmp_path):
    """`front` and `status` answer at once: torch alone takes seconds to import."""
    program = """
        import sys
        import moosearch, moosearch.cli, moosearch.campaign.campaign, moosearch.pareto, moosearch.algorithms
        import moosearch.campaign.plots, moosearch.campaign.gene_plots, moosearch.campaign.comparison_plots
        import moosearch.report.comparison
        assert not {"torch", "ray"} & set(sys.modules), sorted(sys.modules)
    """
    subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in program.splitlines())], check=True
    )


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
