"""The application, its consoles, and the arguments that several commands take."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
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

FileArgument = Annotated[Path, typer.Argument(help="A search space file.", metavar="FILE")]
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


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Search for adversarially robust neural networks: launch, inspect, export."""
