"""Processes by the mark that they inherit in their environment, whatever session or group they are in."""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "MOOSEARCH_FAULTS_MARK"


def names(mark: str) -> dict[int, str]:
    """Return the living processes with a mark: id -> name."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            name = (folder / "comm").read_text().strip()
        except OSError:  # it is gone
            continue
        if f"{MARK}={mark}".encode() in environment and state != "Z":
            found[int(folder.name)] = name
    return found


def kill(processes: list[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes, some of which may be gone."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def left(mark: str, seconds: float, *, spare: tuple[str, ...] = ()) -> list[str]:
    """Wait until no marked process lives; kill those that do after so many seconds.

    Args:
        mark: The mark.
        seconds: How long to wait.
        spare: Names of processes that may live on for a while.

    Returns:
        The names of those that should not live.
    """
    deadline = time.monotonic() + seconds
    while set(names(mark).values()) - set(spare) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = names(mark)
    kill(list(alive))
    return [name for name in alive.values() if name not in spare]
