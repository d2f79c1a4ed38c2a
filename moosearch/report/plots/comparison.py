"""Plots of a comparison: fronts over each other, attainment surfaces, hypervolume by evaluations.

Each function draws one figure and returns it; `save` writes all of them. A group has one color.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moosearch.analysis.comparison_tables import SHARES, Measured, bands, natural
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto.attainment import staircase
from moosearch.pareto.dominance import Array
from moosearch.report.plots import style as figures
from moosearch.report.plots.style import COLORS, MARKERS, axis_label

INK = "#30353a"


def save(folder: Path, measured: Measured) -> list[Path]:
    """Draw every plot that the campaigns allow, as PNG and PDF.

    Args:
        folder: Where to write; created.
        measured: The comparison.

    Returns:
        The PNG files.
    """
    draw: dict[str, Callable[[Measured], Figure]] = {"compare_hypervolume": hypervolumes}
    if len(measured.comparison.objectives) > 1 and len(measured.comparison.merged):
        draw["compare_fronts"] = fronts
        if any(len(entries) > 1 for entries in measured.comparison.groups.values()):
            draw["compare_attainment"] = attainment
    return [figures.save(folder, name, function, measured) for name, function in draw.items()]


def fronts(measured: Measured) -> Figure:
    """Draw the fronts of all campaigns over each other, by pairs of objectives.

    Members of the merged front have a ring.
    """
    figure, panels = _panels(measured)
    comparison = measured.comparison
    looks = _looks(measured)
    for axes, across, up in panels:
        for group, entries in comparison.groups.items():
            color, marker = looks[group]
            members = [e for entry in entries for e in entry.front]
            axes.scatter(
                [e.objectives[across.key] for e in members],
                [e.objectives[up.key] for e in members],
                s=26,
                color=color,
                marker=marker,
                alpha=0.75,
                linewidths=0,
            )
        axes.scatter(
            [e.objectives[across.key] for e in comparison.merged],
            [e.objectives[up.key] for e in comparison.merged],
            s=70,
            facecolors="none",
            edgecolors=INK,
            linewidths=0.9,
        )
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", label=_counted(measured, group))
        for group, (color, marker) in looks.items()
    ]
    ring = f"on the front of all ({len(comparison.merged)})"
    handles.append(
        Line2D([], [], color=INK, marker="o", markersize=8, fillstyle="none", linestyle="none", label=ring)
    )
    _legend(figure, handles)
    return figure


def attainment(measured: Measured) -> Figure:
    """Draw what a quarter, half and three quarters of a group's campaigns attain, by pairs of objectives."""
    figure, panels = _panels(measured)
    looks = _looks(measured)
    drawn: list[str] = []
    for axes, across, up in panels:
        found = measured.attainment(across, up)
        points = [surface for surfaces in found.values() for surface in surfaces.values()]
        _fit(axes, natural(np.concatenate(points), [across, up]), across, up)
        corner = _corner(axes, across, up)
        for group, surfaces in found.items():
            color, _ = looks[group]
            lines = {
                share: natural(staircase(surface, corner), [across, up])
                for share, surface in surfaces.items()
            }
            best, middle, worst = (lines[share] for share in SHARES)
            if len(best) and len(worst):
                outline = np.concatenate([best, worst[::-1]])
                axes.fill(*outline.T, color=color, alpha=0.16, linewidth=0)
            axes.plot(*middle.T, color=color, linewidth=1.7)
            for line in (best, worst):
                axes.plot(*line.T, color=color, linewidth=0.6)
            drawn = list(dict.fromkeys([*drawn, group]))
    handles: list[Any] = [
        Line2D([], [], color=looks[group][0], linewidth=1.7, label=_counted(measured, group))
        for group in drawn
    ]
    handles.append(Line2D([], [], color=INK, linewidth=1.7, label="attained by half"))
    handles.append(Patch(color=INK, alpha=0.16, linewidth=0, label="by a quarter to three quarters"))
    _legend(figure, handles)
    return figure


def hypervolumes(measured: Measured) -> Figure:
    """Draw the hypervolume after each evaluation: campaigns thin, medians of groups thick, quartiles pale."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    looks = _looks(measured)
    for group, entries in measured.comparison.groups.items():
        color, _ = looks[group]
        histories = [measured.histories[entry.name] for entry in entries]
        if len(histories) == 1:
            axes.step(np.arange(1, len(histories[0]) + 1), histories[0], color=color, where="post", lw=1.7)
            continue
        for history in histories:
            axes.step(np.arange(1, len(history) + 1), history, color=color, where="post", lw=0.6, alpha=0.6)
        low, middle, high = bands(histories)
        across = np.arange(1, len(middle) + 1)
        axes.fill_between(across, low, high, step="post", color=color, alpha=0.16, linewidth=0)
        axes.step(across, middle, color=color, where="post", linewidth=1.9)
    axes.set_xlabel("candidates evaluated")
    axes.set_ylabel("hypervolume (share of the box, higher is better)")
    top = max((history.max(initial=0.0) for history in measured.histories.values()), default=1.0)
    ends = [h[len(h) // 4] for h in measured.histories.values() if len(h)]
    axes.set_ylim(max(0.0, min([*ends, top]) - 0.35 * (top - min([*ends, top])) - 0.02), top + 0.02)
    handles: list[Any] = [
        Line2D([], [], color=color, linewidth=1.9, label=_counted(measured, group))
        for group, (color, _) in looks.items()
    ]
    if any(len(entries) > 1 for entries in measured.comparison.groups.values()):
        handles.append(Line2D([], [], color=INK, linewidth=0.6, label="each campaign"))
        handles.append(Patch(color=INK, alpha=0.16, linewidth=0, label="quartiles around the median"))
    _legend(figure, handles, columns=2)
    return figure


def _looks(measured: Measured) -> dict[str, tuple[str, str]]:
    """Return group -> color and marker; beyond seven groups, colors come again with other markers."""
    return {
        group: (COLORS[index % len(COLORS)], MARKERS[(index + index // len(COLORS)) % len(MARKERS)])
        for index, group in enumerate(measured.comparison.groups)
    }


def _counted(measured: Measured, group: str) -> str:
    count = len(measured.comparison.groups[group])
    return f"{group} ({count} campaigns)" if count > 1 else group


def _legend(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    figure.legend(handles=handles, loc="outside upper left", ncols=min(columns, len(handles)))


def _panels(measured: Measured) -> tuple[Figure, list[tuple[Axes, ObjectiveInfo, ObjectiveInfo]]]:
    """Return a figure with axes for every pair of objectives, which hold all fronts."""
    pairs = list(itertools.combinations(measured.comparison.objectives, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * max(columns, 1.4), 3.4 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    panels = []
    for axes, (first, second) in zip(grid.flat, pairs, strict=False):
        # Costs go on the horizontal axis: the eye reads "what do I get for it".
        across, up = (second, first) if second.sense == "minimize" else (first, second)
        axes.set(xlabel=axis_label(across), ylabel=axis_label(up))
        members = [e for entry in measured.comparison.entries for e in entry.front]
        values = [[e.objectives[across.key], e.objectives[up.key]] for e in members]
        _fit(axes, np.array(values).reshape(-1, 2), across, up)
        panels.append((axes, across, up))
    return figure, panels


def _fit(axes: Axes, points: Array, across: ObjectiveInfo, up: ObjectiveInfo) -> None:
    """Fit both axes to points in natural direction: (N, 2)."""
    figures.fit(axes, "x", points[:, 0], across)
    figures.fit(axes, "y", points[:, 1], up)


def _corner(axes: Axes, across: ObjectiveInfo, up: ObjectiveInfo) -> Array:
    """Return the losses of the worst corner of the axes, where lines begin and end."""
    losses = []
    for objective, limits in ((across, axes.get_xlim()), (up, axes.get_ylim())):
        worst = limits[0] if objective.sense == "maximize" else limits[1]
        losses.append((objective.ideal - worst) / (objective.ideal - objective.reference))
    return np.array(losses)
