"""What a process that a signal ends leaves behind: its note, in a file that others of the user read."""

import contextlib
import faulthandler
import functools
import os
import re
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FATAL = re.compile(r"Fatal Python error: (.+)")
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
_SIGNALS = {
    "segmentation fault": "SIGSEGV",
    "aborted": "SIGABRT",
    "bus error": "SIGBUS",
    "illegal instruction": "SIGILL",
    "floating point exception": "SIGFPE",
    "floating-point exception": "SIGFPE",
}
"""What Python's faulthandler calls the signals that it hears, and their names."""


@dataclass(frozen=True)
class LastWords:
    """What a process said before it died.

    Attributes:
        cause: What ended it, as the end of a sentence.
        where: The line of Python that it was in; empty where that is not known.
    """

    cause: str
    where: str = ""


@functools.cache
def keep_note() -> bool:
    """Have this process leave a note where a signal of its own ends it; once a process.

    Nothing is left by what cannot be heard: SIGKILL, as the system sends it where memory runs out, and a
    process that exits by itself.

    Returns:
        Whether there is a place for the note.
    """
    try:
        path = _note(os.getpid(), make=True)
        _tidy(path.parent)
        path.unlink(missing_ok=True)  # of an earlier process of this number
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    faulthandler.enable(descriptor, all_threads=False)  # the descriptor stays open for it
    return True


def read_note(pid: int) -> LastWords | None:
    """Return what a process of this machine said before it died; None where it said nothing.

    Its file goes with it.
    """
    try:
        path = _note(pid, make=False)
        said = path.read_text(errors="replace")
        path.unlink()
    except OSError:
        return None
    return understood(said)


def understood(said: str) -> LastWords | None:
    """Read a note as Python's faulthandler writes it; None where it is empty.

    Example:
        >>> understood("Fatal Python error: Aborted")
        LastWords(cause='was ended by signal 6 (SIGABRT: aborted)', where='')
    """
    fatal = _FATAL.search(said)
    if fatal is None:
        return None
    words = fatal[1].strip()
    name = _SIGNALS.get(words.lower())
    known = f"signal {int(signal.Signals[name])} ({name}: {words.lower()})" if name else shortened(words)
    frame = _FRAME.search(said)
    return LastWords(f"was ended by {known}", f"{frame[1]}, line {frame[2]}, in {frame[3]}" if frame else "")


def oom_kills() -> int:
    """Return how many processes of this machine the system has killed for want of memory; 0 where unknown."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


def shortened(text: str, most: int = 240) -> str:
    """Return the first line of a text, and no more of it than so many characters."""
    first = text.strip().split("\n", 1)[0].strip()
    return first if len(first) <= most else first[: most - 3].rstrip() + "..."


def _tidy(folder: Path) -> None:
    """Delete the empty notes of processes that are gone."""
    for path in folder.glob("*.note"):
        with contextlib.suppress(OSError, ValueError):
            if not path.stat().st_size and not _lives(int(path.stem)):
                path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _note(pid: int, *, make: bool) -> Path:
    """Return the path of a process's note, in a folder that nobody else writes.

    Raises:
        OSError: There is no such folder.
    """
    owner = getattr(os, "getuid", int)()
    folder = Path(tempfile.gettempdir()) / f"moosearch-{owner}"
    if make:
        folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != owner or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not ours alone")
    return folder / f"{pid}.note"
