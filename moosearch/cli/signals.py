"""Ctrl-C and SIGTERM, and how a command ends by them."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import typer

from moosearch.campaign.stop import Stop
from moosearch.cli.app import err
from moosearch.errors import Stopped


class _Terminated(BaseException):
    """SIGTERM, as clusters send it before they take a machine away."""


@contextlib.contextmanager
def interruptible(verb: str) -> Iterator[Stop]:
    """Let Ctrl-C end a command once what runs is finished, and at once when it is pressed again; SIGTERM too.

    Args:
        verb: The command that goes on.

    Yields:
        The wish to stop.
    """
    stop = Stop()

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.request()
        err.print("stopping: what runs is finished and stored first; Ctrl-C again stops at once.")

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, interrupted),
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminated),
    }
    how_to_go_on = f"what was evaluated is stored; go on with `moosearch {verb} DIR`."
    try:
        yield stop
    except Stopped:
        err.print(f"stopped: {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        err.print(f"interrupted: {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(130) from None
    except _Terminated:
        err.print(f"terminated: {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(143) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
