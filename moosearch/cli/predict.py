"""Predict with an exported model."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moosearch.cli.app import CsvOption, JsonOption, app, check_one_format, out
from moosearch.errors import SpecError


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", metavar="EXPORT")],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files, or batches as .npy or .npz: uint8, or floats in [0, 1].", metavar="IMAGE"
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option("--top", help="How many classes an image; its labels and one more if not given.", min=1),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Use the quantized file.")] = False,
    resize: Annotated[
        bool, typer.Option("--resize", help="Resize image files of another size; else they are refused.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Which array of an .npz file.", metavar="NAME"),
    ] = None,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
) -> None:
    """Classify images with an exported model; it needs onnxruntime alone."""
    from moosearch.export import load_export
    from moosearch.export.images import read_images

    check_one_format(csv=as_csv, as_json=as_json)
    model = load_export(folder, int8=int8)
    if top is not None and top > len(model.classes):
        raise SpecError(f"--top: got {top}, expected at most {len(model.classes)}, the classes.")
    given = read_images(images, model.shape, key=key, resize=resize)
    labels = model.labels
    best = model.predict(given.pixels).top(min(top or labels + 1, len(model.classes)))
    if as_json:
        rows = [
            {
                "image": name,
                **({"labels": [kind for kind, _ in ranked[:labels]]} if labels > 1 else {}),
                "class": ranked[0][0],
                "probability": ranked[0][1],
                "top": [{"class": kind, "probability": value} for kind, value in ranked],
            }
            for name, ranked in zip(given.names, best, strict=True)
        ]
        typer.echo(json.dumps(rows, indent=2))
    elif as_csv:
        typer.echo(_csv(given.names, best), nl=False)
    else:
        out.print(_table(given.names, best, labels))


def _csv(names: Sequence[str], best: Sequence[Sequence[tuple[str, float]]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    others = [f"{what}_{place}" for place in range(2, len(best[0]) + 1) for what in ("class", "probability")]
    writer.writerow(["image", "class", "probability", *others])
    for name, ranked in zip(names, best, strict=True):
        writer.writerow([name, *(cell for pair in ranked for cell in pair)])
    return text.getvalue()


def _table(names: Sequence[str], best: Sequence[Sequence[tuple[str, float]]], labels: int) -> Table:
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for place in range(2, len(best[0]) + 1):
        head = "and" if place <= labels else "runner-up" if place == labels + 1 else f"{place}."
        table.add_column(head, overflow="fold")
    for name, (first, *others) in zip(names, best, strict=True):
        table.add_row(name, first[0], f"{first[1]:.4f}", *(f"{kind} ({value:.4f})" for kind, value in others))
    return table
