"""What is measured of campaigns in a comparison: indicators, coverage, history, attainment, tests."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from moosearch.analysis.comparison import Comparison, Entry, front_table
from moosearch.campaign.tables import plain, records
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto import Front, hypervolume
from moosearch.pareto.attainment import attainment_surface
from moosearch.pareto.dominance import Array, exact, to_losses
from moosearch.pareto.indicators import coverage, igd_plus
from moosearch.pareto.significance import compare_many, compare_two, effect_word, holm

LEVEL = 0.05
"""The p-value below which a difference is called one."""
SHARES = (0.25, 0.5, 0.75)
"""Shares of the runs of a group whose attainment surfaces are drawn."""


@dataclass(frozen=True)
class Measured:
    """A comparison with everything that is measured of it; each table is made when it is asked for."""

    comparison: Comparison

    @cached_property
    def histories(self) -> dict[str, Array]:
        """Campaign -> (N,) hypervolume after each evaluation, in the order in which the search was told."""
        objectives = self.comparison.objectives
        return {entry.name: _history(entry, objectives) for entry in self.comparison.entries}

    @property
    def least(self) -> int:
        """How many evaluations every campaign has."""
        return min(len(entry.evaluations) for entry in self.comparison.entries)

    @property
    def equal(self) -> bool:
        """Whether all campaigns have the same number of evaluations."""
        return all(len(entry.evaluations) == self.least for entry in self.comparison.entries)

    @property
    def metrics(self) -> dict[str, str]:
        """Columns of `campaigns` that are tested -> which of their values are better."""
        same = {} if self.equal else {f"hypervolume_at_{self.least}": "larger"}
        return {**same, "hypervolume": "larger", "igd_plus": "smaller"}

    @cached_property
    def campaigns(self) -> pd.DataFrame:
        """A row a campaign.

        Columns: ``campaign``, ``group``, ``algorithm``, ``seed``, ``evaluations``, ``failed``, ``infeasible``
        (completed, but beyond a constraint), ``front`` (members), ``hypervolume``; where campaigns have
        different numbers of evaluations, ``hypervolume_at_N``, after as many as all of them have;
        ``igd_plus`` to the merged front; ``merged``, members of the merged front that are its own, and
        ``share``, which part of it that is.
        """
        merged = self.comparison.merged
        rows = []
        for entry in self.comparison.entries:
            history = self.histories[entry.name]
            own = sum(e.provenance["campaign"] == entry.name for e in merged)
            row: dict[str, Any] = {
                "campaign": entry.name,
                "group": entry.group,
                "algorithm": entry.header.algorithm,
                "seed": entry.header.seed,
                "evaluations": len(entry.evaluations),
                "failed": sum(e.status == "failed" for e in entry.evaluations),
                "infeasible": sum(e.status == "complete" and not e.feasible for e in entry.evaluations),
                "front": len(entry.front),
            }
            if not self.equal:
                row[f"hypervolume_at_{self.least}"] = float(history[self.least - 1]) if self.least else 0.0
            row["hypervolume"] = entry.front.hypervolume()
            row["igd_plus"] = igd_plus(entry.front.losses, merged.losses) if len(merged) else math.nan
            row |= {"merged": own, "share": own / len(merged) if len(merged) else math.nan}
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def _by_group(self) -> list[tuple[str, pd.DataFrame]]:
        """The rows of `campaigns` by group, in the order given."""
        return [(str(name), table) for name, table in self.campaigns.groupby("group", sort=False)]

    @cached_property
    def groups(self) -> pd.DataFrame:
        """A row a group.

        Columns: ``group``, ``campaigns``; of every metric the median with ``_q25`` and ``_q75``; of all its
        campaigns together: ``front`` members, ``front_hypervolume``, and the ``share`` of the merged front.
        """
        rows = []
        for name, table in self._by_group:
            front = self.comparison.merged_of(name)
            row: dict[str, Any] = {"group": name, "campaigns": len(table)}
            for metric in self.metrics:
                low, middle, high = np.quantile(table[metric], [0.25, 0.5, 0.75])
                row |= {metric: middle, f"{metric}_q25": low, f"{metric}_q75": high}
            row |= {"front": len(front), "front_hypervolume": front.hypervolume()}
            rows.append(row | {"share": table["share"].sum()})
        return pd.DataFrame(rows)

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """C(row, column): the share of the column's front that the row's is at least as good as.

        Of the fronts of whole groups, or of campaigns where each is a group of its own.
        """
        fronts = {name: self.comparison.merged_of(name).losses for name in self.comparison.groups}
        rows = [[coverage(mine, others) for others in fronts.values()] for mine in fronts.values()]
        return pd.DataFrame(rows, index=pd.Index(fronts, name="covers"), columns=list(fronts))

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Pairs of groups, in every metric: a row a metric and pair; no rows for one group.

        Columns: ``metric``; ``first`` and ``second`` group, ``n_first`` and ``n_second`` campaigns;
        ``median_first`` and ``median_second``; ``effect``, the probability that a campaign of the first group
        is better than one of the second (A12), ``size``, what such an effect is called; ``p`` of Mann and
        Whitney's U test, two-sided; these are NaN where a group has one campaign; ``p_holm``, adjusted for
        the number of pairs; ``least_p``, the smallest p that so few campaigns can have.
        """
        rows: list[dict[str, Any]] = []
        table = self.campaigns
        for metric, better in self.metrics.items():
            values = {name: [float(v) for v in each[metric]] for name, each in self._by_group}
            if table[metric].isna().any():
                continue
            pairs: list[dict[str, Any]] = []
            for first, second in itertools.combinations(values, 2):
                a, b = values[first], values[second]
                found = compare_two(a, b) if better == "larger" else compare_two(b, a)
                pairs.append(
                    {
                        "metric": metric,
                        "first": first,
                        "second": second,
                        "n_first": len(a),
                        "n_second": len(b),
                        "median_first": float(np.median(a)),
                        "median_second": float(np.median(b)),
                        "effect": found.effect if not math.isnan(found.p) else math.nan,
                        "size": effect_word(found.effect) if not math.isnan(found.p) else "",
                        "p": found.p,
                        "p_holm": math.nan,
                        "least_p": found.least,
                    }
                )
            tested = [pair for pair in pairs if not math.isnan(pair["p"])]
            for pair, adjusted in zip(tested, holm([pair["p"] for pair in tested]), strict=True):
                pair["p_holm"] = adjusted
            rows += pairs
        columns = ["metric", "first", "second", "n_first", "n_second", "median_first", "median_second"]
        return pd.DataFrame(rows, columns=[*columns, "effect", "size", "p", "p_holm", "least_p"])

    @cached_property
    def overall(self) -> dict[str, float]:
        """Metric -> p-value of Kruskal and Wallis over all groups; empty where not three groups have two."""
        values: dict[str, list[list[float]]] = {
            metric: [[float(v) for v in each[metric]] for _, each in self._by_group]
            for metric in self.metrics
        }
        return {
            metric: compare_many(groups)
            for metric, groups in values.items()
            if len(groups) > 2
            and all(len(group) > 1 for group in groups)
            and not any(math.isnan(value) for group in groups for value in group)
        }

    @property
    def notes(self) -> list[str]:
        """Say what numbers mean, what was tested, and what is not to be concluded."""
        return [
            f"hypervolume and IGD+ in {self.comparison.scale}",
            "values are the search's own estimates, of which a front keeps the luckiest: all campaigns have "
            "that in common, `moosearch confirm` does without it",
            "coverage: share of the column's front that some member of the row's is at least as good as",
            *self._warnings(),
            *self._verdicts(),
        ]

    def _warnings(self) -> list[str]:
        entries, lines = self.comparison.entries, []
        if not self.equal:
            lines.append(
                f"campaigns have different numbers of evaluations: hypervolume_at_{self.least} compares them "
                "after as many as all have"
            )
        unfinished = [entry.name for entry in entries if not entry.finished]
        if unfinished:
            lines.append(f"not finished: {', '.join(unfinished)}")
        empty = [entry.name for entry in entries if not len(entry.front)]
        if empty:
            lines.append(
                f"no feasible candidate: {', '.join(empty)}; in IGD+ the reference point is all they have"
            )
        groups = self.comparison.groups
        if 1 < len(groups) < len(entries) and len({len(mine) for mine in groups.values()}) > 1:
            lines.append(
                "groups have different numbers of campaigns: more of them make a better front together, so "
                "that a group's front, coverage, share, and IGD+ to the front of all, favor the larger group"
            )
        for group, mine in groups.items():
            for one, other in itertools.combinations(mine, 2):
                if one.settings == other.settings and one.header.seed == other.header.seed:
                    lines.append(
                        f"{one.name} and {other.name} of {group} have the same settings and seed: they are "
                        "not independent, though a test counts them as two; leave one out"
                    )
        return lines

    def _verdicts(self) -> list[str]:
        sizes = {name: len(entries) for name, entries in self.comparison.groups.items()}
        if len(sizes) == 1:
            return ["nothing is tested: all campaigns are of one group, they differ in the seed alone"]
        lonely = [name for name, size in sizes.items() if size == 1]
        lines = []
        if lonely:
            lines.append(
                f"not tested: {', '.join(lonely)}, one campaign each. Between two campaigns nothing tells a "
                "difference from chance; run them again with other seeds (`--set campaign.seed=N`)"
            )
        for metric, p in self.overall.items():
            lines.append(
                f"Kruskal-Wallis over {len(sizes)} groups, {metric}: p = {p:.3g} (chi-squared: rough for few "
                "campaigns)"
            )
        tested = self.tests[self.tests["p"].notna()]
        if len(tested):
            pairs = tested[tested["metric"] == tested["metric"].iloc[0]]
            many = f"; p_holm: Holm's correction for {len(pairs)} pairs of groups" if len(pairs) > 1 else ""
            lines.append(
                "p: Mann-Whitney U, two-sided, exact (of tied values, by permutation); effect: probability "
                f"that a campaign of the first group is better than one of the second (A12){many}; each "
                "metric is tested for itself: choose yours before you look"
            )
            lines += _too_few(pairs)
        return lines

    def attainment(self, across: ObjectiveInfo, up: ObjectiveInfo) -> dict[str, dict[float, Array]]:
        """Return attainment surfaces of every group of two campaigns or more, for two objectives.

        Returns:
            Group -> share of its runs -> (M, 2) losses of ``across`` and ``up``.
        """
        return {
            name: {
                share: attainment_surface([_projected(e.front, across, up) for e in entries], share)
                for share in SHARES
            }
            for name, entries in self.comparison.groups.items()
            if len(entries) > 1
        }

    def to_tree(self) -> dict[str, Any]:
        """Return everything as plain data, as JSON has it: NaN is None."""
        settings = self.comparison.settings
        return {
            "objectives": [
                {
                    "key": o.key,
                    "sense": o.sense,
                    "unit": o.unit,
                    "ideal": o.ideal,
                    "reference": o.reference,
                    "tolerance": o.tolerance,
                }
                for o in self.comparison.objectives
            ],
            "campaigns": records(self.campaigns),
            "groups": records(self.groups),
            "settings": records(settings.reset_index()),
            "tests": records(self.tests),
            "kruskal_wallis": self.overall,
            "coverage": {
                str(k): dict(zip(row, map(plain, row.values()), strict=True))
                for k, row in self.coverage.to_dict("index").items()
            },
            "front": records(front_table(self.comparison.merged)),
            "histories": {name: values.tolist() for name, values in self.histories.items()},
            "notes": self.notes,
        }


def bands(histories: Sequence[Array]) -> Array:
    """Return quartiles of several runs' hypervolumes after each evaluation that all of them have.

    Args:
        histories: (N_i,) each.

    Returns:
        (3, min N_i): first quartile, median, third quartile.
    """
    length = min(len(history) for history in histories)
    stacked = np.stack([history[:length] for history in histories])
    return np.asarray(np.quantile(stacked, [0.25, 0.5, 0.75], axis=0), dtype=np.float64)


def natural(losses: Array, objectives: Sequence[ObjectiveInfo]) -> Array:
    """Return the values in natural direction that losses stand for: (N, J) to (N, J).

    Example:
        >>> accuracy = ObjectiveInfo("accuracy", "maximize", "fraction", ideal=1.0, reference=0.0)
        >>> natural(np.array([[0.25]]), [accuracy])
        array([[0.75]])
    """
    ideals = np.array([o.ideal for o in objectives])
    references = np.array([o.reference for o in objectives])
    return np.asarray(ideals - losses * (ideals - references), dtype=np.float64)


def _too_few(pairs: pd.DataFrame) -> list[str]:
    """Say which groups are too small to differ, whatever was found; Holm's correction asks for more."""
    found = {}
    bounds = holm(pairs["least_p"].tolist())  # of p_holm, as it rises with every p
    for n, m, least, bound in zip(pairs["n_first"], pairs["n_second"], pairs["least_p"], bounds, strict=True):
        if bound >= LEVEL:
            corrected = f", nor p_holm below {bound:.2g}" if bound > least else ""
            found[n, m] = (
                f"{n} and {m} campaigns cannot have p below {least:.2g}{corrected}, whatever they found"
            )
    return [found[sizes] for sizes in sorted(found)]


def _projected(front: Front, across: ObjectiveInfo, up: ObjectiveInfo) -> Array:
    return to_losses(front.members, exact([across, up]))


def _history(entry: Entry, objectives: Sequence[ObjectiveInfo]) -> Array:
    """Return the hypervolume after each evaluation; what the front dominates does not change it."""
    values = np.zeros(len(entry.evaluations))
    front = np.zeros((0, len(objectives)))
    reached = 0.0
    losses = to_losses(entry.evaluations, objectives)
    for index, (e, loss) in enumerate(zip(entry.evaluations, losses, strict=True)):
        if e.feasible and not (front <= loss).all(axis=1).any():
            front = np.vstack([front[~(loss <= front).all(axis=1)], loss])
            reached = hypervolume(front)
        values[index] = reached
    return values
