"""Compare: campaigns by the side of each other, and their front of all."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from moosearch.cli.app import JsonOption, app, check_one_format, err, out
from moosearch.errors import CampaignError, SpecError
from moosearch.text import counted

SETTINGS = 15
"""Settings that differ of which the terminal shows as many."""
LEAST_WIDTH = 8
"""Columns that names are given, at least, before they are broken."""
LETTERS = 60
"""Letters of a setting that the terminal shows."""


@app.command()
def compare(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of campaigns, two or more.", metavar="DIR DIR ...")
    ],
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            help="How campaigns are grouped, if not by all settings but the seed: algorithm, space, a "
            "setting such as campaign.budget.population, or NAME=PATTERN of folders, once a group.",
            metavar="RULE",
        ),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Show the front of all campaigns together instead.")
    ] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a row a campaign, or a member of the front.")
    ] = False,
    as_json: JsonOption = False,
    to: Annotated[
        Path | None, typer.Option("--out", help="A folder to draw plots to, as PNG and PDF.", metavar="DIR")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one HTML file that needs no network.", metavar="FILE")
    ] = None,
) -> None:
    """Set campaigns side by side: hypervolume, IGD+, coverage, tests of differences, and one front of all.

    Campaigns whose settings differ in the seed alone form a group; differences between groups are tested.
    """
    from moosearch.analysis import comparison
    from moosearch.analysis.comparison_tables import Measured
    from moosearch.campaign.tables import records

    check_one_format(csv=csv, as_json=as_json)
    if html is not None and html.is_dir():
        raise SpecError(f"--html: {html} is a folder, expected the name of a file.")
    measured = Measured(comparison.compare(folders, group_by or []))
    shown = comparison.front_table(measured.comparison.merged) if front else measured.campaigns
    if csv:
        typer.echo(shown.to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(json.dumps(records(shown) if front else measured.to_tree(), indent=2))
    else:
        for table in [_front(measured)] if front else _tables(measured):
            out.print(table)
        for note in measured.notes:
            out.print(f"- {note}", soft_wrap=True)
    if to is not None:
        from moosearch.report.plots import comparison as comparison_plots

        for path in comparison_plots.save(to, measured):
            err.print(f"written to {path}, with a PDF beside it", soft_wrap=True)
    if html is not None:
        from moosearch.campaign.folder import write_atomically
        from moosearch.report.comparison import comparison_page

        try:
            write_atomically(html, comparison_page(measured))
        except OSError as error:
            raise CampaignError(f"--html: {html}: cannot write here: {error.strerror}.") from error
        err.print(f"written to {html}", soft_wrap=True)


def _tables(measured: Any) -> list[Table]:
    comparison = measured.comparison
    tables = [_settings(comparison), _campaigns(measured)]
    if len(comparison.groups) < len(comparison.entries):
        tables.append(_groups(measured))
    if measured.tests["p"].notna().any():
        tables.append(_tests(measured))
    if len(comparison.groups) > 1:
        tables.append(_coverage(measured.coverage))
    return [table for table in tables if table.row_count]


def _settings(comparison: Any) -> Table:
    """Return the settings that differ, a column a group where each group has one value of all of them."""
    settings = comparison.settings
    more = f" (the first {SETTINGS} of {len(settings)}; --json has all)" if len(settings) > SETTINGS else ""
    groups = {name: [entry.name for entry in entries] for name, entries in comparison.groups.items()}
    if all((settings[names].nunique(axis=1) == 1).all() for names in groups.values()):
        settings = settings[[names[0] for names in groups.values()]].set_axis(list(groups), axis=1)
    table = Table(title=f"settings that differ{more}", title_justify="left")
    table.add_column("setting", overflow="fold")
    for name in settings.columns:
        table.add_column(name, overflow="fold")
    for path, row in settings.head(SETTINGS).iterrows():
        table.add_row(
            str(path), *(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…" for text in row)
        )
    return table


def _table(title: str) -> Table:
    """Return a table whose columns are many on a terminal of 80."""
    return Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, collapse_padding=True)


def _campaigns(measured: Any) -> Table:
    table = _table(f"campaigns (the front of all has {counted(len(measured.comparison.merged), 'member')})")
    heads = {
        "failed": "failed,\nin-\nfeasible",
        "evaluations": "evalu-\nations",
        "igd_plus": "IGD+",
    }
    frame = measured.campaigns
    aside = ["algorithm", "merged", "infeasible"]  # groups and shares say as much, and the column before it
    if not frame[["failed", "infeasible"]].any(axis=None):
        aside.append("failed")
    if len(measured.comparison.groups) < len(frame):
        aside.append("share")  # of groups, it stands below
    both = [
        f"{failed}, {beyond}" for failed, beyond in zip(frame["failed"], frame["infeasible"], strict=True)
    ]
    shown = frame.assign(failed=both).drop(columns=aside)
    _columns(table, shown, heads)
    for row in shown.to_dict("records"):
        table.add_row(*(_cell(key, value) for key, value in row.items()))
    return table


def _groups(measured: Any) -> Table:
    table = _table("groups: median, and under it quartiles; front of all campaigns of the group")
    names = [str(name) for name in measured.groups.columns if not str(name).endswith(("_q25", "_q75"))]
    heads = {
        "campaigns": "cam-\npaigns",
        "front": "front",
        "front_hypervolume": "its hyper-\nvolume",
        "igd_plus": "IGD+",
    }
    _columns(table, measured.groups[names], heads)
    for row in measured.groups.to_dict("records"):
        cells = []
        for name in names:
            text = _cell(name, row[name])
            if name in measured.metrics and row["campaigns"] > 1:
                text += f"\n{_cell(name, row[f'{name}_q25'])}-\n{_cell(name, row[f'{name}_q75'])}"
            cells.append(text)
        table.add_row(*cells)
    return table


def _tests(measured: Any) -> Table:
    """Return the pairs of groups that could be tested; a note names the others."""
    table = _table("differences between groups")
    tested = measured.tests[measured.tests["p"].notna()]
    for name in ("metric", "first (n)", "second (n)"):
        table.add_column(name, overflow="fold")
    several = tested["metric"].duplicated().any()
    for name in ("median", "median", "effect A12", "p", *(["p, Holm"] if several else [])):
        table.add_column(name, justify="right")
    for row in tested.to_dict("records"):
        table.add_row(
            row["metric"].replace("_at_", "\nat ").replace("igd_plus", "IGD+"),
            f"{row['first']} ({row['n_first']})",
            f"{row['second']} ({row['n_second']})",
            f"{row['median_first']:.4f}",
            f"{row['median_second']:.4f}",
            f"{row['effect']:.2f} ({row['size']})",
            f"{row['p']:.3g}",
            *([f"{row['p_holm']:.3g}"] if several else []),
        )
    return table


def _coverage(coverage: Any) -> Table:
    table = Table(title="coverage", title_justify="left")
    table.add_column("")
    for name in coverage.columns:
        table.add_column(name, justify="right")
    for name, row in coverage.iterrows():
        cells = ["" if name == other else _cell("share", value) for other, value in row.items()]
        table.add_row(str(name), *cells)
    return table


def _front(measured: Any) -> Table:
    from moosearch.text import value_text

    merged = measured.comparison.merged
    table = Table(
        title=f"front of all: {counted(len(merged), 'member')}, hypervolume {merged.hypervolume():.4f}",
        title_justify="left",
    )
    table.add_column("id", no_wrap=True)
    table.add_column("campaign", overflow="fold")
    for objective in merged.objectives:
        table.add_column(objective.key.replace("_", "\n"), justify="right")
    table.add_column("genes")
    for e in merged:
        genes = ", ".join(f"{path.split('.')[-1]}={value}" for path, value in e.candidate.genome.items())
        values = [value_text(e.objectives[o.key]) for o in merged.objectives]
        table.add_row(e.candidate.id, str(e.provenance["campaign"]), *values, genes)
    return table


def _columns(table: Table, frame: Any, heads: dict[str, str]) -> None:
    for name in frame.columns:
        words = name in ("campaign", "group")
        head = heads.get(name) or str(name).replace("_", "\n").replace("hypervolume", "hyper-\nvolume")
        longest = max(map(len, frame[name])) if words else 0
        table.add_column(
            head,
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=not words,
            min_width=min(longest, LEAST_WIDTH) or None,
        )


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.0%}" if name == "share" else f"{value:.4f}"
