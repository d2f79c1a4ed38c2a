"""Ctrl-C, SIGTERM and SIGHUP, and how a command ends by them."""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import typer

from moosearch.cli.app import err
from moosearch.errors import Stopped
from moosearch.run.stop import Stop

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if hasattr(signal, "SIGHUP"):
    _WORDS[signal.SIGHUP] = "hung up"


class _Signalled(KeyboardInterrupt):
    """A signal that ends a command: libraries let it through as they do Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(_WORDS[signal.Signals(number)])
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruptible(*command: str | Path, folder: Path | None = None) -> Iterator[Stop]:
    """Let signals end a command.

    Ctrl-C ends it once what runs is finished and stored, and at once where nothing runs or when it is pressed
    again; a third one does not even wait for what is being stored. SIGTERM, as clusters send it before they
    take a machine away, and SIGHUP, of a terminal that is closed, end it at once. A signal that is ignored,
    as by ``nohup``, stays ignored. Only a main thread has signals.

    Args:
        command: The command that goes on, but for the campaign's folder.
        folder: That folder, where it is known before the campaign says it.

    Yields:
        The wish to stop.
    """
    stop = Stop()
    stop.folder = folder
    before = {}
    ends: list[int] = []

    def signalled(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.busy and not stop.requested:
            stop.request()
            _say("stopping: what runs is finished and stored first; Ctrl-C again stops at once.")
        elif not ends:
            ends.append(number)
            stop.end(_Signalled(number))
        elif number == signal.SIGINT:
            os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in _WORDS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, signalled)

    def how_to_go_on() -> str:
        if stop.folder is None:
            return "nothing had begun."
        words = shlex.join(["moosearch", *map(str, command), str(stop.folder)])
        return f"what was evaluated is stored; go on with `{words}`."

    try:
        yield stop
    except Stopped:
        _say(f"stopped: {how_to_go_on()}")
        raise typer.Exit(128 + signal.SIGINT) from None
    except KeyboardInterrupt as interrupt:
        signalled_by = interrupt if isinstance(interrupt, _Signalled) else _Signalled(signal.SIGINT)
        _say(f"{signalled_by}: {how_to_go_on()}")
        raise typer.Exit(signalled_by.exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # no terminal any more, or in the midst of a line
        err.print(text, soft_wrap=True)
