"""The front: the non-dominated, feasible evaluations of a campaign, and ways to pick one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto import filters
from moosearch.pareto.choice import Choice, choose, default_rules
from moosearch.pareto.dominance import non_dominated, to_losses
from moosearch.pareto.hypervolume import hypervolume
from moosearch.pareto.members import Members
from moosearch.text import counted, recipe_text, value_text

if TYPE_CHECKING:
    import pandas as pd

ROWS = 30
"""Rows of a front that a notebook shows; the middle of a longer one is left out."""


@dataclass(frozen=True, repr=False)
class Front(Members):
    """Non-dominated, feasible evaluations, best first in the first objective.

    Those that are alike in every objective, within tolerances, are all members. A rule that chooses one goes
    by the values as they were measured.

    Attributes are those of `Members`.
    """

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]) -> "Front":
        """Take the non-dominated among the feasible evaluations; the order given does not matter."""
        feasible = [e for e in evaluations if e.feasible]
        losses = to_losses(feasible, objectives)
        keep = non_dominated(losses)
        rows = [
            (tuple(loss), e.candidate.id, e)
            for loss, e, kept in zip(losses.tolist(), feasible, keep, strict=True)
            if kept
        ]
        rows.sort(key=lambda row: row[:2])
        return cls(tuple(row[2] for row in rows), tuple(objectives))

    def __repr__(self) -> str:
        """Write the members' ids."""
        return f"Front({', '.join(e.candidate.id for e in self)})"

    def hypervolume(self) -> float:
        """Return the dominated share of the box between ideal and reference point, in [0, 1]."""
        return hypervolume(self.losses)

    def knee(self) -> Evaluation:
        """Return the member that gives most in all objectives at once.

        Losses are scaled to the front's own range; the knee is the member farthest from the hyperplane
        through the extreme points of that range, on the side of the ideal: see `decision.heights`.

        Raises:
            SpecError: The front is empty.
        """
        return self.pick("knee")

    def best(self, key: str) -> Evaluation:
        """Return the member that is best in one objective.

        Raises:
            SpecError: No objective has this key, or the front is empty.
        """
        return self.pick(f"best:{key}")

    def choose(self, rule: str) -> Choice:
        """Choose a member by a rule, and say why.

        Args:
            rule: One of

                - ``knee``: most in all objectives at once;
                - ``tradeoff``: whom to leave costs most;
                - ``best:OBJECTIVE``;
                - ``asf:OBJECTIVE=WEIGHT,...``, ``pseudo_weights:...`` or ``compromise:...``: by importance
                  of the objectives; one that is not named weighs nothing, and without any all weigh the same;
                - ``lexicographic:OBJECTIVE~TOLERANCE,...``: one objective after the other; a tolerance is
                  in the objective's unit or, as in ``1%``, of the front's range, and 0 where there is none;
                - an id or its beginning.

        Raises:
            SpecError: The rule is unknown, or fits no member or several.
        """
        return choose(self, rule)

    def decisions(self) -> list[Choice]:
        """Return what each rule chooses that needs nothing from the user; nothing of an empty front."""
        return [self.choose(rule) for rule in default_rules(self.objectives)] if self.members else []

    def pick(self, rule: str) -> Evaluation:
        """Return one member by a rule of `choose`.

        Raises:
            SpecError: The rule is unknown, or fits no member or several.
        """
        return self.choose(rule).evaluation

    def where(self, bounds: str) -> "Front":
        """Return the members that keep bounds.

        A bound on how bad an objective may be loses nothing: whoever keeps it and is not on the front is
        dominated by a member that keeps it.

        Args:
            bounds: Such as ``robust_accuracy>=0.4, flops<=2e6``: objectives or other measured values.

        Raises:
            SpecError: It is not a list of bounds, a name is not measured, or no member keeps them all.
        """
        return type(self)(filters.where(self, bounds), self.objectives)

    def thin(self, epsilons: float | str) -> "Front":
        """Return one member of those that are nearly alike.

        To each member that is left out, there is one that is worse by no more than epsilon in any objective.

        Args:
            epsilons: A share of the front's range in every objective, such as ``0.02``, or amounts in the
                objectives' units, ``clean_accuracy=0.01,flops=1e5``; in what is not named, nothing is
                given up.

        Raises:
            SpecError: It is neither, or an objective is unknown.

        Source: Laumanns, Thiele, Deb & Zitzler 2002; see `decision.thinned`.
        """
        return type(self)(filters.thin(self, epsilons), self.objectives)

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas frame: a row a member, with id, objectives and active genes."""
        return to_frame(self.members)

    def _repr_html_(self) -> str:
        """Render a table for notebooks: objectives and the genes that differ, the knee marked."""
        count = counted(len(self), "member")
        title = f"<p>front of {count}, hypervolume {self.hypervolume():.4f}</p>"
        if not self.members:
            return title
        import pandas as pd

        knee, paths = self.knee(), self.differing_genes
        rows = [
            {
                "id": e.candidate.id,
                "": "knee" if e is knee else "",
                **{o.key: value_text(e.objectives[o.key]) for o in self.objectives},
                "genes that differ": recipe_text(e, paths),
            }
            for e in self
        ]
        with pd.option_context("display.max_colwidth", None):
            return title + pd.DataFrame(rows).to_html(index=False, max_rows=ROWS, border=0)

    @property
    def differing_genes(self) -> list[str]:
        """Paths of the genes in which members differ; all of them where none does."""
        genomes = [e.candidate.genome for e in self]
        paths = list(dict.fromkeys(path for genome in genomes for path in genome))
        return [path for path in paths if len({str(genome.get(path)) for genome in genomes}) > 1] or paths


def to_frame(evaluations: Sequence[Evaluation]) -> "pd.DataFrame":
    """Return a pandas frame of evaluations: id, objectives, other metrics and active genes.

    Where candidates were trained repeatedly, ``_std`` columns hold the objectives' standard deviations.
    The columns are the same on every machine and in every run with the same results: nothing that is
    measured in time is in it.
    """
    import pandas as pd

    rows = [
        {"id": e.candidate.id, **e.objectives, **_deviations(e), **e.metrics, **e.candidate.genome}
        for e in evaluations
    ]
    genes = {path for e in evaluations for path in e.candidate.genome}
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in genes))
    return pd.DataFrame(rows, columns=[*columns, *sorted(genes)])


def _deviations(evaluation: Evaluation) -> dict[str, float]:
    return {f"{key}_std": std for key, std in evaluation.deviations.items() if key in evaluation.objectives}
