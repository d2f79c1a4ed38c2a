"""Drawings of what `moosearch.analysis.detection` finds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import roc_curve

from moosearch.analysis.detection import ADAPTIVE, Detection, squeezers_text
from moosearch.judging.detection import fooled
from moosearch.pareto.dominance import Array
from moosearch.report.plots.style import COLORS
from moosearch.text import counted

LEGITIMATE = "#6b7280"
BINS = np.linspace(0, 2, 41)


def curves(found: Detection) -> Figure:
    """Draw a ROC curve an attack, and how scores of legitimate and of adversarial images are distributed.

    Legitimate are test images that are classified rightly, adversarial those that fool; an attack by which
    none does has no curve. A dot is where the threshold lies.
    """
    told = found.conditions
    figure = Figure(figsize=(9.4, 4.0), layout="constrained")
    roc, spread = figure.subplots(1, 2, width_ratios=(1, 1.25))
    legitimate = found.clean.score[found.clean.right].cpu().numpy()
    _distribution(spread, legitimate, LEGITIMATE, 0, label="clean")
    for number, (name, attacked) in enumerate(found.attacked.items()):
        adversarial = attacked.score[fooled(found.clean, attacked)].cpu().numpy()
        if not len(adversarial):
            continue
        color, width = COLORS[number % len(COLORS)], 2.2 if name == ADAPTIVE else 1.3
        truth = [0] * len(legitimate) + [1] * len(adversarial)
        false, true, _ = roc_curve(truth, np.concatenate([legitimate, adversarial]))
        area, rate = found.attacks[name]["auc"], found.attacks[name]["detected"]["rate"]
        roc.plot(false, true, color=color, linewidth=width, label=f"{name}, area {area:.3f}")
        roc.plot([told["false_positives"]["rate"]], [rate], marker="o", markersize=5, color=color)
        _distribution(spread, adversarial, color, width)
    roc.plot([0, 1], [0, 1], color=LEGITIMATE, linewidth=0.8, linestyle=":")
    roc.set(
        xlabel="legitimate images rejected",
        ylabel="images that fool rejected",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    roc.set_title("ROC curves", fontsize=9)
    for axis in (roc.xaxis, roc.yaxis, spread.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    spread.axvline(told["threshold"], color="black", linewidth=0.9, linestyle="--", label="threshold")
    spread.set(xlabel="score: largest l1 distance of predictions", ylabel="share of images", xlim=(0, 2))
    spread.set_title("scores", fontsize=9)
    curves, labels = roc.get_legend_handles_labels()
    others = spread.get_legend_handles_labels()
    figure.legend([*others[0], *curves], [*others[1], *labels], loc="outside lower center", ncols=4)
    figure.suptitle(
        f"{told['candidate']}: {counted(told['images'], 'image')} of {told['dataset']}, {told['norm']} eps "
        f"{told['eps']:.3g}; {squeezers_text(told['squeezers'])}",
        fontsize=9,
    )
    return figure


def _distribution(axes: Axes, scores: Array, color: str, width: float, *, label: str | None = None) -> None:
    """Draw a histogram in shares: filled where there is no line."""
    heights = np.histogram(scores, BINS)[0] / max(len(scores), 1)
    alpha = 1 if width else 0.35
    axes.stairs(heights, BINS, color=color, label=label, fill=not width, alpha=alpha, linewidth=width)
