"""The application, its consoles, and the arguments that several commands take."""

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moosearch import __version__
from moosearch.cli.commands import Commands
from moosearch.errors import SpecError

app = typer.Typer(
    cls=Commands,
    help="Search for adversarially robust neural networks: launch, inspect, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class _Console(Console):
    """Falls silent where nobody reads any more: a campaign does not end because its terminal is gone."""

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except (OSError, SystemExit):  # rich itself exits where a pipe is broken
            self.quiet = True
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.file.fileno())


out = _Console(markup=False, highlight=False)
err = _Console(stderr=True, markup=False, highlight=False)


def found_space(given: Path) -> Path:
    """Return the search space file that is meant; say which one where it was not named as a file.

    Raises:
        SpecError: There is none.
    """
    from moosearch.space.shipped import find  # brings NumPy and pydantic

    file = find(given)
    if file != given:
        err.print(f"search space: {file}", soft_wrap=True)
    return file


SpaceArgument = typer.Argument(
    help="A search space file, or the name of a shipped one: `moosearch list spaces`.",
    metavar="FILE",
    callback=lambda given: None if given is None else found_space(given),
)
FileArgument = Annotated[Path, SpaceArgument]
FolderArgument = Annotated[Path, typer.Argument(help="A campaign's folder.", metavar="DIR")]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Only members that keep bounds: 'robust_accuracy>=0.4, flops<=2e6'.",
        metavar="BOUNDS",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a leaf: campaign.budget.population=8.", metavar="PATH=VALUE"),
]
EvaluatorOption = Annotated[
    str | None, typer.Option("--evaluator", help="Where candidates are trained: ray or serial.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Candidates at a time, on Ray.", min=1)]
AddressOption = Annotated[
    str | None, typer.Option("--ray-address", help="A running Ray cluster, such as auto.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def overrides(
    assignments: list[str] | None, evaluator: str | None, workers: int | None, address: str | None
) -> list[str]:
    """Return assignments, and after them those that the options mean which say where work runs.

    Raises:
        SpecError: The serial evaluator is to have several workers.
    """
    if workers is not None and workers > 1 and evaluator == "serial":
        raise SpecError("--workers: serial has one worker. Use --evaluator ray for more.")
    given = list(assignments or [])
    if evaluator is not None:
        given.append(f"campaign.evaluator={evaluator}")
    elif workers is not None or address is not None:
        given.append("campaign.evaluator.name=ray")
    if workers is not None and evaluator != "serial":
        given.append(f"campaign.evaluator.workers={workers}")
    if address is not None:
        given.append(f"campaign.evaluator.address={address}")
    return given


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Do not look for garbage in a block: for imports, and what takes little memory.

    While torch is imported, that takes a tenth of the time, and nothing is found.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_one_format(*, csv: bool, as_json: bool) -> None:
    """Check that not two formats are wished of one output.

    Raises:
        SpecError: They are.
    """
    if csv and as_json:
        raise SpecError("--csv and --json cannot both be printed.")


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"moosearch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=lambda value: _version(wanted=value),
        ),
    ] = False,
) -> None:
    """Search for adversarially robust neural networks: launch, inspect, export."""
