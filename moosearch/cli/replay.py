"""Replay: a finished campaign trained again, in its own order."""

from pathlib import Path
from typing import Annotated

import typer

from moosearch.cli.app import (
    AddressOption,
    EvaluatorOption,
    FolderArgument,
    WorkersOption,
    app,
    err,
    out,
    overrides,
)
from moosearch.cli.signals import interruptible
from moosearch.text import counted


@app.command()
def replay(
    folder: FolderArgument,
    to: Annotated[Path, typer.Option("--out", help="The folder of the new campaign.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override where it runs.", metavar="PATH=VALUE"),
    ] = None,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
) -> None:
    """Train a finished campaign again in the same order, and compare the fronts."""
    given = overrides(assignments, evaluator, workers, ray_address)
    with interruptible("replay", folder, "--out") as stop:
        from moosearch.api.campaign import Campaign
        from moosearch.api.verbs import replay as train_again
        from moosearch.cli.progress import TerminalProgress

        with TerminalProgress(out, stop) as progress:
            again = train_again(folder, to, overrides=given, observer=progress, stop=stop)
        old, new = Campaign(folder).front, again.front
    if not new.to_frame().equals(old.to_frame()):
        common = len({e.candidate.id for e in old} & {e.candidate.id for e in new})
        err.print(
            f"the front is another one: {counted(len(old), 'member')} there and {len(new)} here, "
            f"{common} of them the "
            f"same candidates; hypervolume {old.hypervolume():.4f} and {new.hypervolume():.4f}",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    out.print(
        f"{counted(len(again.evaluations), 'candidate')} in {to}; the front is the same: "
        f"{counted(len(new), 'member')}",
        soft_wrap=True,
    )
