"""A console that nobody reads any more."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from moosearch.cli.app import err, out
for console in (out, err):
    for _ in range(2):
        console.print("a line")
"""


def test_it_falls_silent_where_a_pipe_is_broken():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == "a line\na line\n"
