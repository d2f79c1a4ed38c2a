"""CPU seconds of commands that a user waits for: user and system time of a process, median of several runs.

python tests/benchmarks/command_times.py [RUNS]
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = str(ROOT / "results/digits-reference")
DIGITS = str(ROOT / "search_spaces/digits.yaml")
COMMANDS = {
    "import moosearch": ["-c", "import moosearch"],
    "moosearch --help": ["-m", "moosearch", "--help"],
    "moosearch front (96 candidates)": ["-m", "moosearch", "front", REFERENCE],
    "moosearch status (96 candidates)": ["-m", "moosearch", "status", REFERENCE],
    "moosearch list": ["-m", "moosearch", "list"],
    "moosearch validate digits": ["-m", "moosearch", "validate", DIGITS],
    "import torch, for comparison": ["-c", "import torch"],
}


def cpu_seconds(arguments, folder):
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main():
    runs = int(sys.argv[1]) if sys.argv[1:] else 5
    print("| command | CPU seconds (median) | least |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in COMMANDS.items():
            times = [cpu_seconds(arguments, folder) for _ in range(runs)]
            print(f"| `{name}` | {statistics.median(times):.2f} | {min(times):.2f} |", flush=True)


if __name__ == "__main__":
    main()
