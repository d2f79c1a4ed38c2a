"""Report: a campaign as one HTML file, once or for as long as it runs."""

import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from moosearch.cli.app import FolderArgument, app, err, out
from moosearch.errors import CampaignError, SpecError

PATIENCE = 3
"""Readings in a row that may fail: a database is locked, or a file on its way."""


@app.command()
def report(
    folder: FolderArgument,
    to: Annotated[
        Path | None, typer.Option("--out", help="The file to write; DIR/report.html if not given.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            help="Write it again when something changed, looking every so many seconds, until the campaign "
            "ends, or Ctrl-C; an open page follows.",
            metavar="SECONDS",
            min=1,
            max=3600,
        ),
    ] = None,
) -> None:
    """Write a report: one HTML file with front, decisions, confirmation and all candidates."""
    from moosearch.api.campaign import Campaign

    campaign = Campaign(folder)
    target = to or campaign.folder.report
    if target.is_dir():
        raise SpecError(f"--out: {target} is a folder, expected a file such as {target / 'report.html'}.")

    def written() -> None:
        out.print(f"written to {target}", soft_wrap=True)
        if show and not webbrowser.open(target.resolve().as_uri()):
            err.print(f"no browser was found: open {target} yourself", soft_wrap=True)

    if watch is None:
        _write(campaign, target, 0)
        written()
        return
    try:
        _watch(campaign, target, watch, written)
    except KeyboardInterrupt:  # how one stops looking
        return


def _write(campaign: Any, target: Path, refresh: float) -> None:
    try:
        campaign.report(target, refresh=refresh)
    except OSError as error:
        raise CampaignError(f"--out: {target}: cannot write here: {error.strerror}.") from error


def _watch(campaign: Any, target: Path, seconds: float, written: Callable[[], None]) -> None:
    """Write the page, again whenever something happened, and a last time when the campaign has ended."""
    from moosearch.campaign.status import read_status

    before, failures = None, 0
    while True:
        try:
            status = read_status(campaign)
            now = (status.done, status.last, status.state, status.running, status.confirmation)
            if now != before:
                _write(campaign, target, seconds)
                if before is None:
                    written()
        except CampaignError:
            failures += 1
            if failures == PATIENCE:
                raise
        else:
            failures, before = 0, now
            if not status.running:
                out.print("the campaign is not running (any more): this is the last version", soft_wrap=True)
                return
        time.sleep(seconds)
