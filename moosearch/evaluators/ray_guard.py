"""A program that ends processes when the one that started it dies. It imports nothing of ours, to start fast.

Servers of a local Ray cluster die with the driver; Ray's agents look for them for a minute first.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable


def guard(pids: Iterable[int]) -> "subprocess.Popen[bytes] | None":
    """Start the program.

    Args:
        pids: Processes to end if this process dies before it kills the program.

    Returns:
        The program; None where a system cannot tell a process from a later one of the same id.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    return subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, *map(str, pids)],
        stdin=subprocess.PIPE,  # it ends with this process
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not meant for it
    )


def main(pids: Iterable[str]) -> None:
    """Wait for the end of the standard input, then kill the processes."""
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(int(pid)))
    sys.stdin.read()
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
