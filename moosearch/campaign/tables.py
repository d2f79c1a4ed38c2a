"""Tables of a campaign: views of the ledger, rebuilt at will."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moosearch.campaign.confirmed import Confirmation
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.ledger import Header, Ledger
from moosearch.evaluation import Evaluation
from moosearch.pareto import Front
from moosearch.pareto.front import to_frame

if TYPE_CHECKING:
    import pandas as pd


def write_tables(folder: CampaignFolder, ledger: Ledger) -> None:
    """Write ``candidates.csv``, ``front.csv``, ``hypervolume.csv``, and ``confirmed.csv`` if anything is."""
    evaluations = ledger.evaluations()
    confirmation = Confirmation.read(folder, evaluations, ledger.header.objectives)
    front = Front.of(evaluations, ledger.header.objectives)
    tables = {
        folder.candidates: candidates_table(evaluations),
        folder.front: front.to_frame(),
        folder.hypervolume: hypervolume_table(evaluations, ledger.header),
    }
    if confirmation is not None:
        tables[folder.confirmed_table] = confirmation.to_frame()
    for path, table in tables.items():
        write_atomically(path, table.to_csv(index=False))


def candidates_table(evaluations: Sequence[Evaluation]) -> "pd.DataFrame":
    """Return a row a candidate: generation, status, objectives, genes, seconds, reason of failure."""
    table = to_frame(evaluations)
    table.insert(1, "generation", [e.generation for e in evaluations])
    table.insert(2, "status", [e.status for e in evaluations])
    table.insert(3, "feasible", [e.feasible for e in evaluations])
    for part in ("train", "measure", "total"):
        table[f"seconds_{part}"] = [e.seconds.get(part) for e in evaluations]
    table["reason"] = [e.reason for e in evaluations]
    return table


def hypervolume_table(evaluations: Sequence[Evaluation], header: Header) -> "pd.DataFrame":
    """Return `hypervolumes` as a table."""
    import pandas as pd

    columns = ["generation", "evaluations", "failed", "front", "hypervolume"]
    return pd.DataFrame(hypervolumes(evaluations, header), columns=columns)


def hypervolumes(evaluations: Sequence[Evaluation], header: Header) -> list[dict[str, Any]]:
    """Return a row a generation: evaluations so far, size of the front, hypervolume in [0, 1]."""
    rows = []
    for generation in sorted({e.generation for e in evaluations}):
        until = [e for e in evaluations if e.generation <= generation]
        front = Front.of(until, header.objectives)
        rows.append(
            {
                "generation": generation,
                "evaluations": len(until),
                "failed": sum(e.status == "failed" for e in until),
                "front": len(front),
                "hypervolume": front.hypervolume(),
            }
        )
    return rows


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a frame as plain data; NaN is None."""
    return [{str(key): plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a value of a frame as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
