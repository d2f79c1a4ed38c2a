"""The front in parallel coordinates."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from moosearch.evaluation import Evaluation, ObjectiveInfo, Scalar
from moosearch.pareto import Front
from moosearch.report.plots.style import KNEE, LOG_RATIO


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
    mapper = ScalarMappable(Normalize(values.min(), values.max()), "viridis")
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
    if np.ptp(values) > 0:  # else there is one color
        figure.colorbar(mapper, ax=axes, label=first.key.replace("_", " "), pad=0.02)
    figure.legend(loc="outside upper right")
    return figure


def _objective_axis(axes: Axes, position: int, objective: ObjectiveInfo, front: Front) -> list[float]:
    values = [e.objectives[objective.key] for e in front]
    better, worse = max(values), min(values)
    if objective.sense == "minimize":
        better, worse = worse, better
    _ticks(axes, position, {0.0: _short(worse), 1.0: _short(better)})
    return [(v - worse) / (better - worse) if better != worse else 0.5 for v in values]


def _gene_axis(axes: Axes, position: int, path: str, genomes: Sequence[Mapping[str, Scalar]]) -> list[float]:
    values = [genome[path] for genome in genomes]
    if any(isinstance(value, str | bool) for value in values):
        labels = sorted({str(value) for value in values})
        places = {label: i / (len(labels) - 1) for i, label in enumerate(labels)}
        _ticks(axes, position, {height: label for label, height in places.items()})
        return [places[str(value)] for value in values]
    numbers = np.array(values, dtype=np.float64)
    low, high = numbers.min(), numbers.max()
    _ticks(axes, position, {0.0: _short(low), 1.0: _short(high)})
    if low > 0 and high / low >= LOG_RATIO:
        numbers, low, high = np.log(numbers), np.log(low), np.log(high)
    return list((numbers - low) / (high - low))


def _short(value: float) -> str:
    return EngFormatter(places=1, sep="")(value) if abs(value) >= 1000 else f"{value:.4g}"


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
