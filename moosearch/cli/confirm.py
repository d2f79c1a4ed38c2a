"""Confirm: the strong measurement after the search."""

import json
from typing import Annotated

import typer

from moosearch.cli.app import (
    AddressOption,
    EvaluatorOption,
    FolderArgument,
    WorkersOption,
    app,
    out,
    overrides,
)
from moosearch.cli.launch import print_confirmation
from moosearch.cli.signals import interruptible


@app.command()
def confirm(
    folder: FolderArgument,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Fresh trainings of each member.", min=1)
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            help="The suite: names with commas, or a YAML list with parameters.",
            metavar="a,b,...",
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Test images, the first ones; 0 for all.", min=0)
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(
            "--pick",
            help="Whom: front, or a rule of `moosearch decide`; if not given, as it was begun, or the front.",
            metavar="RULE",
        ),
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option("--surrogate", help="An export to transfer images from.", metavar="EXPORT")
    ] = None,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Throw away the confirmation that is there, and start anew.")
    ] = False,
) -> None:
    """Train the front's recipes again with fresh seeds and judge them on test images; or go on with it."""
    settings = {
        "seeds": seeds,
        "attacks": f"[{attacks}]" if attacks is not None else None,
        "images": images,
        "surrogate": json.dumps(surrogate) if surrogate is not None else None,
    }
    settings_given = [
        f"campaign.confirmation.{key}={value}" for key, value in settings.items() if value is not None
    ]
    given = overrides(settings_given, evaluator, workers, ray_address)
    with interruptible("confirm", folder=folder) as stop:
        from moosearch.api.verbs import confirm as launch
        from moosearch.cli.progress import TerminalProgress

        with TerminalProgress(out, stop) as progress:
            campaign = launch(
                folder, rules=pick or [], overrides=given, anew=anew, observer=progress, stop=stop
            )
        campaign.plot()
        if print_confirmation(campaign):
            raise typer.Exit(3)
