"""Verify: what is proved of trained candidates and exported models, beside what attacks find."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.table import Table

from moosearch.cli.app import JsonOption, app, out
from moosearch.cli.bar import measuring
from moosearch.cli.judging import AttackSeedOption, EpsOption, PickOption, SubjectArgument, image_count
from moosearch.errors import SpecError
from moosearch.text import counted, spread_text


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
    split: Annotated[
        Literal["val", "test"] | None, typer.Option("--split", help="Which images; test if not given.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Images of your own, as `moosearch evaluate` takes them.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            help="How many images, the first ones; 0 for all. If not given 100, or 10 with --layered.",
            parser=image_count,
            metavar="INTEGER",
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Of the complete search, in seconds a label of an image.")
    ] = 60.0,
    complete: Annotated[
        bool, typer.Option("--complete/--bounds-only", help="Whether to search where bounds do not suffice.")
    ] = True,
    workers: Annotated[int, typer.Option("--workers", help="Images at a time, on Ray.", min=1)] = 1,
    seed: AttackSeedOption = None,
    layered: Annotated[
        bool,
        typer.Option(
            "--layered",
            help="For images of two objects: how far one may change, and the layers of pixels around it.",
        ),
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option("--algorithm", help="With --layered: guided, naive or doubling.", metavar="NAME"),
    ] = None,
    cut: Annotated[
        str | None, typer.Option("--cut", help="With --layered: fixed or sensitivity.", metavar="NAME")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="With --layered, of layers: even, inner, outer or area.", metavar="NAME"
        ),
    ] = None,
    targets: Annotated[
        Literal["both", "alternating"] | None,
        typer.Option("--targets", help="With --layered, which of two objects stays: each, or one by turns."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="With --layered: how far a layer may still be able to grow."),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", help="With --layered: seconds for an image and a target.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove robustness image by image: certified accuracy, under the accuracy that attacks leave.

    With --layered, maximal robust neighborhoods of images of two objects: heat maps, sizes, queries, times.
    """
    from moosearch.analysis.certification import certification
    from moosearch.registry import build
    from moosearch.verify import Effort

    effort = {"time_limit": time_limit, "complete": complete}
    around: dict[str, Any] = {"algorithm": algorithm, "cut": cut, "weights": weights}
    around |= {"tolerance": tolerance, "deadline": deadline}
    given = {name: value for name, value in around.items() if value is not None}
    ball = {"eps": eps, "attacks": attacks, "split": split, "seed": seed}
    for name, value in (ball if layered else {**given, "targets": targets}).items():
        if value is not None:
            where = "without" if layered else "with"
            raise SpecError(f"--{name}: got {value}, but it counts only {where} --layered.")
    if layered:
        which = {"data": data, "images": 10 if images is None else images, "targets": targets or "both"}
        _layered(folder, pick or ["knee"], {**given, "effort": effort}, which, workers, as_json)
        return
    with measuring() as bar:
        found = certification(
            folder,
            rules=pick or ["knee"],
            eps=eps,
            attacks=attacks,
            split=split or "test",
            data=data,
            images=100 if images is None else images,
            effort=build(Effort, effort),
            workers=workers,
            seed=seed,
            progress=bar,
        )
    if as_json:
        typer.echo(json.dumps([each.to_tree() for each in found], indent=2))
        return
    for each in found:
        out.print(_table(each))
        out.print(f"written to {each.file}", soft_wrap=True)


def _layered(
    folder: Path,
    rules: list[str],
    given: dict[str, Any],
    which: dict[str, Any],
    workers: int,
    as_json: bool,
) -> None:
    from moosearch.analysis import neighborhoods
    from moosearch.registry import build
    from moosearch.report.plots import neighborhoods as neighborhood_plots
    from moosearch.verify.layered import Approach

    approach = build(Approach, given)
    with measuring() as bar:
        found = neighborhoods.neighborhoods(
            folder, rules=rules, approach=approach, workers=workers, progress=bar, **which
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
    table = Table(box=box.SIMPLE)
    table.add_column("answered by")
    table.add_column("queries", justify="right")
    table.add_column("seconds", justify="right")
    for kind in KINDS:
        table.add_row(kind, str(told[f"queries_{kind}"]), f"{told[f'seconds_{kind}']:.1f}")
    return table


def _table(found: Any) -> Table:
    tree = found.to_tree()
    images, (low, high) = tree["images"], tree["interval"]
    table = Table(
        title=f"{found.candidate}: {counted(images, 'image')} of {found.split}, linf eps {found.eps:.4g}",
        caption="certified: proved, up to rounding; the robust accuracy is at least that, and at most what "
        "stands last",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
    )
    table.add_column("")
    table.add_column("images", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", justify="left")
    counts = found.counts
    attacked = found.attacks.worst_case
    by = ", ".join(found.attacks.attacks)
    seconds = f"{tree['seconds']:.1f} s in all"
    rows = [
        ("right as they are", images - counts["wrong"], ""),
        ("certified", counts["robust"], f"95 %: {low:.3f} to {high:.3f}; {seconds}"),
        ("unknown", counts["unknown"], "neither proof nor witness"),
        ("vulnerable", counts["vulnerable"], "with a witness"),
        (f"right under {by}", attacked.correct, ""),
    ]
    for name, count, more in rows:
        table.add_row(name, str(count), f"{count / images:.4f}", more)
    table.add_row("robust at most", "", f"{found.at_most:.4f}", "no attack and no witness")
    return table
