"""Neighborhoods: how far one of two objects of an image, and the pixels around it, may change."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from moosearch.cli.app import JsonOption, app, out
from moosearch.cli.bar import measuring
from moosearch.cli.judging import (
    CompleteOption,
    ImagesOption,
    PickOption,
    SubjectArgument,
    TimeLimitOption,
    effort_of,
)
from moosearch.cli.tables import table
from moosearch.text import counted, spread_text


@app.command()
def neighborhoods(
    folder: SubjectArgument,
    pick: PickOption = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images of your own: an .npz with x_test, y_test and regions_test."),
    ] = None,
    images: ImagesOption = 10,
    algorithm: Annotated[
        str, typer.Option("--algorithm", help="guided, naive or doubling.", metavar="NAME")
    ] = "guided",
    cut: Annotated[
        str,
        typer.Option(
            "--cut", help="How a step that went too far is shrunk: fixed or sensitivity.", metavar="NAME"
        ),
    ] = "fixed",
    weights: Annotated[
        str, typer.Option("--weights", help="Of layers: even, inner, outer or area.", metavar="NAME")
    ] = "even",
    targets: Annotated[
        Literal["both", "alternating"],
        typer.Option("--targets", help="Which of two objects stays: each, or one by turns."),
    ] = "both",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="How far a layer may still be able to grow.")
    ] = 0.01,
    deadline: Annotated[float, typer.Option("--deadline", help="Seconds for an image and a target.")] = 300.0,
    time_limit: TimeLimitOption = 60.0,
    complete: CompleteOption = True,
    workers: Annotated[int, typer.Option("--workers", help="Neighborhoods at a time, on Ray.", min=1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Find how far one of two objects, and layers of pixels around it, may change: maximal neighborhoods.

    The other object is seen all over a neighborhood: that is proved. Writes heat maps, sizes, queries, times.
    """
    from moosearch.analysis import neighborhoods as layered
    from moosearch.analysis.setup import setups
    from moosearch.registry import build
    from moosearch.report.plots import neighborhoods as neighborhood_plots
    from moosearch.verify.layered import Approach

    effort = effort_of("neighborhoods", time_limit, complete=complete)
    given = {"algorithm": algorithm, "cut": cut, "weights": weights}
    approach = replace(build(Approach, given | {"tolerance": tolerance, "deadline": deadline}), effort=effort)
    asked = setups(folder, layered.PROTOCOL, rules=pick, data=data, images=images)
    with measuring() as bar:
        found = layered.neighborhoods(
            asked, approach=approach, targets=targets, workers=workers, progress=bar
        )
    if as_json:
        typer.echo(
            json.dumps([{**s.summary(), "found": [n.to_tree() for n in s.found]} for s in found], indent=2)
        )
        return
    for each in found:
        out.print(_headline(each))
        out.print(_answers(each))
        for path in neighborhood_plots.save(each):
            out.print(f"written to {path}, with a PDF beside it", soft_wrap=True)
        out.print(f"written to {each.folder}", soft_wrap=True)


def _headline(found: Any) -> str:
    """Say how large the neighborhoods are, and how they were looked for."""
    told, approach = found.summary(), found.approach
    lines = [
        f"{found.candidate}: {counted(told['neighborhoods'], 'neighborhood')}, {told['complete']} complete; "
        f"{counted(told['unseen_images'], 'image')} left aside, where not both objects are seen",
        f"{approach.algorithm}, cut {approach.cut}, {approach.weights} weights, tolerance "
        f"{approach.tolerance:g}",
    ]
    if found.found:
        error = math.nan if told["size_error"] is None else told["size_error"]
        size = spread_text(told["size"], error)
        lines.append(f"mean size {size} (standard error), of the object {told['eps_object']:.4g}")
    return "\n".join(lines)


def _answers(found: Any) -> Table:
    """Return queries and times by what answered them."""
    from moosearch.analysis.neighborhoods import KINDS

    told = found.summary()
    rows = [(kind, str(told[f"queries_{kind}"]), f"{told[f'seconds_{kind}']:.1f}") for kind in KINDS]
    return table(("answered by", "queries", "seconds"), rows)
