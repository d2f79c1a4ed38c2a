"""Studies in a real PostgreSQL, whose server is started here, and killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

import moosearch
from moosearch.campaign import storage
from moosearch.campaign.storage import PASSWORD
from moosearch.errors import CampaignError, StorageError
from moosearch.job import Begun

SECRET = "zq7-s3cret"
KEEP = ["campaign.name=tiny", "campaign.keep=all"]


def program(name):
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or next(map(str, reversed(installed)), None)
    if found is None:
        pytest.skip(f"PostgreSQL's server is not installed: there is no {name}")
    return found


class Server:
    """A PostgreSQL that listens on a socket in its folder, and nowhere else."""

    def __init__(self, folder):
        self.folder, self._process = folder, None
        # It refuses to run as root.
        self._user = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        if self._user:
            os.chown(folder, 65534, 65534)
        password = folder / "password"
        password.write_text(SECRET)
        password.chmod(0o644)
        made = subprocess.run(
            [
                program("initdb"),
                "--pgdata=" + str(folder / "data"),
                "--username=owner",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
            **self._user,
        )
        assert made.returncode == 0, made.stderr

    def url(self, password=f":{SECRET}"):
        return f"postgresql+psycopg://owner{password}@/postgres?host={self.folder}"

    def start(self):
        self._process = subprocess.Popen(
            [
                program("postgres"),
                *("-D", str(self.folder / "data"), "-k", str(self.folder)),
                *("-c", "listen_addresses=", "-c", "fsync=off"),
            ],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self.url().replace("+psycopg", "")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)

    def stop(self, sent=signal.SIGQUIT):
        if self._process is not None:
            self._process.send_signal(sent)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def fresh(server, monkeypatch):
    """An empty database, and a process that knows no password."""
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    monkeypatch.setattr(storage, "_given", {})
    monkeypatch.delenv(PASSWORD, raising=False)


def assert_secret(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_campaign_there_equals_one_in_the_folder(tiny, tmp_path, server, finished, cli, monkeypatch):
    root = tmp_path / "c"
    campaign = moosearch.search(tiny(), out=root, overrides=[*KEEP, f"campaign.storage={server.url()}"])
    assert campaign.folder.front.read_text() == finished.folder.front.read_text()
    assert [e.candidate for e in campaign.evaluations] == [e.candidate for e in finished.evaluations]
    assert not list(root.glob("study*"))
    assert_secret(root)
    assert "owner:***@" in campaign.folder.spec.read_text()

    monkeypatch.setattr(storage, "_given", {})  # as another process would find it
    for command in ("status", "front"):  # who reads asks no database
        assert cli(command, root)[0] == 0
    code, _, err = cli("resume", root)
    assert code == 2
    assert PASSWORD in err
    monkeypatch.setenv(PASSWORD, SECRET)
    for command in ("status", "front", "resume"):
        assert cli(command, root)[0] == 0
    # With the password, without it, or with the mask: it is the same campaign.
    for password in ("", f":{SECRET}", ":***"):
        overrides = [*KEEP, f"campaign.storage={server.url(password)}"]
        again = moosearch.search(tiny(), out=root, overrides=overrides)
        assert len(again.evaluations) == len(finished.evaluations)
    assert_secret(root)


def test_a_wrong_password_is_told_before_anything_is_written(tiny, tmp_path, server):
    overrides = [*KEEP, f"campaign.storage={server.url(':wr0ng-one')}"]
    with pytest.raises(CampaignError, match="password authentication failed") as caught:
        moosearch.search(tiny(), out=tmp_path / "c", overrides=overrides)
    assert "wr0ng-one" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_campaigns_share_a_database(tiny, tmp_path, server, finished):
    for name, seed in (("one", 3), ("two", 4)):
        overrides = [f"campaign.name={name}", f"campaign.seed={seed}", f"campaign.storage={server.url()}"]
        moosearch.search(tiny(), out=tmp_path / name, overrides=overrides)
    one, two = (moosearch.Campaign(tmp_path / name) for name in ("one", "two"))
    assert [e.objectives for e in one.evaluations] == [e.objectives for e in finished.evaluations]
    assert not {e.candidate.id for e in one.evaluations} & {e.candidate.id for e in two.evaluations}
    overrides = ["campaign.name=one", f"campaign.storage={server.url()}"]
    with pytest.raises(CampaignError, match="belongs to the campaign of another folder"):
        moosearch.search(tiny(), out=tmp_path / "three", overrides=overrides)


HANGS = """
import sys, time
import moosearch
from moosearch.job import Begun

class Hanging:
    left = 4

    def __call__(self, event):
        if isinstance(event, Begun):
            self.left -= 1
            if self.left == 0:
                print("three are stored", flush=True)
                time.sleep(600)

file, root, *overrides = sys.argv[1:]
moosearch.search(file, out=root, overrides=overrides, observer=Hanging())
"""


@pytest.mark.slow
def test_a_killed_campaign_goes_on(tiny_file, tmp_path, server, finished, cli, monkeypatch):
    root = tmp_path / "c"
    monkeypatch.setenv(PASSWORD, SECRET)
    command = [sys.executable, "-c", HANGS, tiny_file, root, *KEEP, f"campaign.storage={server.url('')}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "three are stored\n"
        process.kill()
    assert len(moosearch.Campaign(root).evaluations) == 3
    assert cli("resume", root)[0] == 0
    campaign = moosearch.Campaign(root)
    assert campaign.folder.front.read_text() == finished.folder.front.read_text()
    assert len(campaign.evaluations) == len(finished.evaluations)
    assert_secret(root)


class Breaker:
    def __init__(self, server, after):
        self.server, self.left = server, after

    def __call__(self, event):
        if isinstance(event, Begun):
            self.left -= 1
            if self.left == 0:
                self.server.stop()


@pytest.mark.slow
def test_a_server_that_goes_away_ends_the_campaign_and_loses_nothing(tiny, tmp_path, server, finished):
    root = tmp_path / "c"
    overrides = [*KEEP, f"campaign.storage={server.url()}"]
    try:
        with pytest.raises(StorageError) as caught:
            moosearch.search(tiny(), out=root, overrides=overrides, observer=Breaker(server, 6))
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(CampaignError, match="cannot be opened"):
            moosearch.resume(root)
    finally:
        server.start()
    campaign = moosearch.resume(root)
    assert campaign.folder.front.read_text() == finished.folder.front.read_text()
    assert len(campaign.evaluations) == len(finished.evaluations)
    assert_secret(root)


class Restarter(Breaker):
    def __call__(self, event):
        if isinstance(event, Begun):
            self.left -= 1
            if self.left == 0:
                self.server.stop()
                self.server.start()


@pytest.mark.slow
def test_a_server_that_comes_back_in_between_disturbs_nothing(tiny, tmp_path, server, finished):
    overrides = [*KEEP, f"campaign.storage={server.url()}"]
    campaign = moosearch.search(
        tiny(), out=tmp_path / "c", overrides=overrides, observer=Restarter(server, 4)
    )
    assert campaign.folder.front.read_text() == finished.folder.front.read_text()
