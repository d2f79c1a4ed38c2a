"""Drawings of what `moosearch.campaign.neighborhoods` finds."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from moosearch.campaign import figures
from moosearch.campaign.neighborhoods import Neighborhoods
from moosearch.verify.box import Layers
from moosearch.verify.layered import Neighborhood

MOST = 12
"""Neighborhoods that are drawn, the first ones."""

MOST_PIXELS = 98
"""Percentile of radii at which the scale ends: a far corner of few pixels may move ten times as far."""


def save(found: Neighborhoods) -> list[Path]:
    """Write both drawings into the folder of the neighborhoods, as PNG and PDF; return the PNG files."""
    drawings = (("heat_maps", heat_maps), ("relations", relations))
    return [figures.save(found.folder, name, draw, found) for name, draw in drawings]


def heat_maps(found: Neighborhoods) -> Figure:
    """Draw how far every pixel may move (Mour 2023, figures 3 and 4), with the outlines of both objects."""
    shown = found.found[:MOST]
    columns = min(len(shown), 4) or 1
    rows = math.ceil(len(shown) / columns) or 1
    figure = Figure(figsize=(2.5 * columns + 0.9, 2.7 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    maps = [eps_map(each, found.regions[each.image]) for each in shown]
    highest = float(np.percentile(maps, MOST_PIXELS)) if shown else 1.0
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, each, radii in zip(axes.flat, shown, maps, strict=False):
        region = found.regions[each.image]
        heat = axis.imshow(radii, cmap="viridis", vmin=0, vmax=highest or 1.0)
        for label, color in ((each.target, "white"), (each.perturbed, "#d55e00")):
            axis.contour(region == label + 1, levels=[0.5], colors=color, linewidths=1.6)
        axis.set_title(
            f"image {each.image}: {found.classes[each.target]} stays\n"
            f"{found.classes[each.perturbed]} changes, size {each.size:.3g}",
            fontsize=8,
        )
    if shown:
        figure.colorbar(heat, ax=axes, label="how far a pixel may move", shrink=0.8, extend="max")
    figure.suptitle(
        f"{found.candidate}: {found.approach.algorithm}, {found.approach.weights} weights; "
        "white: what stays, orange: what changes",
        fontsize=9,
    )
    return figure


def eps_map(found: Neighborhood, region: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the radius of every pixel: (H, W)."""
    return np.array(found.eps)[Layers.around(region == found.perturbed + 1).of]


def relations(found: Neighborhoods) -> Figure:
    """Draw the mean size for each target (rows) and each object that may change (columns)."""
    table = found.relations()
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axis = figure.subplots()
    heat = axis.imshow(table.to_numpy(), cmap="viridis")
    ticks = range(len(found.classes))
    axis.grid(visible=False)
    axis.set_xticks(ticks, found.classes, fontsize=8)
    axis.set_yticks(ticks, found.classes, fontsize=8)
    axis.set(xlabel="object that changes", ylabel="object that stays")
    axis.set_title("mean size of robust neighborhoods; white: no image", fontsize=9)
    figure.colorbar(heat, ax=axis)
    return figure
