"""Export a model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from moosearch.cli.app import FolderArgument, WhereOption, app, out
from moosearch.cli.bar import measuring
from moosearch.errors import SpecError
from moosearch.text import counted, value_text


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
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize", help="Write a quantized ONNX file too, and attack it for itself.", metavar="int8"
        ),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Whether to measure how long the programs take.")
    ] = True,
) -> None:
    """Export a model: weights, ONNX, torch.export program, network.py, manifest, model card."""
    from moosearch.api.campaign import Campaign

    if candidate is not None and pick is not None:
        raise SpecError("export: give --pick or --candidate, not both.")
    rule = candidate if candidate is not None else pick if pick is not None else "knee"
    with measuring() as bar:
        target = Campaign(folder).export(
            rule, to, where=where, quantize=quantize, latency=latency, progress=bar
        )
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    values = ", ".join(f"{k} {value_text(v['value'])}" for k, v in manifest["objectives"].items())
    out.print(f"exported candidate {manifest['candidate']} ({values}) to {target}", soft_wrap=True)
    out.print(_files(manifest))
    for line in (*_missing(manifest), *_int8(manifest)):
        out.print(line, soft_wrap=True)


def _files(manifest: Mapping[str, Any]) -> Table:
    """Return a table of the files: size, and of programs what was measured."""
    from moosearch.export.files import FILE_OF_PROGRAM

    programs = {file: program for program, file in FILE_OF_PROGRAM.items()}
    latency = manifest["latency"]
    batches = latency["batches"] if latency else []
    caption = "difference: the largest one of a logit from the network's"
    if latency:
        threads = counted(latency["threads"], "thread")
        caption += f"; ms: of a batch of so many images, in the median, on {latency['cpu']}, {threads}"
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("file", no_wrap=True)
    for name in ("bytes", "difference", *(f"ms of\n{batch}" for batch in batches)):
        table.add_column(name, justify="right", no_wrap=True)
    for name, entry in manifest["files"].items():
        program = programs.get(name, "")
        difference = manifest["parity"].get(program)
        times = latency["milliseconds"].get(program) if latency else None
        table.add_row(
            name,
            f"{entry['bytes']:,}",
            "" if difference is None else f"{difference:.1e}",
            *("-" if value is None else f"{value:.3g}" for value in times or ()),
        )
    return table


def _missing(manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, reason in manifest["missing"].items():
        yield f"! {name} was not written: {reason}"


def _int8(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Say what the quantized network withstands, beside the one that it was made from."""
    quantized = manifest["quantized"]
    if not quantized:
        return
    clean, before = quantized["clean"], quantized["float_clean"]["accuracy"]
    yield f"int8: clean accuracy {_share(clean)}, float32 {before:.4f}, on {quantized['images']} val images"
    for key, entry in quantized["robust"].items():
        yield (
            f"int8: {key} {_share(entry['worst_case'])}, float32 {manifest['objectives'][key]['kept']:.4f}: "
            f"worst case of attacks on itself ({entry['adaptive']['accuracy']:.4f}, with the float network's "
            f"gradients) and of images made for the float network ({entry['transferred']['accuracy']:.4f})"
        )


def _share(share: Mapping[str, Any]) -> str:
    if share["interval"] is None:
        return f"{share['accuracy']:.4f}"
    low, high = share["interval"]
    return f"{share['accuracy']:.4f} ({low:.4f} to {high:.4f})"
