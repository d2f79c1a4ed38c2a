"""Verify: what is proved of trained candidates and exported models, beside what attacks find."""

import json
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from moosearch.cli.app import JsonOption, app, out
from moosearch.cli.bar import measuring
from moosearch.cli.judging import (
    AttackSeedOption,
    CompleteOption,
    DataOption,
    EpsOption,
    ImagesOption,
    PickOption,
    SubjectArgument,
    TimeLimitOption,
    effort_of,
)
from moosearch.cli.tables import table
from moosearch.errors import SpecError
from moosearch.text import counted


def _moved(given: Any) -> None:
    """Refuse options that belonged to this command, and name the one that has them now.

    Raises:
        SpecError: One is given.
    """
    if given:
        raise SpecError(
            "--layered and its options (--algorithm, --cut, --weights, --targets, --tolerance, --deadline) "
            "moved to a command of their own: moosearch neighborhoods DIR."
        )


@app.command()
def verify(
    folder: SubjectArgument,
    pick: PickOption = None,
    eps: EpsOption = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            help="What is set beside the proofs; autoattack if not given, or PGD-100 for several labels.",
            metavar="A,B,...",
        ),
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option("--split", help="Which images.")] = "test",
    data: DataOption = None,
    images: ImagesOption = 100,
    time_limit: TimeLimitOption = 60.0,
    complete: CompleteOption = True,
    workers: Annotated[int, typer.Option("--workers", help="Images at a time, on Ray.", min=1)] = 1,
    seed: AttackSeedOption = None,
    _layered: Annotated[bool, typer.Option("--layered", hidden=True, is_eager=True, callback=_moved)] = False,
    _of_layers: Annotated[
        str | None,
        typer.Option(
            "--algorithm",
            "--cut",
            "--weights",
            "--targets",
            "--tolerance",
            "--deadline",
            hidden=True,
            is_eager=True,
            callback=_moved,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove robustness image by image: certified accuracy, under the accuracy that attacks leave."""
    from moosearch.analysis.certification import PROTOCOL, certification
    from moosearch.analysis.setup import setups

    effort = effort_of("verify", time_limit, complete=complete)
    asked = setups(
        folder,
        PROTOCOL,
        rules=pick,
        attacks=attacks,
        eps=eps,
        split=split,
        data=data,
        images=images,
        seed=seed,
    )
    with measuring() as bar:
        found = certification(asked, effort=effort, workers=workers, progress=bar)
    if as_json:
        typer.echo(json.dumps([each.to_tree() for each in found], indent=2))
        return
    for each in found:
        out.print(_table(each))
        out.print(f"written to {each.file}", soft_wrap=True)


def _table(found: Any) -> Table:
    """Return a table with a row a standing, and the two bounds of the robust accuracy."""
    tree, counts, withstood = found.to_tree(), found.counts, found.attacks.worst_case
    images, (low, high) = tree["images"], tree["interval"]
    rows = [
        ("right as they are", images - counts["wrong"], ""),
        ("certified", counts["robust"], f"95 %: {low:.3f} to {high:.3f}; {tree['seconds']:.1f} s in all"),
        ("unknown", counts["unknown"], "neither proof nor witness"),
        ("vulnerable", counts["vulnerable"], "with a witness"),
        (f"right under {', '.join(found.attacks.attacks)}", withstood.correct, ""),
    ]
    made = table(
        ("", "images", "share", ""),
        [(name, str(count), f"{count / images:.4f}", more) for name, count, more in rows],
        title=f"{found.candidate}: {counted(images, 'image')} of {found.split}, linf eps {found.eps:.4g}",
        caption="certified: proved, up to rounding; the robust accuracy is at least that, and at most what "
        "stands last",
    )
    made.columns[-1].justify, made.columns[-1].no_wrap = "left", False
    made.add_row("robust at most", "", f"{found.at_most:.4f}", "no attack and no witness")
    return made
