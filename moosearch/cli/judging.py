"""What commands that judge networks have in common: the networks, the ball, the images, the effort."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from moosearch.cli.app import err

SubjectArgument = Annotated[
    Path, typer.Argument(help="A campaign's folder, or an exported one.", metavar="DIR")
]
PickOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pick",
        help="Of a campaign: knee (the default), front, or a rule of `decide`. Repeatable.",
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
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Images of your own: an .npz with x_test and y_test or x and y, or a folder with a "
        "folder a class.",
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
TimeLimitOption = Annotated[float, typer.Option("--time-limit", help="Of each complete search, in seconds.")]
CompleteOption = Annotated[
    bool, typer.Option("--complete/--bounds-only", help="Whether to search where bounds do not suffice.")
]


def effort_of(command: str, time_limit: float, *, complete: bool) -> Any:
    """Return how hard to verify; checked before anything is loaded.

    Raises:
        SpecError: The limit is none.
        MissingExtraError: A complete search is asked for, and its solver is not installed.
    """
    from moosearch.extras import require
    from moosearch.registry import build
    from moosearch.verify import Effort

    if complete:
        require(f"moosearch {command}", "verify")
    return build(Effort, {"time_limit": time_limit, "complete": complete})


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
