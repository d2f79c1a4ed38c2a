"""How figures are written, and what their series look like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from moosearch.errors import CampaignError
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto.dominance import Array

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by color-blind readers too (Okabe & Ito 2008)."""
MARKERS = "os^DvPX"
DOMINATED, MEMBER, KNEE = "#b8bec6", "#1f5fa8", "#d1495b"
LOG_RATIO = 10
"""Positive values that span more than this are drawn on a logarithmic axis."""
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


def save(folder: Path, name: str, draw: Callable[..., Figure], *subject: Any) -> Path:
    """Draw a figure in the shared style, and write it as PNG and PDF.

    Args:
        folder: Where to write; created.
        name: Name of the files.
        draw: Draws the figure.
        subject: What ``draw`` is given.

    Returns:
        The PNG file.

    Raises:
        CampaignError: The folder cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = draw(*subject)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for suffix in ("pdf", "png"):
                figure.savefig(folder / f"{name}.{suffix}", bbox_inches="tight")
        except OSError as error:
            raise CampaignError(f"{folder}: cannot write here: {error.strerror}.") from error
    return folder / f"{name}.png"


def axis_label(objective: ObjectiveInfo) -> str:
    """Return the text of an axis: name, unit, and which way is better."""
    arrow = "higher" if objective.sense == "maximize" else "lower"
    told = objective.unit.lower().rstrip("s") == objective.key.rstrip("s")
    unit = "" if told or objective.unit == "fraction" else f" [{objective.unit}]"
    return f"{objective.key.replace('_', ' ')}{unit} ({arrow} is better)"


def given_or_current(ax: Axes | None) -> Axes:
    """Return an axis, or else pyplot's current one, which a notebook shows."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.gca()


def fit(axes: Axes, name: Literal["x", "y"], values: Array, objective: ObjectiveInfo) -> None:
    """Fit an axis to values of an objective, such as a front's: what lies far outside would squeeze it.

    It is logarithmic where positive values span more than `LOG_RATIO`, but for shares. No values change
    nothing.

    Args:
        axes: The axes.
        name: Which of them.
        values: (N,) in the objective's unit.
        objective: The objective.
    """
    if not len(values):
        return
    low, high = values.min(), values.max()
    margin = 0.08 * ((high - low) or abs(high) or 1.0)
    axis = getattr(axes, f"{name}axis")
    if objective.unit != "fraction" and low > 0 and high / low >= LOG_RATIO:
        axes.set(**{f"{name}scale": "log", f"{name}lim": (low / 1.3, high * 1.3)})
        axis.set_minor_formatter(NullFormatter())
    else:
        axes.set(**{f"{name}scale": "linear", f"{name}lim": (low - margin, high + margin)})
    formatter = engineering(values)
    if formatter is not None:
        axis.set_major_formatter(formatter)


def engineering(values: Array) -> EngFormatter | None:
    """Return a formatter that writes 12k for 12,000, where there are such values."""
    return EngFormatter(sep="") if values.max() >= 1000 else None
