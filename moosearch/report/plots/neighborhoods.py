"""Drawings of what `moosearch.analysis.neighborhoods` finds."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from moosearch.analysis.neighborhoods import Neighborhoods
from moosearch.report.plots import style as figures
from moosearch.verify.box import Layers
from moosearch.verify.layered import Neighborhood

MOST = 12
"""Neighborhoods that are drawn, the first ones."""

MOST_WITNESSES = 6
"""Neighborhoods whose witness is drawn, the first ones that have one."""

MOST_PIXELS = 98
"""Percentile of radii at which the scale ends: a far corner of few pixels may move ten times as far."""


def save(found: Neighborhoods) -> list[Path]:
    """Write the drawings into the folder of the neighborhoods, as PNG and PDF; return the PNG files."""
    drawings = (("heat_maps", heat_maps), ("relations", relations), ("witnesses", witnesses))
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


def witnesses(found: Neighborhoods) -> Figure:
    """Draw for neighborhoods an image that blocks their innermost blocked layer, and how it differs.

    The image as it is, the witness, and the change, each with the classes that the network sees.
    """
    shown = [each for each in found.found if "blocked" in each.faces][:MOST_WITNESSES]
    rows = len(shown) or 1
    figure = Figure(figsize=(7.6, 2.5 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for (left, middle, right), each in zip(axes, shown, strict=False):
        layer, witness = next((d, w) for d, w in enumerate(each.witnesses) if w is not None)
        image = found.images[each.image]
        other = np.array(witness.x).reshape(image.shape)
        change = (other - image).mean(axis=0)
        most = float(np.abs(change).max()) or 1.0
        for axis, pixels in ((left, image), (middle, other)):
            color = {} if len(pixels) > 1 else {"cmap": "gray"}
            axis.imshow(pixels.transpose(1, 2, 0).clip(0, 1), vmin=0, vmax=1, **color)
        heat = right.imshow(change, cmap="PuOr", vmin=-most, vmax=most)
        figure.colorbar(heat, ax=right, shrink=0.85)
        names = [found.classes[label] for label in sorted((each.target, each.perturbed))]
        left.set_title(f"image {each.image}: sees {' and '.join(names)}", fontsize=8)
        seen = " and ".join(found.classes[label] for label in witness.seen)
        middle.set_title(f"witness: sees {seen}", fontsize=8)
        right.set_title(f"change; blocks layer {layer}", fontsize=8)
    empty = "" if shown else " (no layer is blocked by a witness)"
    figure.suptitle(f"{found.candidate}: images that hide a target{empty}", fontsize=9)
    return figure


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
