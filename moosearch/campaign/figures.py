"""How figures are written, and what their series look like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from moosearch.campaign.plots import STYLE
from moosearch.errors import CampaignError

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by color-blind readers too (Okabe & Ito 2008)."""
MARKERS = "os^DvPX"


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
