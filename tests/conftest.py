"""Shared by all tests: one thread, a tiny space, the command line in this process, a finished campaign."""

import datetime
import hashlib
import os
import signal
import sys
from collections import defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # two cores must not fight; and results of one thread are the same everywhere
)
os.environ.setdefault("MOOSEARCH_TEST_DAY", datetime.date.today().isoformat())  # for all processes of a run
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import yaml
from hypothesis import settings
from made_up import made_up  # noqa: F401
from shared import Shared

import moosearch

settings.register_profile("all", deadline=None)  # machines are busy
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("all")

TINY = """
campaign:
  seed: 3
  objectives:
    - {name: clean_accuracy}
    - {name: robust_accuracy, attacks: [{name: pgd, eps: 0.1, step: 0.05, steps: 2}]}
    - {name: flops}
  budget: {population: 4, generations: 2}
  evaluator: serial
  storage: journal
candidate:
  dataset: {name: digits, auxiliary: [odd_even]}
  architecture:
    choice:
      - {name: small_cnn, width: {integer: [2, 8, 2]}, depth: 2}
      - {name: lenet, width: {log_real: [0.05, 0.1]}}
  training:
    epochs: 1
    batch_size: 256
    attack:
      choice:
        - {name: pgd, eps: 0.1, step: 0.05, steps: 1}
        - {name: mixed, eps: 0.1, step: 0.05, steps: 1, alpha0_min: {real: [0.5, 0.95]}}
    loss: {choice: [cross_entropy, trades]}
    optimizer: {lr: {log_real: [0.01, 0.3]}}
"""


def pytest_report_header():
    return f"MOOSEARCH_TEST_DAY={os.environ['MOOSEARCH_TEST_DAY']} (decides which `rotated` tests run today)"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Make slow what has its turn on another day, and let tests with Ray come first.

    Those wait more than they work, and one process runs them all.
    """
    day = datetime.date.fromisoformat(os.environ["MOOSEARCH_TEST_DAY"]).toordinal()
    groups = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("rotated")
        if marker and not item.get_closest_marker("slow"):
            name = marker.kwargs.get("group", item.nodeid.partition("[")[0])
            groups[name, marker.args[0]].append(item)
    for (_, days), group in groups.items():
        # In an order that has nothing to do with the parameters, so that a day has some of each.
        group.sort(key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())
        for number, item in enumerate(group):
            if (number + day) % min(days, len(group)):
                item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(scope="session", autouse=True)
def signals_reach_children():
    """A test run in the background, or under nohup, ignores signals, and its children would inherit that."""
    before = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGHUP: signal.getsignal(signal.SIGHUP)}
    for number, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny():
    """The tiny space as plain data; a fresh copy each time it is called.

    Its study is a journal, which takes half a second less than SQLite, what campaigns have by default.
    """

    def make(storage="journal"):
        document = yaml.safe_load(TINY)
        document["campaign"]["storage"] = storage
        return document

    return make


@pytest.fixture
def tiny_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process: arguments -> (exit code, stdout, stderr)."""
    from moosearch.cli import main

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["moosearch", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return exit_info.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """What is made once for all processes of a test run: (name, make) -> folder, which nobody changes."""
    base = tmp_path_factory.getbasetemp()
    made = Shared(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    yield made.folder
    made.check()


@pytest.fixture(scope="session")
def finished(tiny, shared):
    """A finished campaign of 8 candidates; tests must not change its folder."""

    def make(folder):
        moosearch.search(tiny(storage=""), out=folder, overrides=["campaign.name=tiny", "campaign.keep=all"])

    return moosearch.Campaign(shared("tiny", make))


@pytest.fixture(scope="session")
def skip_programs():
    """Let exports write empty programs, which take longest, within a monkeypatch."""

    def write(_model, _images, _classes, folder):
        from moosearch.export.programs import Programs

        for name in ("model.onnx", "model.pt2", "network.py"):
            (folder / name).write_bytes(b"")
        return Programs({"onnx": 0.0, "torch_export": 0.0, "network": 0.0}, {})

    def skip(patch):
        patch.setattr("moosearch.export.write.write_programs", write)
        patch.setattr("moosearch.export.write._latency", lambda *_: None)

    return skip


@pytest.fixture
def cheap_checks(monkeypatch):
    """Look for masked gradients with little effort: whether they are found is tested elsewhere."""
    for name in ("STEPS", "DRAWS", "QUERIES"):
        monkeypatch.setattr(f"moosearch.judging.masking.{name}", 2)


@pytest.fixture
def without_programs(monkeypatch, skip_programs):
    """Exports write empty programs."""
    skip_programs(monkeypatch)
