"""One process at a time runs a campaign; another is told who does. Nothing is written where it may not be."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import filelock
import pytest

import moosearch
from moosearch.campaign.folder import CampaignFolder
from moosearch.errors import CampaignError

HOLD = """
    import sys
    from moosearch.campaign.folder import CampaignFolder
    with CampaignFolder(sys.argv[1]).lock():
        print("held", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def holder(finished, tmp_path):
    """Another process that holds a campaign: the process, and the folder."""
    root = shutil.copytree(finished.folder.root, tmp_path / "c")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process, CampaignFolder(root)
        process.kill()


def test_a_second_process_is_told_who_runs_the_campaign(holder, cli):
    process, folder = holder
    known = json.loads(folder.driver.read_text())
    assert known["pid"] == process.pid
    for command in (["resume"], ["confirm", "--anew"]):
        code, _, err = cli(command[0], folder.root, *command[1:])
        assert code == 2
        assert f"is being run by {known['user']} on {known['host']} (process {process.pid})" in err
        assert f"since {known['since']}" in err
    assert folder.running
    assert json.loads(folder.driver.read_text()) == known
    assert cli("front", folder.root)[0] == 0
    process.communicate("\n")
    assert not folder.running
    assert not folder.driver.exists()


def test_a_dead_holder_holds_nothing(holder):
    process, folder = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.driver.exists()
    assert not folder.running
    with folder.lock():
        assert json.loads(folder.driver.read_text())["pid"] == os.getpid()
    assert not folder.driver.exists()


def test_who_asks_for_the_status_does_not_keep_others_out(tmp_path):
    folder, held = CampaignFolder(tmp_path), threading.Event()

    def look():
        lock = folder._locked(0)
        held.set()
        time.sleep(0.2)
        lock.release()

    looking = threading.Thread(target=look)
    looking.start()
    assert held.wait(10)
    with folder.lock():
        pass
    looking.join()


@pytest.mark.parametrize("told", ["", "{}", "[1]", '"x"', "{"])
def test_a_damaged_driver_file_is_no_obstacle(tmp_path, told):
    folder = CampaignFolder(tmp_path)
    folder.driver.write_text(told)
    assert folder.holder is None
    with folder.lock():
        assert folder.holder.pid == os.getpid()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    folder = CampaignFolder(tmp_path)

    def acquire(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(CampaignError, match="this file system has no locks"), folder.lock():
        pass


ASIDE = """
    import json, os, sys
    from moosearch.cli import main
    import moosearch.run.confirm, moosearch.cli.confirm, moosearch.cli.launch

    def run(arguments):
        sys.argv = ["moosearch", *arguments]
        try:
            main()
        except SystemExit as end:
            return end.code or 0

    folder, commands = sys.argv[1], json.loads(sys.argv[2])
    for name in ("status", "front"):  # the user may not be able to read what these import, nor the rest
        run([name, folder])
    os.setgid(65534)
    os.setuid(65534)
    for arguments in commands:
        print("code", run(arguments), file=sys.stderr, flush=True)
"""
UNREADABLE = {"events.jsonl": [2, 2, 2], "study.db": [0, 0, 2], "campaign.yaml": [0, 0, 2], "": [2, 2, 2]}
"""Exit codes of status, front and resume where the user may not read a file, or the folder."""


def changes(root):
    """When each file was changed."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.fixture(scope="module")
def unprivileged(finished):
    """What a user who may read, and not write, is told of campaigns: codes, errors, whether all is as it was.

    One may be read, those of `UNREADABLE` not. One process asks it all, since its imports take long.
    """
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        asked = {"readable": ["resume", "confirm", "status", "front"]}
        asked |= {name: ["status", "front", "resume"] for name in UNREADABLE}
        roots = {name: Path(folder) / f"c{number}" for number, name in enumerate(asked)}
        for name, root in roots.items():
            shutil.copytree(finished.folder.root, root)
            for path in (root, *root.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            if name != "readable":
                (root / name).chmod(0o600 if name else 0o700)
        before = {name: changes(root) for name, root in roots.items()}
        commands = [[command, str(roots[name])] for name, each in asked.items() for command in each]
        program = [sys.executable, "-c", textwrap.dedent(ASIDE), finished.folder.root, json.dumps(commands)]
        said = subprocess.run(program, capture_output=True, text=True, check=False).stderr
        assert "Traceback" not in said, said
        told, errors = {name: ([], []) for name in asked}, []
        order = iter([name for name, each in asked.items() for _ in each])
        for line in said.splitlines():
            if line.startswith("code "):
                codes, lines = told[next(order)]
                codes.append(int(line.split()[1]))
                lines += errors
                errors = []
            else:
                errors.append(line)
        return {name: (*told[name], before[name] == changes(roots[name])) for name in asked}


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(unprivileged):
    codes, errors, unchanged = unprivileged["readable"]
    assert codes == [2, 2, 0, 0]
    assert len(errors) == 2
    assert all(line.startswith("error:") and "cannot write here" in line for line in errors)
    assert unchanged


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_may_not_be_read_is_told_in_one_line(unprivileged, name):
    codes, errors, unchanged = unprivileged[name]
    assert codes == UNREADABLE[name]
    assert not name or len(errors) == codes.count(2)
    assert unchanged


def test_an_earlier_run_of_this_process_lets_go(tiny, tmp_path):
    campaign = moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.budget.generations=1"])
    assert not campaign.folder.running
    assert not campaign.folder.driver.exists()
