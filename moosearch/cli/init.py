"""Init: a search space file to start from."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from moosearch.cli.app import app, out
from moosearch.errors import SpecError
from moosearch.space.files import CAMPAIGN_NAME
from moosearch.space.shipped import starting_point


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; NAME.yaml if not given.", metavar="FILE")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--from", help="The shipped search space to begin with: `moosearch list spaces`.", metavar="NAME"
        ),
    ] = "digits",
) -> None:
    """Write a search space file to start from, with comments."""
    target = file or Path(f"{source.rpartition('/')[2]}.yaml")
    text = starting_point(source, shlex.quote(str(target)))
    if (
        not str(target).isprintable()
        or not re.match(CAMPAIGN_NAME, target.stem)
        or target.suffix not in (".yaml", ".yml")
    ):
        raise SpecError(
            f"{target}: got the name '{target.name}', expected letters, digits, '.', '-' and '_', and .yaml "
            "at the end: the campaign is called like the file."
        )
    try:
        with target.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise SpecError(f"{target}: exists already, and is not overwritten. Give another FILE.") from None
    except OSError as error:
        raise SpecError(f"{target}: cannot write here: {error.strerror}.") from None
    out.print(f"written to {target}, from the shipped {source}", soft_wrap=True)
    shown = shlex.quote(str(target))
    out.print(f"next: `moosearch validate {shown}`, then `moosearch search {shown}`", soft_wrap=True)
