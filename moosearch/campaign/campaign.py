"""A campaign that is read: what was evaluated, its front, what a confirmation found."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moosearch.campaign.confirmation import Confirmation, read_plan
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.campaign.record import Record
from moosearch.campaign.tables import History
from moosearch.evaluation import Evaluation
from moosearch.pareto import Front, non_dominated, to_losses
from moosearch.text import counted

if TYPE_CHECKING:
    import pandas as pd


class Campaign:
    """A campaign folder as it is read: what was evaluated, and the front.

    Reading one needs neither torch nor Ray.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open a campaign folder for reading.

        Raises:
            CampaignError: There is no campaign in it.
        """
        self.folder = CampaignFolder.existing(folder)
        self._record = _read(self.folder)
        self._front: tuple[int, Front] | None = None
        header = self._record.header
        assert header is not None
        self._history = History(header)

    def __repr__(self) -> str:
        """Write the folder."""
        return f"Campaign({str(self.folder.root)!r})"

    @property
    def header(self) -> Header:
        """Name, objectives, constraints, algorithm, budget and seed."""
        header = self.record.header
        assert header is not None
        return header

    @property
    def record(self) -> Record:
        """What its log says by now: only what came since it was read last is read."""
        record = self._record
        if record.is_followed:
            before = record.beginnings
            record.refresh()
            if record.header is None:
                raise self.folder.damaged(self.folder.events, "it does not say what the campaign is")
            if record.beginnings != before:
                self._front, self._history = None, History(record.header)
        return record

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row a generation, see `moosearch.campaign.tables.hypervolumes`."""
        return self._history.of(self.record.in_order())

    @property
    def evaluations(self) -> list[Evaluation]:
        """Everything evaluated so far, in the order asked for."""
        return self.record.evaluations()

    @property
    def current(self) -> tuple[int, list[str]]:
        """The generation being worked on, from 1, and the ids of its candidates."""
        return self.record.current

    @property
    def finished(self) -> bool:
        """Whether the campaign came to its end."""
        return self.record.finished

    @property
    def front(self) -> Front:
        """The non-dominated, feasible evaluations."""
        record, objectives = self.record, self.header.objectives
        if self._front is None or self._front[0] != len(record.entries):
            feasible = [entry for entry in record.in_order() if entry.feasible]
            kept = non_dominated(to_losses(feasible, objectives))
            ids = {entry.id for entry, keep in zip(feasible, kept, strict=True) if keep}
            self._front = len(record.entries), Front.of(record.evaluations(ids), objectives)
        return self._front[1]

    @property
    def confirmation(self) -> Confirmation | None:
        """What a confirmation found so far; None where there is none."""
        plan = read_plan(self.folder)
        if plan is None:
            return None
        members = self.record.evaluations(plan["members"].keys())
        return Confirmation.read(self.folder, members, self.header.objectives)

    def evaluation(self, rule: str, where: str | None = None) -> Evaluation:
        """Return a front member by a rule of `Front.choose`, or any candidate by id.

        Args:
            rule: ``knee``, ``best:OBJECTIVE``, ``asf:OBJECTIVE=WEIGHT,...`` and so on, or a candidate's id.
            where: Bounds that the member must keep, as `Front.where` takes them.

        Raises:
            SpecError: Nothing fits.
        """
        if where is not None:
            return self.front.where(where).pick(rule)
        evaluations = self.evaluations
        if rule == "knee" and len(evaluations) == 1:  # a recipe trained alone, which may miss a constraint
            return evaluations[0]
        matches = [e for e in evaluations if rule and e.candidate.id.startswith(rule)]
        return matches[0] if len(matches) == 1 else self.front.pick(rule)

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas frame: a row a candidate, with status, objectives, genes and seconds."""
        from moosearch.campaign.tables import candidates_table

        return candidates_table(self.evaluations)

    def _repr_html_(self) -> str:
        header, evaluations = self.header, self.evaluations
        failed = sum(e.status == "failed" for e in evaluations)
        facts = [
            counted(len(evaluations), "candidate"),
            *([f"{failed} failed"] if failed else []),
            f"{header.algorithm}, population {header.population}, seed {header.seed}",
            "finished" if self.finished else "not finished",
        ]
        told = html.escape(", ".join(facts))
        return f"<p><b>{html.escape(header.name)}</b>: {told}</p>{self.front._repr_html_()}"


def _read(folder: CampaignFolder) -> Record:
    """Read a campaign's log, or the study of one whose log does not say everything: an older version's.

    Raises:
        CampaignError: There is neither, or it is damaged.
    """
    record = Record.of(folder.events)
    if record.header is not None:
        return record
    from moosearch.campaign import study  # Optuna takes a second to import

    found = study.read(folder)
    if found.format >= study.FORMAT:
        raise folder.damaged(folder.events, "it does not say what the campaign is")
    return Record.made_of(
        folder.events,
        found.header,
        found.evaluations.values(),
        asks=found.asks,
        current=found.current,
        finished=found.finished,
    )
