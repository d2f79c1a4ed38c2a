"""Drawings of what `moosearch.analysis.robustness` measures.

Each function draws one figure and returns it; `moosearch.report.plots.style.save` writes it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from moosearch.analysis.robustness import Aligned, Shown
from moosearch.report.plots.style import COLORS, MARKERS
from moosearch.text import counted

if TYPE_CHECKING:
    from torch import Tensor

FOOLED, WITHSTOOD = "#d55e00", "#0072b2"
SMALL = 32 / 255
"""Radius up to which it is told in steps of a byte."""
COLUMNS = 8
"""Images of a gallery side by side."""
LETTERS = 15
"""Letters of a class's name that are shown."""
NAMED_CLASSES = 24
"""Classes up to which a heat map names every one."""


def curves(table: pd.DataFrame) -> Figure:
    """Draw robust accuracy against the radius, and against the number of steps where that was measured.

    Args:
        table: What `robustness` returns; all of it with one attack.
    """
    by_radius, by_steps = (table[table["curve"] == name] for name in ("eps", "steps"))
    told = by_radius.iloc[0]
    far = _far(sorted(by_radius["eps"].unique()))
    near = by_radius[by_radius["eps"] != far]
    unit = _unit(near["eps"].max(), told["norm"])
    widths = [6.0] + [0.8] * (far is not None) + [6.0] * (len(by_steps) > 0)
    figure = Figure(figsize=(0.75 * sum(widths), 3.6), layout="constrained")
    panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
    _lines(panels[0], near.assign(eps=near["eps"] * unit), "eps")
    panels[0].set(
        xlabel=f"radius eps, {told['norm']}" + (" [1/255]" if unit == 255 else ""),
        ylabel="accuracy under attack",
        ylim=(-0.02, 1.02),
    )
    panels[0].set_title(
        "against the radius"
        + (f", {counted(int(told['steps']), 'step')}" if pd.notna(told["steps"]) else ""),
        fontsize=9,
    )
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    if far is not None:
        _lines(panels[1], by_radius[by_radius["eps"] == far], "eps")
        panels[1].set(xticks=[far], xticklabels=[f"{far * unit:.4g}"])
        _break(panels[0], panels[1])
    if len(by_steps):
        radius, ticks = by_steps["eps"].iloc[0], by_steps["steps"].unique()
        _lines(panels[-1], by_steps, "steps")
        panels[-1].set(xscale="log", xlabel="number of steps")
        panels[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panels[-1].xaxis.set_minor_locator(NullLocator())
        panels[-1].set_title(f"against the number of steps, eps {_radius(radius, told['norm'])}", fontsize=9)
        panels[0].axvline(radius * unit, color="#6b7280", linewidth=0.9, linestyle=":", zorder=1)
    figure.suptitle(
        f"{counted(told['images'], 'image')} of {told['images_of']}; {told['attack']}; bands: 95 % "
        "Wilson intervals",
        fontsize=9,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


def _lines(axes: Axes, table: pd.DataFrame, along: str) -> None:
    """Draw a curve a candidate, with its band."""
    for number, (name, curve) in enumerate(table.groupby("candidate", sort=False)):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        style = ("-", "--", ":")[number // len(COLORS) % 3]
        axes.fill_between(curve[along], curve["low"], curve["high"], color=color, alpha=0.18, linewidth=0)
        if len(curve) == 1:  # a band without width cannot be seen
            axes.vlines(curve[along], curve["low"], curve["high"], color=color, linewidth=1)
        axes.plot(
            curve[along],
            curve["accuracy"],
            color=color,
            linestyle=style,
            linewidth=1.4,
            marker=marker,
            markersize=4.5,
            markerfacecolor="white",
            label=str(name),
        )


def _far(radii: Sequence[float]) -> float | None:
    """Return the last radius where it lies so far out that it would squeeze the others."""
    return radii[-1] if len(radii) > 2 and radii[-1] > 1.5 * radii[-2] else None


def _unit(eps: float, norm: str) -> int:
    """Return 255 where a radius is told in steps of a byte, as is usual for small ones, else 1."""
    return 255 if norm == "linf" and eps <= SMALL else 1


def _radius(eps: float, norm: str) -> str:
    return f"{eps * 255:.3g}/255" if _unit(eps, norm) == 255 else f"{eps:.3g}"


def _break(left: Axes, right: Axes) -> None:
    """Show that an axis is broken between two panels."""
    right.tick_params(axis="y", length=0)
    right.spines["left"].set_visible(False)
    slash: dict[str, Any] = {
        "marker": [(-1, -1.6), (1, 1.6)],
        "markersize": 7,
        "color": "black",
        "clip_on": False,
    }
    left.plot([1], [0], transform=left.transAxes, linestyle="none", **slash)
    right.plot([0], [0], transform=right.transAxes, linestyle="none", **slash)


def gallery(exhibit: Shown) -> Figure:
    """Draw images as they are, perturbed, and what was added, magnified.

    Args:
        exhibit: What `show` returns.
    """
    shown, told = exhibit.images, exhibit.conditions
    count, eta = len(shown.y), shown.x_adv - shown.x
    blocks = -(-count // COLUMNS)
    columns = -(-count // blocks)
    figure = Figure(figsize=(1.15 * columns + 0.4, 3.75 * blocks + 0.9), layout="constrained")
    grid = figure.subplots(3 * blocks, columns, squeeze=False)
    limit = float(eta.abs().max()) or 1.0
    scale = Normalize(-limit, limit)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    for row, text in enumerate(("clean", "adversarial", "difference") * blocks):
        grid[row, 0].set_ylabel(text, fontsize=9)
    for place in range(count):
        block, column = divmod(place, columns)
        clean, perturbed, added = grid[3 * block : 3 * block + 3, column]
        clean.imshow(_pixels(shown.x[place]), cmap="gray", vmin=0, vmax=1)
        clean.set_title(_said(shown.clean[place], exhibit.classes), fontsize=7.5)
        word, color = ("fooled", FOOLED) if shown.fooled[place] else ("withstood", WITHSTOOD)
        perturbed.imshow(_pixels(shown.x_adv[place]), cmap="gray", vmin=0, vmax=1)
        perturbed.set_title(_said(shown.adversarial[place], exhibit.classes), fontsize=7.5, color=color)
        perturbed.set_xlabel(word, fontsize=7.5, color=color, labelpad=2)
        for spine in perturbed.spines.values():
            spine.set(visible=True, color=color, linewidth=2)
        difference = _pixels(eta[place])
        if difference.ndim == 3:
            added.imshow(scale(difference))  # a color a channel: gray where nothing was added
        else:
            added.imshow(difference, cmap="RdBu_r", norm=scale)
    if eta.shape[1] == 3:
        figure.supxlabel(
            f"difference: {0.5 / limit:.3g} times magnified, around gray for 0 (black -{limit:.3g}, "
            f"white +{limit:.3g})",
            fontsize=8,
        )
    else:
        figure.colorbar(
            ScalarMappable(scale, "RdBu_r"),
            ax=grid,
            location="bottom",
            label="difference: added to the pixel, of [0, 1]",
            ticks=[-limit, 0, limit],
            format="%.3g",
            shrink=0.5,
            aspect=40,
        )
    figure.suptitle(
        f"{told['candidate']} on {_setting(told)}\n"
        "above an image: what it is taken for, and how surely; clean ones are all classified rightly",
        fontsize=9,
    )
    return figure


def _pixels(image: "Tensor") -> Any:
    """Return (H, W, 3) colors, or (H, W) means over any other number of channels."""
    return np.asarray((image.permute(1, 2, 0) if len(image) == 3 else image.mean(dim=0)).cpu())


def _said(probabilities: "Tensor", classes: Sequence[str]) -> str:
    """Return the class that an image is taken for, and how surely."""
    return f"{_short(classes[int(probabilities.argmax())])}\n{float(probabilities.max()):.0%}"


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"


def alignment(found: Sequence[Aligned]) -> Figure:
    """Draw heat maps of cosines, natural by adversarial: of single images, and means of classes.

    A row a candidate; the diagonal leads from the bottom left to the top right, as in the paper.

    Args:
        found: What `align` returns of each candidate.
    """
    maps = [np.asarray(part) for each in found for part in (each.samples, each.means.by_class.cpu())]
    scale = Normalize(min(float(np.nanmin(values)) for values in maps), 1.0)
    figure = Figure(figsize=(9.2, 4.1 * len(found) + 0.3), layout="constrained")
    grid = figure.subplots(len(found), 2, squeeze=False)
    for row, each in enumerate(found):
        singles, means = grid[row]
        _heat(singles, maps[2 * row], scale)
        labels, sizes = np.unique(each.labels, return_counts=True)
        ends = np.cumsum(sizes)
        for end in ends[:-1]:
            singles.axhline(end - 0.5, color="white", linewidth=0.5)
            singles.axvline(end - 0.5, color="white", linewidth=0.5)
        _classes(singles, ends - sizes / 2 - 0.5, [each.classes[label] for label in labels])
        singles.set(xlabel="natural image", ylabel="adversarial image")
        singles.set_title(f"{each.conditions['candidate']}: {counted(len(each.labels), 'image')}", fontsize=9)
        _heat(means, maps[2 * row + 1], scale)
        if len(each.classes) <= NAMED_CLASSES:
            _classes(means, range(len(each.classes)), each.classes)
        means.set(xlabel="natural class", ylabel="adversarial class")
        means.set_title(
            f"{counted(each.conditions['images'], 'image')}: own {each.means.own:.3f}, class "
            f"{each.means.within_class:.3f}, other classes {each.means.between_classes:.3f}",
            fontsize=9,
        )
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=grid, label="cosine of the trunk's features")
    figure.suptitle(_setting(found[0].conditions), fontsize=9)
    return figure


def _setting(told: Mapping[str, Any]) -> str:
    return f"{told['images_of']}; {told['attack']}, eps {_radius(told['eps'], told['norm'])} {told['norm']}"


def _heat(axes: Axes, values: Any, scale: Normalize) -> None:
    # Transposed: the natural image goes across.
    axes.imshow(values.T, cmap="viridis", norm=scale, origin="lower", interpolation="nearest")
    axes.grid(visible=False)


def _classes(axes: Axes, places: Sequence[float] | Any, names: Sequence[str]) -> None:
    names = [_short(name) for name in names]
    axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(places, names)
    axes.tick_params(length=0, labelsize=7.5)
