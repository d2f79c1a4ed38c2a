"""A disk that is full, and one that can only be read."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from injection.driver import Moment

BLOCK = 64 * 1024


@contextlib.contextmanager
def _mounted(folder, *options):
    done = subprocess.run(["mount", *options, folder], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def _read_only(folder):
    """Whoever opens a file by its path from now on cannot write it."""
    with _mounted(folder, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield


@pytest.fixture(autouse=True)
def _can_mount():
    if os.geteuid() != 0 or not Path("/proc/self/mounts").exists():
        pytest.skip("mounting needs root")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2))])
def test_full(make_site, tmp_path, number):
    disk = tmp_path / "disk"
    disk.mkdir()
    with _mounted(disk, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        site = make_site(name="disk/c")
        moment = Moment.drawn(f"full {number}")
        driver = site.search()
        driver.wait_for(moment)
        _fill(disk / "filler", leave=number * 700)
        site.struck(driver, moment, 1)
        (disk / "filler").unlink()
        site.resume()
        site.check()


def _fill(file, leave):
    """Take every byte of a file system but a few."""
    with file.open("wb", buffering=0) as stream:
        for size in (BLOCK, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(size))
        if leave:
            stream.truncate(max(0, stream.tell() - leave))


@pytest.mark.long
def test_read_only_in_mid_run(site):
    moment = Moment.drawn("read-only")
    driver = site.search()
    driver.wait_for(moment)
    with _read_only(site.folder):
        driver.ended()
    site.struck(driver, moment, 1)
    site.resume()
    site.check()


@pytest.mark.long
def test_read_only_from_the_start(make_site, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    site = make_site(name="disk/c")
    with _read_only(disk):
        driver = site.search()
        site.struck(driver, Moment("its start"), 2)
        assert "cannot write here" in driver.said
    driver = site.search()
    assert site.settled(driver) == 0
    site.check()
