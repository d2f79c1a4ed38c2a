"""A campaign as a user holds it: inspect and export."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from moosearch.campaign import campaign
from moosearch.campaign.folder import write_atomically
from moosearch.errors import CampaignError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Campaign(campaign.Campaign):
    """A campaign folder: what was evaluated, the front, and the models of its members.

    Reading one needs neither torch nor Ray; what draws or exports is imported when it is asked for.
    """

    def plot(self, folder: Path | str | None = None) -> list[Path]:
        """Draw the front and the hypervolume; return the PNG files (PDFs stand beside them)."""
        from moosearch.report.plots import front as plots

        target = Path(folder or self.folder.plots)
        return plots.save(target, self.evaluations, self.header, self.confirmation)

    def plot_front(self, ax: "Axes | None" = None, *, x: str = "", y: str = "") -> "Axes":
        """Draw the front in two objectives on an axis of matplotlib.

        Args:
            ax: The axis; pyplot's current one if not given.
            x: The objective across; if not given, the first cost, or else the first objective.
            y: The objective upwards; if not given, the first other one.

        Returns:
            The axis.

        Raises:
            SpecError: No objective is called so, there is but one, or the front is empty.
        """
        from moosearch.report.plots import front as plots
        from moosearch.report.plots import style as figures

        axes = figures.given_or_current(ax)
        plots.front_on(axes, self.evaluations, self.header.objectives, self.confirmation, x=x, y=y)
        return axes

    def plot_hypervolume(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the hypervolume after every generation on an axis of matplotlib.

        Args:
            ax: The axis; pyplot's current one if not given.

        Returns:
            The axis.
        """
        from moosearch.report.plots import front as plots
        from moosearch.report.plots import style as figures

        axes = figures.given_or_current(ax)
        plots.hypervolume_on(axes, self.evaluations, self.header)
        return axes

    def report(self, to: Path | str | None = None, *, refresh: float = 0) -> Path:
        """Write the campaign as one HTML file, which needs no network.

        Args:
            to: The file; ``report.html`` in the campaign's folder by default.
            refresh: Seconds after which an open page loads itself again while the campaign runs; 0 for never.

        Returns:
            The file.
        """
        from moosearch.report.campaign_page import campaign_page

        target = Path(to or self.folder.report)
        write_atomically(target, campaign_page(self, refresh=refresh))
        return target

    def export(
        self,
        rule: str = "knee",
        to: Path | str | None = None,
        *,
        where: str | None = None,
        quantize: str | None = None,
        latency: bool = True,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Path:
        """Export a candidate; see `moosearch.export.write.export_model`.

        Args:
            rule: A rule of `Front.choose`, or a candidate's id.
            to: The folder to write; ``exports/<id>`` in the campaign's folder by default.
            where: Bounds that the candidate must keep, as `Front.where` takes them.
            quantize: ``int8`` for a quantized ONNX file besides, with accuracies of its own.
            latency: Whether to measure how long the programs take.
            progress: Is told how far attacks on the quantized network are.

        Returns:
            The folder.
        """
        from moosearch.export.write import export_model

        evaluation = self.evaluation(rule, where)
        if evaluation.status == "failed":
            raise CampaignError(f"candidate {evaluation.candidate.id} failed: {evaluation.reason}")
        target = Path(to) if to else self.folder.exports / evaluation.candidate.id
        return export_model(
            self.folder,
            self.header,
            evaluation,
            target,
            quantize=quantize,
            latency=latency,
            progress=progress,
        )
