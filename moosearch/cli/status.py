"""Status: how far a campaign is and what runs where, once or until it ends."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moosearch.cli.app import FolderArgument, app, out
from moosearch.errors import CampaignError
from moosearch.text import clock, counted, value_text

PATIENCE = 3
"""Readings in a row that may fail: a database is locked, or a file on its way."""


@app.command()
def status(
    folder: FolderArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the campaign ends, or Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", help="Seconds between two looks, with --watch.", min=0.1, max=3600)
    ] = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch, a line a change.")
    ] = False,
) -> None:
    """Say how far a campaign is, who runs it and what runs where."""
    from moosearch.api.campaign import Campaign
    from moosearch.campaign.log import dumps
    from moosearch.campaign.status import read_status

    campaign = Campaign(folder)
    if as_json and not watch:
        typer.echo(dumps(read_status(campaign).to_tree(), indent=2))
    elif not watch:
        for part in drawn(read_status(campaign)):
            out.print(part, soft_wrap=isinstance(part, str))
    else:
        try:
            _watch(_looks(campaign, interval), as_json=as_json)
        except KeyboardInterrupt:  # how one stops looking
            return


def _looks(campaign: Any, interval: float) -> Iterator[Any]:
    """Yield the status again and again, and a last time when nobody runs the campaign any more."""
    from moosearch.campaign.status import read_status

    failures = 0
    while True:
        try:
            found = read_status(campaign)
        except CampaignError:
            failures += 1
            if failures == PATIENCE:
                raise
        else:
            failures = 0
            yield found
            if not found.running:
                return
        time.sleep(interval)


def _watch(looks: Iterator[Any], *, as_json: bool) -> None:
    from moosearch.campaign.log import dumps

    if as_json or not out.is_terminal:
        said = ""
        for found in looks:
            line = line_of(found)
            if line != said:
                said = line
                typer.echo(dumps(found.to_tree()) if as_json else line)
        return
    with Live(console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for found in looks:
            parts = (
                Text(part, no_wrap=True, overflow="ellipsis") if isinstance(part, str) else part
                for part in drawn(found, rows=out.height - 1)
            )
            live.update(Group(*parts), refresh=True)


def drawn(found: Any, rows: int = 0) -> list[str | Table]:
    """Return a `moosearch.campaign.status.Status` as lines and tables.

    Args:
        found: The status.
        rows: Rows that there are; 0 for as many as it takes.
    """
    heading, ending = _heading(found), _ending(found, 2 if rows else 5)
    jobs, nodes, history = found.jobs, found.nodes, found.history
    if rows:  # the longest runners, the first nodes and the newest generations; what does not fit is counted
        headings = 2 * sum(map(bool, (jobs, nodes, history))) + 2
        free = rows - headings - len(heading) - len(ending)
        nodes = nodes[: max(1, free // 4)]
        jobs = jobs[: max(1, (free - len(nodes)) * 2 // 3)]
        history = history[-max(1, free - len(nodes) - len(jobs)) :]
    tables = (
        _jobs(jobs, len(found.jobs) - len(jobs)),
        _nodes(nodes, len(found.nodes) - len(nodes)),
        _history(history),
    )
    return [*heading, *(table for table in tables if table is not None), *ending]


def line_of(found: Any) -> str:
    """Return the status as a line that stays the same until something happens."""
    parts = [_counts(found)]
    if found.running:
        parts.append(f"{len(found.jobs)} running")
    if sum(found.retries.values()):
        parts.append(f"tried again {_kinds(found.retries)}")
    if found.history:
        parts.append(f"hypervolume {found.history[-1]['hypervolume']:.4f}")
    if found.confirmation is not None:
        parts.append(_confirmation(found.confirmation))
    if found.ended and not found.running:
        parts.append(f"ended: {found.ended}")
    return "; ".join(parts)


def _counts(found: Any) -> str:
    waiting_are = "running or waiting" if found.state == "running" else "unfinished"
    return (
        f"{found.name}: {found.state}; generation {found.generation}/{found.generations}, "
        f"{found.done}/{counted(found.total, 'candidate')} done, {found.waiting} {waiting_are}, "
        f"{len(found.failed)} failed"
    )


def _heading(found: Any) -> list[str]:
    lines = [f"{_counts(found)}; {found.algorithm}, seed {found.seed}"]
    if found.driver is not None:
        who = f"{found.driver.user} on " if found.driver.user else ""
        host = found.driver.host or "another machine"
        lines.append(
            f"run by {who}{host} (process {found.driver.pid}) for {clock(found.driver.seconds)}, "
            f"{found.workers} at a time{_pace(found)}"
        )
    elif found.state == "stopped":
        # Who is killed says nothing.
        lines.append(f"ended at {found.last or '?'}: {found.ended or 'its process ended without a word'}")
    trouble = []
    if sum(found.retries.values()):
        trouble.append(f"tried again: {_kinds(found.retries)}")
    if found.failures:
        trouble.append(f"failed: {_kinds(found.failures)}")
    return [*lines, "; ".join(trouble)] if trouble else lines


def _pace(found: Any) -> str:
    if found.pace is None:
        return ""
    each = f"{found.pace:.1f} s" if found.pace < 60 else clock(found.pace)
    left = f", {clock(found.left)} left" if found.left else ""
    return f"; {each} a candidate{left}"


def _ending(found: Any, most: int) -> list[str]:
    lines = [f"best {key}: {value_text(b['value'])} ({b['candidate']})" for key, b in found.best.items()]
    for failed in found.failed[-most:]:
        tries = f" ({failed.attempts} tries)" if failed.attempts > 1 else ""
        lines.append(f"failed {failed.candidate}{tries}: {failed.reason}")
    if len(found.failed) > most:
        lines.append(f"and {len(found.failed) - most} more failed; all stand in candidates.csv")
    if found.state == "stopped":
        lines.append(f"go on with `moosearch resume {found.folder}`")
    if found.confirmation is not None:
        lines.append(_confirmation(found.confirmation))
        if found.confirmation.state == "stopped":
            lines.append(f"go on with `moosearch confirm {found.folder}`")
    return lines


def _confirmation(found: Any) -> str:
    gone = f"; the robustness of {found.overestimated} is overestimated" if found.overestimated else ""
    return (
        f"confirmation: {found.state}; {found.done}/{counted(found.planned, 'training')} done, "
        f"{found.failed} failed; "
        f"{found.unreliable} of {counted(found.members, 'member')} failed a check for masked gradients{gone}"
    )


def _jobs(jobs: Sequence[Any], more: int = 0) -> Table | None:
    if not jobs:
        return None
    table = _table("running", "node", "process", "attempt", "epoch", "for", caption=_more(more))
    for job in jobs:
        epoch = f"{job.epoch}/{job.epochs}" if job.epochs else "-"
        which = f" seed {job.number}" if job.number else f" training {job.training + 1}" * bool(job.training)
        table.add_row(
            f"{job.candidate}{which}", job.host, str(job.pid), str(job.attempt), epoch, clock(job.seconds)
        )
    return table


def _nodes(nodes: Sequence[Any], more: int = 0) -> Table | None:
    if not nodes:
        return None
    table = _table("node", "address", "alive", "CPUs", "GPUs", "running", "done", caption=_more(more))
    for node in nodes:
        alive = "yes" if node.alive else "no"
        if node.nodes > 1:
            alive = f"{node.alive} of {node.nodes}"
        what = [node.address, alive, f"{node.cpus:g}", f"{node.gpus:g}"] if node.nodes else ["-"] * 4
        table.add_row(node.name, *what, str(node.running), str(node.done))
    return table


def _history(history: Sequence[Any]) -> Table | None:
    if not history:
        return None
    table = _table("generation", "candidates", "failed", "front", "hypervolume")
    for row in history:
        counts = (str(row[key]) for key in ("generation", "evaluations", "failed", "front"))
        table.add_row(*counts, f"{row['hypervolume']:.4f}")
    return table


def _table(*columns: str, caption: str | None = None) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption=caption, caption_justify="left"
    )
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=True)
    return table


def _more(count: int) -> str | None:
    return f"and {count} more" if count else None


def _kinds(counts: Any) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
