"""Plots of what genes do: their importances, and the front's values by the side of all candidates'."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from moosearch.analysis.gene_columns import is_categorical, is_logarithmic
from moosearch.analysis.importance import Importances
from moosearch.report.plots import style as figures
from moosearch.report.plots.style import DOMINATED, MEMBER

DOUBTED = "#b8bec6"
BINS = 12
COLUMNS = 3
LETTERS = 28
"""Letters of a name that are shown."""


def save(folder: Path, found: Importances, values: pd.DataFrame) -> list[Path]:
    """Draw both plots, as PNG and PDF.

    Args:
        folder: Where to write; created.
        found: The importances.
        values: Those of `moosearch.analysis.importance.gene_values`.

    Returns:
        The PNG files: of importances, where there are any, and of values.
    """
    written = []
    if found.table.notna().any(axis=None):
        written.append(figures.save(folder, "gene_importance", importances, found))
    written.append(figures.save(folder, "gene_values", distributions, values))
    return written


def importances(found: Importances) -> Figure:
    """Draw importances as bars: a row a gene, a panel an objective; gray where not to be believed."""
    # The most important gene of any objective is on top.
    order = found.table.max(axis=1).fillna(-math.inf).sort_values(kind="stable").index
    table = found.table.loc[order]
    rows = np.arange(len(table))
    figure = Figure(
        figsize=(2.6 + 2.6 * table.shape[1], 1.6 + 0.3 * max(len(table), 3)), layout="constrained"
    )
    grid = figure.subplots(1, table.shape[1], squeeze=False, sharey=True)[0]
    for axes, key in zip(grid, map(str, table.columns), strict=True):
        values, believed = table[key], bool(found.trust["believed"][key])
        r2 = found.trust["r2"][key]
        axes.barh(rows, values.fillna(0.0), height=0.68, color=MEMBER if believed else DOUBTED)
        for row, value in zip(rows, values, strict=True):
            if math.isnan(value):
                axes.annotate("-", (0, row), xytext=(3, 0), textcoords="offset points", va="center")
        axes.axvline(0, color="#30353a", linewidth=0.7)
        told = "" if believed else "\nnot to be believed"
        axes.set_title(f"{key.replace('_', ' ')}, R² {r2:.2f}{told}", loc="left", fontsize=9)
        axes.grid(visible=False, axis="y")
        axes.margins(y=0.02)
    grid[0].set_yticks(rows, [_name(str(path), found) for path in table.index])
    label = "fall of R² when shuffled" if found.method == "permutation" else "share of variance (fANOVA)"
    figure.supxlabel(f"importance: {label}; n: candidates that have the gene", fontsize=9)
    return figure


def _name(path: str, found: Importances) -> str:
    row = found.genes.loc[path]
    return f"{path} (n = {row['candidates']:d})" if row["within"] else path


def distributions(values: pd.DataFrame) -> Figure:
    """Draw every gene's values: the share of all candidates that have each, and of the front's members.

    Shares are of the candidates that have the gene. Genes of one value are left out.
    """
    several = [
        (str(gene), rows) for gene, rows in values.groupby("gene") if rows["value"].astype(str).nunique() > 1
    ]
    lines = -(-max(len(several), 1) // COLUMNS)
    figure = Figure(figsize=(4.0 * COLUMNS, 0.5 + 2.15 * lines), layout="constrained")
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes in grid.flat[len(several) :]:
        axes.set_axis_off()
    for axes, (gene, rows) in zip(grid.flat, several, strict=False):
        front = rows[rows["group"] == "front"]
        if is_categorical(rows["value"].tolist()):
            _categories(axes, rows["value"].astype(str), front["value"].astype(str))
        else:
            _numbers(axes, rows["value"].to_numpy(dtype=float), front["value"].to_numpy(dtype=float))
        axes.set_title(f"{gene}: {len(front)} of {len(rows)} on the front", loc="left", fontsize=8)
    handles: list[Any] = [
        Patch(color=DOMINATED, label="all candidates that have the gene"),
        Patch(color=MEMBER, label="members of the front"),
        Line2D([], [], color=MEMBER, marker="|", linestyle="none", label="each member"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _categories(axes: Axes, everybody: pd.Series, front: pd.Series) -> None:
    labels = sorted(everybody.unique(), reverse=True)
    rows = np.arange(len(labels))
    for offset, values, color in ((0.19, everybody, DOMINATED), (-0.19, front, MEMBER)):
        shares = [float((values == label).mean()) if len(values) else 0.0 for label in labels]
        axes.barh(rows + offset, shares, height=0.36, color=color)
    axes.set_yticks(
        rows, [label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…" for label in labels]
    )
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(visible=False, axis="y")


def _numbers(axes: Axes, everybody: Any, front: Any) -> None:
    distinct = np.unique(everybody)
    if 1 < len(distinct) <= BINS and (distinct % 1 == 0).all() and not is_logarithmic(everybody):
        middles = (distinct[1:] + distinct[:-1]) / 2
        edges = np.concatenate([[2 * distinct[0] - middles[0]], middles, [2 * distinct[-1] - middles[-1]]])
        axes.set_xticks(distinct if len(distinct) <= 8 else distinct[::2])
    elif is_logarithmic(everybody):
        edges = np.geomspace(distinct[0], distinct[-1], BINS + 1)
        axes.set_xscale("log")
        wide = distinct[-1] / distinct[0] >= 100
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        edges = np.linspace(distinct[0], distinct[-1], BINS + 1)
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in (everybody, front)]
    axes.stairs(shares[0], edges, fill=True, color=DOMINATED)
    axes.stairs(shares[1], edges, color=MEMBER, linewidth=1.5)
    if len(front):
        axes.plot(front, np.zeros(len(front)), "|", color=MEMBER, markersize=9, clip_on=False)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
