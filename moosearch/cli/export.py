"""Export a model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from moosearch.cli.app import FolderArgument, WhereOption, app, out
from moosearch.errors import SpecError
from moosearch.pareto.front import value_text


@app.command()
def export(
    folder: FolderArgument,
    pick: Annotated[
        str | None,
        typer.Option(
            "--pick", help="Whom: knee (the default), or another rule of `moosearch decide`.", metavar="RULE"
        ),
    ] = None,
    where: WhereOption = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Whom, by id or its beginning.", metavar="ID")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The folder to write; DIR/exports/ID if not given.")
    ] = None,
) -> None:
    """Export a model: weights, ONNX, torch.export program, manifest, model card."""
    from moosearch.campaign.campaign import Campaign

    if candidate is not None and pick is not None:
        raise SpecError("export: give --pick or --candidate, not both.")
    rule = candidate if candidate is not None else pick if pick is not None else "knee"
    target = Campaign(folder).export(rule, to, where=where)
    manifest = json.loads((target / "manifest.json").read_text())
    values = ", ".join(f"{k} {value_text(v['value'])}" for k, v in manifest["objectives"].items())
    out.print(f"exported candidate {manifest['candidate']} ({values}) to {target}")
    out.print(
        f"largest difference of a logit: ONNX {manifest['parity']['onnx']:.1e}, torch.export "
        f"{manifest['parity']['torch_export']:.1e}",
    )
