"""Plots of a campaign with matplotlib: the front by pairs, in parallel coordinates, and the hypervolume.

Each function draws one figure from evaluations and returns it; `save` writes all of them.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from moosearch.campaign.ledger import Header
from moosearch.campaign.report import hypervolume_table
from moosearch.evaluation import Evaluation, ObjectiveInfo, Scalar
from moosearch.pareto import Front

DOMINATED, MEMBER, KNEE = "#b8bec6", "#1f5fa8", "#d1495b"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


def save(folder: Path, evaluations: Sequence[Evaluation], header: Header) -> list[Path]:
    """Draw every plot that the evaluations allow, as PNG and PDF.

    Args:
        folder: Where to write; created.
        evaluations: All evaluations of a campaign.
        header: Its header.

    Returns:
        The PNG files.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        figures = {"hypervolume": hypervolume(evaluations, header)}
        if Front.of(evaluations, header.objectives).members:
            figures["parallel"] = parallel(evaluations, header.objectives)
            if len(header.objectives) > 1:
                figures["front"] = pairs(evaluations, header.objectives)
        for name, figure in figures.items():
            for suffix in ("png", "pdf"):
                figure.savefig(folder / f"{name}.{suffix}", bbox_inches="tight")
            written.append(folder / f"{name}.png")
    return written


def axis_label(objective: ObjectiveInfo) -> str:
    """Return the text of an axis: name, unit, and which way is better."""
    arrow = "higher" if objective.sense == "maximize" else "lower"
    unit = "" if objective.unit in ("fraction", objective.key) else f" [{objective.unit}]"
    return f"{objective.key.replace('_', ' ')}{unit} ({arrow} is better)"


def pairs(evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]) -> Figure:
    """Draw every pair of objectives: the front, the knee, and what they dominate.

    With three objectives, the color of a member is the one that is not on the axes.
    """
    front = Front.of(evaluations, objectives)
    members = {e.candidate.id for e in front}
    others = [e for e in evaluations if e.feasible and e.candidate.id not in members]
    knee = front.knee()
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
        axes.scatter(
            [e.objectives[across.key] for e in others],
            [e.objectives[up.key] for e in others],
            s=14,
            color=DOMINATED,
            linewidths=0,
            label="dominated",
        )
        rest = [o for o in objectives if o not in (first, second)]
        color: dict[str, object] = {"color": MEMBER}
        if len(rest) == 1:
            color = {"c": [e.objectives[rest[0].key] for e in front], "cmap": "viridis"}
        points = axes.scatter(
            [e.objectives[across.key] for e in front],
            [e.objectives[up.key] for e in front],
            s=34,
            edgecolors="white",
            linewidths=0.5,
            label="front",
            **color,
        )
        if len(rest) == 1:
            figure.colorbar(points, ax=axes, label=rest[0].key.replace("_", " "))
        axes.scatter(
            [knee.objectives[across.key]],
            [knee.objectives[up.key]],
            s=90,
            facecolors="none",
            edgecolors=KNEE,
            linewidths=1.6,
            label="knee",
        )
        axes.set_xlabel(axis_label(across))
        axes.set_ylabel(axis_label(up))
        if across.sense == "minimize" and _ratio(evaluations, across.key) > 20:
            axes.set_xscale("log")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3)
    return figure


def _ratio(evaluations: Sequence[Evaluation], key: str) -> float:
    values = [e.objectives[key] for e in evaluations if key in e.objectives]
    return max(values) / min(values) if values and min(values) > 0 else 1.0


def parallel(evaluations: Sequence[Evaluation], objectives: Sequence[ObjectiveInfo]) -> Figure:
    """Draw the front in parallel coordinates: objectives first, better always up, then the genes.

    Genes are drawn where every member has them and not all have the same value. The color is the first
    objective; the knee is dashed.
    """
    front = Front.of(evaluations, objectives)
    knee = front.knee()
    genomes = [e.candidate.genome for e in front]
    shared = [
        path
        for path in genomes[0]
        if all(path in genome for genome in genomes) and len({genome[path] for genome in genomes}) > 1
    ]
    first = objectives[0]
    values = np.array([e.objectives[first.key] for e in front])
    scale = Normalize(values.min(), values.max() if np.ptp(values) > 0 else values.min() + 1)
    mapper = ScalarMappable(scale, "viridis")
    figure = Figure(figsize=(1.5 + 1.35 * (len(objectives) + len(shared)), 4.2), layout="constrained")
    axes = figure.subplots()
    heights = [_objective_axis(axes, i, o, front) for i, o in enumerate(objectives)]
    heights += [_gene_axis(axes, len(objectives) + i, path, genomes) for i, path in enumerate(shared)]
    lines = np.array(heights).T  # (members, axes)
    for member, line, value in zip(front, lines, values, strict=True):
        if member is not knee:
            axes.plot(line, color=mapper.to_rgba(value), alpha=0.75, linewidth=1.3)
    index = front.members.index(knee)
    axes.plot(lines[index], color=KNEE, linewidth=2.2, linestyle="--", label="knee")
    axes.set_xticks(range(len(heights)))
    names = [o.key for o in objectives] + shared
    axes.set_xticklabels([_wrapped(name) for name in names])
    axes.set_yticks([])
    axes.set_ylim(-0.08, 1.08)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0, pad=8)
    axes.grid(visible=False)
    figure.colorbar(mapper, ax=axes, label=first.key.replace("_", " "), pad=0.02)
    figure.legend(loc="outside upper right")
    return figure


def _objective_axis(axes: Axes, position: int, objective: ObjectiveInfo, front: Front) -> list[float]:
    values = [e.objectives[objective.key] for e in front]
    better, worse = max(values), min(values)
    if objective.sense == "minimize":
        better, worse = worse, better
    _ticks(axes, position, {0.0: f"{worse:.4g}", 1.0: f"{better:.4g}"})
    return [(v - worse) / (better - worse) if better != worse else 0.5 for v in values]


def _gene_axis(axes: Axes, position: int, path: str, genomes: Sequence[Mapping[str, Scalar]]) -> list[float]:
    values = [genome[path] for genome in genomes]
    if any(isinstance(value, str | bool) for value in values):
        labels = sorted({str(value) for value in values})
        places = {label: i / (len(labels) - 1) for i, label in enumerate(labels)}
        _ticks(axes, position, {height: label for label, height in places.items()})
        return [places[str(value)] for value in values]
    low, high = (float(f(values)) for f in (min, max))
    _ticks(axes, position, {0.0: f"{low:.4g}", 1.0: f"{high:.4g}"})
    return [(float(value) - low) / (high - low) for value in values]


def _ticks(axes: Axes, position: int, labels: Mapping[float, str]) -> None:
    axes.axvline(position, color="#9aa1a9", linewidth=0.8, zorder=0)
    for height, label in labels.items():
        axes.annotate(
            label,
            (position, height),
            xytext=(4, 7 if height == 1 else -11 if height == 0 else 0),
            textcoords="offset points",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )


def _wrapped(name: str) -> str:
    parts = name.split(".")
    return "\n".join(part.replace("_", " ") for part in parts[-2:])


def hypervolume(evaluations: Sequence[Evaluation], header: Header) -> Figure:
    """Draw the hypervolume after every generation."""
    table: pd.DataFrame = hypervolume_table(evaluations, header)
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(table["evaluations"], table["hypervolume"], color=MEMBER, marker="o", markersize=4)
    axes.set_xlabel("candidates evaluated")
    axes.set_ylabel("hypervolume (share of the box)")
    axes.set_title(
        f"{header.name}: {header.algorithm}, population {header.population}, seed {header.seed}",
        loc="left",
        fontsize=9,
    )
    return figure
