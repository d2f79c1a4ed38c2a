"""Plant faults one at a time, and see that the tests find each of them: do so after tests were made faster.

    python tests/benchmarks/planted_faults.py [FAULT...] [--everything | --recorded] [--write]

Every fault is planted in a copy of the repository. The tests that should find it are run there as `make test`
runs them, without the slow ones, up to the first that fails; ``--everything`` runs the tests of the other
modules too, and ``--recorded`` those alone that found the faults before. It is an error where nothing finds a
fault, and where what finds it fails without it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "results/benchmarks/planted_faults.csv"
OPTIONS = ("-m", "not slow", "--hypothesis-profile=quick")


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        file: The file of the package that has it.
        right: Its text there, which occurs once.
        wrong: What takes its place.
        breaks: What goes wrong.
        tests: Files or folders of tests that should find it.
    """

    file: str
    right: str
    wrong: str
    breaks: str
    tests: str


FAULTS = {
    "space": Fault(
        "space/genes.py",
        "return min(max(rounded, self.low), self.high)",
        "return rounded",
        "rounding leads real genes past their bounds",
        "tests/space",
    ),
    "search": Fault(
        "algorithms/breeding.py",
        "F=losses, G=violations)",
        "F=losses, G=0 * violations)",
        "failed and infeasible candidates survive by their losses",
        "tests/algorithms/test_nsga2.py",
    ),
    "resume": Fault(
        "run/run.py",
        "for e in record.evaluations()}",
        "for e in record.evaluations() if e.index}",
        "the first candidate of every generation is trained again on resume",
        "tests/campaign/test_run.py",
    ),
    "study": Fault(
        "campaign/study.py",
        '"constraints": dict(evaluation.violations)',
        '"constraints": {}',
        "Optuna is not told which constraints are violated",
        "tests/campaign/test_study.py tests/campaign/test_run.py tests/campaign/test_storage.py",
    ),
    "attack": Fault(
        "attacks/ball.py",
        "(self.eps / _lengths(eta)).clamp_(max=1)",
        "(self.eps / _lengths(eta))",
        "l2 projection moves points within the ball to its surface",
        "tests/attacks/test_ball.py",
    ),
    "loss": Fault(
        "losses/functional.py",
        "return accuracy, beta * _divergence(clean, adversarial).mean()",
        "return accuracy, beta * _divergence(adversarial, clean).mean()",
        "TRADES takes the divergence the other way round",
        "tests/losses/test_functional.py",
    ),
    "training": Fault(
        "training/train.py",
        "        self.frozen.refresh()\n",
        "",
        "training attacks the network as it was before the first step",
        "tests/training/test_train.py",
    ),
    "judging": Fault(
        "judging/measure.py",
        "marks &= each.robust",
        "marks = each.robust",
        "the worst case is that under the last attack",
        "tests/judging/test_measure.py",
    ),
    "pareto": Fault(
        "pareto/dominance.py",
        "keep_weakly=True",
        "keep_weakly=False",
        "of candidates that are equal, one is on the front",
        "tests/pareto/test_dominance.py",
    ),
    "export": Fault(
        "export/write.py",
        "TOLERANCE = 1e-4",
        "TOLERANCE = 1e4",
        "a program whose logits differ from the network's is exported",
        "tests/export/test_write.py",
    ),
    "verify": Fault(
        "verify/bounds.py",
        "np.where(open_, -chord * lower, 0.0)",
        "np.where(open_, -chord * lower / 2, 0.0)",
        "ReLU is not below its upper line: images are proved robust that are not",
        "tests/verify/test_verifier.py",
    ),
    "ray": Fault(
        "evaluators/ray_images.py",
        "return Splits(train.to(device), val.to(device), test)",
        "return Splits(train.to(device), test.to(device), val)",
        "workers of Ray judge on test images",
        "tests/evaluators/test_ray_pool.py",
    ),
    "report": Fault(
        "report/page.py",
        "return html.escape(str(value))",
        "return str(value)",
        "names of campaigns and genes become HTML in the report",
        "tests/report moosearch/report",
    ),
}


def plant(fault: Fault, root: Path) -> None:
    """Change a file under ``root``."""
    path = root / "moosearch" / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.right) != 1:
        raise ValueError(f"{fault.file}: `{fault.right}` occurs {text.count(fault.right)} times, not once")
    path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")


def finder(tests: list[str], options: list[str], root: Path) -> str:
    """Run tests up to the first that fails, and return which it is; nothing where none does."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, *tests]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or failed is None:
        raise RuntimeError(f"the tests could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[1]


def copy(source: Path, target: Path) -> None:
    """Copy what git knows of a repository, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def main() -> int:
    """Print who finds which fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", help=f"some of {', '.join(FAULTS)}; all where none is named")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--everything", action="store_true", help="run all tests, whatever they are about")
    which.add_argument("--recorded", action="store_true", help="run the tests in the table alone")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout, such as one of before")
    parser.add_argument("--options", nargs="*", default=list(OPTIONS), help="of pytest; none for all tests")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.relative_to(ROOT)}")
    given = parser.parse_args()
    if unknown := set(given.faults) - FAULTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    known = pd.read_csv(TABLE, index_col="fault")["found_by"] if given.recorded else {}
    rows = []
    for name in given.faults or FAULTS:
        fault, begin = FAULTS[name], time.monotonic()
        tests = [] if given.everything else [known[name]] if given.recorded else fault.tests.split()
        with tempfile.TemporaryDirectory() as folder:
            copy(given.root, Path(folder))
            plant(fault, Path(folder))
            found = finder(tests, given.options, Path(folder))
        row = {"fault": name, "file": fault.file, "breaks": fault.breaks, "found_by": found}
        print(f"{name}: {found or 'NOT FOUND'} ({time.monotonic() - begin:.0f} s)", flush=True)
        rows.append(row)
    finders = sorted({row["found_by"] for row in rows} - {""})
    with tempfile.TemporaryDirectory() as folder:
        copy(given.root, Path(folder))
        if lying := finder(finders, given.options, Path(folder)) if finders else "":
            print(f"{lying} fails without a fault too")
            return 1
    print(f"{len(finders)} tests find them, and pass without them")
    if given.write:
        pd.DataFrame(rows).to_csv(TABLE, index=False)
    return 0 if all(row["found_by"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
