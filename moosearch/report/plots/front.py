"""Plots of a campaign with matplotlib: the front by pairs, in parallel coordinates, and the hypervolume.

Each function draws one figure from evaluations and returns it; `save` writes all of them.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moosearch.campaign.confirmation import Confirmation, Member
from moosearch.campaign.header import Header
from moosearch.campaign.tables import hypervolume_table
from moosearch.errors import SpecError, nearest
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto import Front
from moosearch.pareto.dominance import Array
from moosearch.report.plots import style as figures
from moosearch.report.plots.parallel_coordinates import parallel
from moosearch.report.plots.style import DOMINATED, KNEE, MARKERS, MEMBER, axis_label

JOINT, BAR = "#8a929b", "#4a4f55"


def save(
    folder: Path,
    evaluations: Sequence[Evaluation],
    header: Header,
    confirmation: Confirmation | None = None,
) -> list[Path]:
    """Draw every plot that the evaluations allow, as PNG and PDF.

    Args:
        folder: Where to write; created.
        evaluations: All evaluations of a campaign.
        header: Its header.
        confirmation: What was confirmed, if anything.

    Returns:
        The PNG files.

    Raises:
        CampaignError: The folder cannot be written.
    """
    drawn: dict[str, Callable[[], Figure]] = {"hypervolume": partial(hypervolume, evaluations, header)}
    if Front.of(evaluations, header.objectives).members:
        drawn["parallel"] = partial(parallel, evaluations, header.objectives)
        if len(header.objectives) > 1:
            drawn["front"] = partial(pairs, evaluations, header.objectives, confirmation)
    if confirmation is not None and confirmation.confirmed:
        drawn["confirmation"] = partial(dumbbells, confirmation)
    return [figures.save(folder, name, draw) for name, draw in drawn.items()]


def pairs(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[ObjectiveInfo],
    confirmation: Confirmation | None = None,
) -> Figure:
    """Draw every pair of objectives: the front, the knee, and what they dominate.

    With three objectives, the color of a member is the one that is not on the axes. The axes cover the
    range of the front. Where it was confirmed, the search's estimates are hollow, and lines lead to the
    confirmed means; those that are unreliable are crossed. Bars are standard deviations over trainings.
    """
    front, others = _parted(evaluations, objectives)
    combinations = list(itertools.combinations(objectives, 2))
    columns = min(3, len(combinations))
    rows = -(-len(combinations) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(combinations) :]:
        axes.set_axis_off()
    for axes, (first, second) in zip(grid.flat, combinations, strict=False):
        # Costs go on the horizontal axis: the eye reads "what do I get for it".
        across, up = (second, first) if second.sense == "minimize" else (first, second)
        _pair(axes, across, up, front, others, confirmation)
    handles = _handles(front, others, confirmation)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return figure


def front_on(
    axes: Axes,
    evaluations: Sequence[Evaluation],
    objectives: Sequence[ObjectiveInfo],
    confirmation: Confirmation | None = None,
    *,
    x: str = "",
    y: str = "",
) -> None:
    """Draw one pair of objectives on an axis, as `pairs` does.

    Args:
        axes: The axis.
        evaluations: All evaluations of a campaign.
        objectives: Its objectives.
        confirmation: What was confirmed, if anything.
        x: The objective across; if empty, the first cost, or else the first objective.
        y: The objective upwards; if empty, the first other one.

    Raises:
        SpecError: No objective is called so, there is but one, or the front is empty.
    """
    front, others = _parted(evaluations, objectives)
    front.knee()  # there is one
    infos = {info.key: info for info in objectives}
    for key in (x, y):
        if key and key not in infos:
            raise SpecError(f"no objective is called '{key}'. {nearest(key, infos)}")
    costs_first = sorted(infos, key=lambda key: infos[key].sense == "maximize")
    across = x or next(key for key in costs_first if key != y or len(infos) == 1)
    rest = [key for key in infos if key != across]
    if not rest or across == y:
        raise SpecError(f"two objectives are drawn against each other: got '{across}' alone.")
    _pair(axes, infos[across], infos[y or rest[0]], front, others, confirmation)
    axes.legend(handles=_handles(front, others, confirmation), loc="best", frameon=False, fontsize="small")


def _parted(
    evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]
) -> tuple[Front, list[Evaluation]]:
    """Return the front, and who is feasible and dominated."""
    front = Front.of(evaluations, objectives)
    members = {e.candidate.id for e in front}
    return front, [e for e in evaluations if e.feasible and e.candidate.id not in members]


def _handles(front: Front, others: Sequence[Evaluation], confirmation: Confirmation | None) -> list[Line2D]:
    """Return the entries of the legend of `pairs`."""
    estimate = "front" if confirmation is None else "front, estimates"
    handles = [
        _dot(MEMBER, 6, f"{estimate} ({len(front)})", fillstyle="full" if confirmation is None else "none"),
        _dot(DOMINATED, 4, f"dominated ({len(others)})"),
        _dot(KNEE, 9, "knee", fillstyle="none"),
    ]
    if confirmation is not None:
        handles += [_dot(MEMBER, 6, "confirmed on test"), _dot(KNEE, 6, "unreliable", marker="x")]
    return handles


def _pair(
    axes: Axes,
    across: ObjectiveInfo,
    up: ObjectiveInfo,
    front: Front,
    others: Sequence[Evaluation],
    confirmation: Confirmation | None,
) -> None:
    rest = [info for info in front.objectives if info not in (across, up)]
    shade = rest[0] if len(rest) == 1 else None
    x, y = _values(front, across), _values(front, up)
    members = [confirmation.member(e.candidate.id) for e in front] if confirmation is not None else []
    judged = [member for member in members if member is not None]
    axes.scatter(_values(others, across), _values(others, up), s=14, color=DOMINATED, linewidths=0)
    colors: Any = [MEMBER] * len(front)
    again: Any = [MEMBER] * len(judged)
    if shade is not None:
        values = np.concatenate([_values(front, shade), _means(judged, shade)])
        mapper = ScalarMappable(Normalize(values.min(), values.max()), "viridis")
        colors, again = mapper.to_rgba(_values(front, shade)), mapper.to_rgba(_means(judged, shade))
        if axes.figure is not None and np.ptp(values) > 0:  # else there is one color
            label = shade.key.replace("_", " ")
            axes.figure.colorbar(mapper, ax=axes, label=label, format=figures.engineering(values))
    if confirmation is None:
        axes.scatter(x, y, s=34, edgecolors="white", linewidths=0.5, color=colors)
        _bars(axes, x, y, _stds(front, across), _stds(front, up))
    else:
        axes.scatter(x, y, s=30, facecolors="none", edgecolors=colors, linewidths=1.1)
    knee = front.members.index(front.knee())
    axes.scatter(x[knee], y[knee], s=90, facecolors="none", edgecolors=KNEE, linewidths=1.6)
    if judged:
        _confirmed(axes, across, up, judged, again)
        x, y = np.append(x, _reach(judged, across)), np.append(y, _reach(judged, up))
    axes.set(xlabel=axis_label(across), ylabel=axis_label(up))
    figures.fit(axes, "x", x, across)
    figures.fit(axes, "y", y, up)


def _confirmed(
    axes: Axes, across: ObjectiveInfo, up: ObjectiveInfo, judged: Sequence[Member], colors: Any
) -> None:
    """Draw confirmed means with bars, joined to the estimates; unreliable ones are crossed."""
    x, y = _means(judged, across), _means(judged, up)
    estimates = [member.estimate for member in judged]
    starts = zip(_values(estimates, across), _values(estimates, up), strict=True)
    joints = LineCollection(
        [(start, end) for start, end in zip(starts, zip(x, y, strict=True), strict=True)],
        colors=JOINT,
        linewidths=0.7,
        zorder=0.9,
    )
    axes.add_collection(joints, autolim=False)
    _bars(axes, x, y, _confirmed_stds(judged, across), _confirmed_stds(judged, up))
    _solid(axes, x, y, judged, colors)


def _solid(axes: Axes, x: Array, y: Array, judged: Sequence[Member], colors: Any) -> None:
    """Draw confirmed values; unreliable ones are crossed."""
    axes.scatter(x, y, s=34, edgecolors="white", linewidths=0.5, color=colors, zorder=2.1)
    unreliable = np.array([member.unreliable for member in judged])
    axes.scatter(x[unreliable], y[unreliable], s=60, marker="x", color=KNEE, linewidths=1.2, zorder=2.2)


def _bars(axes: Axes, x: Array, y: Array, x_std: Array, y_std: Array) -> None:
    """Draw bars of one standard deviation where there is one."""
    if x_std.any() or y_std.any():
        axes.errorbar(
            x, y, xerr=x_std, yerr=y_std, fmt="none", ecolor=BAR, elinewidth=0.9, capsize=2, zorder=1.9
        )


def _stds(evaluations: Iterable[Evaluation], objective: ObjectiveInfo) -> Array:
    return np.array([e.deviations.get(objective.key, 0.0) for e in evaluations])


def _means(judged: Sequence[Member], objective: ObjectiveInfo) -> Array:
    """Return confirmed means; of a cost, what the search measured."""
    key = objective.key
    return np.array([v.mean if (v := m.confirmed_value(key)) else m.estimate.objectives[key] for m in judged])


def _reach(judged: Sequence[Member], objective: ObjectiveInfo) -> Array:
    """Return the ends of the bars."""
    means, stds = _means(judged, objective), _confirmed_stds(judged, objective)
    return np.concatenate([means - stds, means + stds])


def _confirmed_stds(judged: Sequence[Member], objective: ObjectiveInfo) -> Array:
    key = objective.key
    return np.nan_to_num([v.std if (v := m.confirmed_value(key)) else 0.0 for m in judged])


def _values(evaluations: Iterable[Evaluation], objective: ObjectiveInfo) -> Array:
    return np.array([e.objectives[objective.key] for e in evaluations])


def _dot(color: str, size: float, label: str, *, fillstyle: Any = "full", marker: str = "o") -> Line2D:
    return Line2D(
        [],
        [],
        color=color,
        linestyle="none",
        marker=marker,
        markersize=size,
        fillstyle=fillstyle,
        label=label,
    )


def hypervolume(evaluations: Sequence[Evaluation], header: Header) -> Figure:
    """Draw the hypervolume after every generation."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    hypervolume_on(figure.subplots(), evaluations, header)
    return figure


def hypervolume_on(axes: Axes, evaluations: Sequence[Evaluation], header: Header) -> None:
    """Draw the hypervolume after every generation on an axis."""
    table: pd.DataFrame = hypervolume_table(evaluations, header)
    axes.plot(table["evaluations"], table["hypervolume"], color=MEMBER, marker="o", markersize=4)
    axes.set_xlabel("candidates evaluated")
    axes.set_ylabel("hypervolume (share of the box)")
    axes.set_title(
        f"{header.name}: {header.algorithm}, population {header.population}, seed {header.seed}",
        loc="left",
        fontsize=9,
    )


def dumbbells(confirmation: Confirmation) -> Figure:
    """Draw a confirmation by member: estimate and confirmed value of every objective, and every attack.

    Estimates are hollow, confirmed means solid with bars of one standard deviation over seeds; members that
    are unreliable are crossed.
    """
    judged = [member for member in confirmation.members if member.complete]
    infos = [info for info in confirmation.objectives if info.key in confirmation.confirmed]
    attacks = [measure for measure in confirmation.measured if measure.kind == "attack"]
    panels = len(infos) + bool(attacks)
    figure = Figure(figsize=(1.5 + 3.6 * panels, 1.3 + 0.34 * len(judged)), layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    rows = np.arange(len(judged), dtype=np.float64)
    for axes, info in zip(grid, infos, strict=False):
        estimates = [member.estimate for member in judged]
        found, means = _values(estimates, info), _means(judged, info)
        axes.hlines(rows, found, means, colors=JOINT, linewidths=0.7)
        axes.scatter(found, rows, s=30, facecolors="none", edgecolors=MEMBER, linewidths=1.1)
        _bars(axes, means, rows, _confirmed_stds(judged, info), np.zeros(len(judged)))
        _solid(axes, means, rows, judged, MEMBER)
        axes.set_ylim(len(judged) - 0.4, -0.6)
        axes.set_xlabel(axis_label(info))
    for index, attack in enumerate(attacks):
        means = np.array([member.measured[attack].mean for member in judged])
        color = colormaps["tab10"](index % 10)
        grid[-1].plot(
            means, rows, MARKERS[index % len(MARKERS)], color=color, markersize=5, label=attack.label
        )
    if attacks:
        grid[-1].set_xlabel("accuracy under each attack (mean)")
        grid[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    grid[0].set_yticks(rows, [member.estimate.candidate.id for member in judged])
    handles = [
        _dot(MEMBER, 6, "search, validation", fillstyle="none"),
        _dot(MEMBER, 6, "confirmed, test"),
        _dot(KNEE, 6, "unreliable", marker="x"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure
