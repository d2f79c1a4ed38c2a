"""What commands that judge networks have in common: whom, in which ball, on which images."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from moosearch.cli.app import err

SubjectArgument = Annotated[
    Path, typer.Argument(help="A campaign's folder, or an exported one.", metavar="DIR")
]
PickOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pick",
        help="Of a campaign, whom: knee (the default), front, or a rule of `decide`. Repeatable.",
        metavar="RULE",
    ),
]
EpsOption = Annotated[
    str | None, typer.Option("--eps", help="Radius, such as 8/255; the campaign's if not given.")
]
NormOption = Annotated[str | None, typer.Option("--norm", help="linf or l2; the campaign's if not given.")]
SurrogateOption = Annotated[
    Path | None, typer.Option("--surrogate", help="An exported folder, for the attack transfer.")
]


def image_count(text: str | int) -> int:
    """Read a number of images, 0 or more; of a file, it says where files are given.

    Raises:
        typer.BadParameter: It is none, or negative.
    """
    with contextlib.suppress(ValueError):
        if int(text) >= 0:
            return int(text)
    where = " A file of your own images is given with --data." if str(text).endswith(".npz") else ""
    raise typer.BadParameter(f"got {text}, expected a number of 0 or more.{where}")


ImagesOption = Annotated[
    int,
    typer.Option(
        "--images",
        help="How many images, the first ones; 0 for all.",
        parser=image_count,
        metavar="INTEGER",
    ),
]
BatchOption = Annotated[
    int,
    typer.Option(
        "--batch",
        help="Images at a time, the bound on memory; 0 for 512 small ones. Random starts depend on it.",
        min=0,
    ),
]
AttackSeedOption = Annotated[
    int | None, typer.Option("--seed", help="Of the attacks; the campaign's if not given.", min=0)
]


@contextlib.contextmanager
def ended_early(folder: Path) -> Iterator[None]:
    """Let Ctrl-C end a judgment with a word on what is left of it.

    Raises:
        typer.Exit: It was interrupted; code 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        err.print(
            f"interrupted: the attacks that were finished are in {folder / 'evaluations'}.", soft_wrap=True
        )
        raise typer.Exit(130) from None
