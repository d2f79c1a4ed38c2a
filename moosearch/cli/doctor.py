"""Doctor: can a campaign run here."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from moosearch.cli.app import AddressOption, app, found_space, out
from moosearch.space.shipped import shipped_spaces

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def _is_space(given: Path) -> bool:
    """Whether a search space is meant, and not a campaign's folder, which need not be there yet."""
    return not given.is_dir() and (given.is_file() or given.as_posix() in shipped_spaces())


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A campaign's folder, or where one is to be; or a search space: a file, or a shipped one.",
            metavar="DIR|FILE",
        ),
    ] = None,
    ray_address: AddressOption = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="The URL of a database to try.", metavar="URL")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Start no Ray, read no images.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check whether a campaign can run here, and say what to do; 0 if nothing failed, else 1."""
    from moosearch.campaign.log import dumps
    from moosearch.run.doctor import examine

    space = None
    if folder is not None and _is_space(folder):
        space, folder = found_space(folder), None
    checks = list(examine(folder, space=space, address=ray_address or "", storage=storage or "", quick=quick))
    if as_json:
        typer.echo(dumps([asdict(check) for check in checks], indent=2))
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("")
        table.add_column("found, and what to do", overflow="fold")
        for check in checks:
            told = f"{check.found}\n-> {check.advice}" if check.advice else check.found
            table.add_row(
                check.name, check.level, told, style=_STYLES[check.level] if out.is_terminal else None
            )
        out.print(table)
    if any(check.level == "failure" for check in checks):
        raise typer.Exit(1)
