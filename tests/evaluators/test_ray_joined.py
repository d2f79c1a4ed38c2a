"""A cluster that others started: it is joined by who has its token, and it may go away."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

import moosearch

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "5f" * 32


def environment(**variables):
    """This process's environment, without what it says of Ray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | variables


@pytest.fixture(scope="module")
def guarded():
    """Address of a cluster that asks for a token, and the process that started it."""
    with socket.socket() as one, socket.socket() as other:
        ports = []
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    # Ray's sockets lie in its folder, and may not have a long path.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        options = {
            "port": ports[0],
            "ray-client-server-port": ports[1],
            "num-cpus": 1,
            "include-dashboard": "false",
            "object-store-memory": 100_000_000,
            "min-worker-port": 0,
            "max-worker-port": 0,
            "temp-dir": folder,
        }
        ray = Path(sys.executable).with_name("ray")
        with subprocess.Popen(
            [ray, "start", "--head", "--block", "--disable-usage-stats"]
            + [f"--{name}={value}" for name, value in options.items()],
            env=environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ray runtime started" in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield f"127.0.0.1:{ports[0]}", process
            process.terminate()
            process.communicate(timeout=60)


def command(space, folder, address, **variables):
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(space))
    where = f"campaign.evaluator={{name: ray, address: '{address}'}}"
    return subprocess.Popen(
        [sys.executable, "-m", "moosearch", "search", path, "--out", folder, "--set", where],
        env=environment(RAY_AUTH_MODE="token", **variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def search(space, folder, address, **variables):
    process = command(space, folder, address, **variables)
    _, err = process.communicate(timeout=240)
    assert "Traceback" not in err
    return process.returncode, err


def test_the_token_is_asked_for(guarded, space, tmp_path):
    address, _ = guarded
    space["campaign"]["budget"] = {"population": 2, "generations": 1}
    code, err = search(space, tmp_path / "wrong", address, RAY_AUTH_TOKEN="00" * 32)
    assert code == 2
    assert "RAY_AUTH_TOKEN" in err
    code, err = search(space, tmp_path / "missing", address, HOME=str(tmp_path))
    assert code == 2
    assert "RAY_AUTH_TOKEN" in err

    token = tmp_path / "token"
    token.write_text(TOKEN)
    code, err = search(space, tmp_path / "c", address, RAY_AUTH_TOKEN_PATH=str(token))
    assert code == 0, err
    assert [e.status for e in moosearch.Campaign(tmp_path / "c").evaluations] == ["complete"] * 2
    token.unlink()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_cluster_that_goes_away_is_lost(guarded, space, tmp_path):
    """Before Ray itself ends the process, without our words: it does after a minute or two."""
    import ray  # noqa: F401 (brings psutil)

    psutil = __import__("psutil")
    address, head = guarded
    space["candidate"]["training"]["epochs"] = 200
    process = command(space, tmp_path / "c", address, RAY_AUTH_TOKEN=TOKEN)
    events = tmp_path / "c" / "events.jsonl"
    while process.poll() is None and not (events.exists() and '"epoch"' in events.read_text()):
        time.sleep(0.1)
    for each in psutil.Process(head.pid).children(recursive=True):
        if each.name() == "gcs_server":
            each.kill()
    _, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert "Ray is gone: nobody answers" in " ".join(err.split())
