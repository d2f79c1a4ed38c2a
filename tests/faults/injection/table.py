"""The table of injected faults."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

FILE = Path(__file__).parents[3] / "results" / "benchmarks" / "faults.csv"
COLUMNS = (
    "fault",
    "evaluator",
    "moment",
    "exit",
    "evaluated_before",
    "evaluated_again",
    "resumes",
    "front_equal",
    "seconds",
)


def frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return a row a fault."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
