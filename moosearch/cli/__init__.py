"""The command line: parse, call, print, exit code.

0 done, 1 our fault, 2 the user's input, 3 done but some candidates failed, 129 hung up, 130 interrupted,
143 terminated.
"""

import atexit
import gc
import sys
import traceback

from moosearch.cli.app import app, err, out
from moosearch.errors import MooSearchError

__all__ = ["app", "err", "main", "out"]


def main() -> None:
    """Run the command line; errors of ours are one line on stderr."""
    atexit.register(gc.freeze)  # torch's modules are not looked through for garbage at the end: 0.2 s
    try:
        app()
    except MooSearchError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        err.print(f"error: {' '.join(str(error).split())}", style="red", soft_wrap=True)
        sys.exit(error.exit_code)
