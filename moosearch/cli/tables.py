"""Tables for the terminal."""

from typing import Any

from rich.table import Table

from moosearch.pareto.front import value_text


def front_table(campaign: Any, shown: Any = None) -> Table:
    """Return the front as a table: a row a member; genes that are the same in all are left to the CSV."""
    front = campaign.front
    shown = shown if shown is not None else front
    knee = front.knee().candidate.id if len(front) else ""
    genes = list(dict.fromkeys(path for e in front for path in e.candidate.genome))
    varying = [p for p in genes if len({str(e.candidate.genome.get(p)) for e in front}) > 1] or genes
    header = campaign.header
    table = Table(
        title=f"{header.name}: front of {len(front)}, hypervolume {front.hypervolume():.4f} (knee marked *)",
        title_justify="left",
    )
    table.add_column("id", no_wrap=True)
    for objective in header.objectives:
        table.add_column(objective.key.replace("_", "\n"), justify="right")
    table.add_column("genes that differ")
    for e in shown:
        genome = {path: value for path, value in e.candidate.genome.items() if path in varying}
        recipe = ", ".join(
            value if isinstance(value, str) else f"{path.split('.')[-1]}={value}"
            for path, value in genome.items()
        )
        marked = f"{e.candidate.id}{'*' if e.candidate.id == knee else ''}"
        values = [value_text(e.objectives[o.key]) for o in header.objectives if o.key in e.objectives]
        table.add_row(marked, *values, recipe)
    return table


def frame_table(frame: Any) -> Table:
    """Return a data frame as a table with a row a column, which fits any terminal."""
    table = Table(show_header=False)
    for name, values in frame.items():
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    return table
