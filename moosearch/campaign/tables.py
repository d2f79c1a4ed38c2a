"""Tables of a campaign: views of the log, rebuilt at will."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moosearch.campaign.confirmation import Confirmation
from moosearch.campaign.folder import CampaignFolder, write_atomically
from moosearch.campaign.header import Header
from moosearch.evaluation import Evaluation, HasObjectives
from moosearch.pareto import Front, hypervolume, non_dominated, to_losses
from moosearch.pareto.dominance import Array
from moosearch.pareto.front import to_frame

if TYPE_CHECKING:
    import pandas as pd


def write_tables(folder: CampaignFolder, evaluations: Sequence[Evaluation], header: Header) -> None:
    """Write ``candidates.csv``, ``front.csv``, ``hypervolume.csv``, and ``confirmed.csv`` if anything is.

    Args:
        folder: The campaign's folder.
        evaluations: Everything evaluated, in the order asked for.
        header: What the campaign says of itself.
    """
    confirmation = Confirmation.read(folder, evaluations, header.objectives)
    front = Front.of(evaluations, header.objectives)
    tables = {
        folder.candidates: candidates_table(evaluations),
        folder.front: front.to_frame(),
        folder.hypervolume: hypervolume_table(evaluations, header),
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


def hypervolumes(evaluations: Iterable[HasObjectives], header: Header) -> list[dict[str, Any]]:
    """Return a row a generation: evaluations so far, size of the front, hypervolume in [0, 1]."""
    return History(header).of(evaluations)


class History:
    """The rows of `hypervolumes` of a campaign that goes on: only what comes is computed."""

    def __init__(self, header: Header) -> None:
        """Start empty."""
        self._objectives = header.objectives
        self._rows: list[dict[str, Any]] = []
        self._fronts: list[Array] = []
        self._sizes: list[int] = []

    def of(self, evaluations: Iterable[HasObjectives]) -> list[dict[str, Any]]:
        """Return the rows.

        Args:
            evaluations: Everything evaluated, in any order; what was there the last time still is.
        """
        groups: dict[int, list[HasObjectives]] = {}
        for each in evaluations:
            groups.setdefault(each.generation, []).append(each)
        generations = sorted(groups)
        same = 0
        for row, size, generation in zip(self._rows, self._sizes, generations, strict=False):
            if row["generation"] != generation or size != len(groups[generation]):
                break
            same += 1
        del self._rows[same:], self._fronts[same:], self._sizes[same:]
        for generation in generations[same:]:
            self._add(generation, groups[generation])
        return [dict(row) for row in self._rows]

    def _add(self, generation: int, group: list[HasObjectives]) -> None:
        before = self._rows[-1] if self._rows else {"evaluations": 0, "failed": 0, "hypervolume": 0.0}
        old = self._fronts[-1] if self._fronts else np.zeros((0, len(self._objectives)))
        losses = np.vstack([old, to_losses([e for e in group if e.feasible], self._objectives)])
        front = losses[non_dominated(losses)]
        front = front[np.lexsort(front.T[::-1])]  # as `Front` sorts its members: sums are the same to the bit
        volume = before["hypervolume"] if np.array_equal(front, old) else hypervolume(front)
        self._fronts.append(front)
        self._sizes.append(len(group))
        self._rows.append(
            {
                "generation": generation,
                "evaluations": before["evaluations"] + len(group),
                "failed": before["failed"] + sum(e.status == "failed" for e in group),
                "front": len(front),
                "hypervolume": volume,
            }
        )


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a frame as plain data; NaN is None."""
    return [{str(key): plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a value of a frame as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
