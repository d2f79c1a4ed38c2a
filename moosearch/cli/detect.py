"""Detect: adversarial images, by feature squeezing, before trained candidates and exported models."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moosearch.cli.app import CsvOption, JsonOption, app, check_one_format, err, out
from moosearch.cli.bar import measuring
from moosearch.cli.judging import (
    AttackSeedOption,
    BatchOption,
    EpsOption,
    ImagesOption,
    NormOption,
    PickOption,
    SubjectArgument,
    SurrogateOption,
    ended_early,
)
from moosearch.cli.tables import number, table


@app.command()
def detect(
    folder: SubjectArgument,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            help="By name; fgsm,pgd20,deepfool,cw if not given. They do not know of the detector; an "
            "adaptive attack, which does, is always run.",
            metavar="A,B,...",
        ),
    ] = None,
    squeezers: Annotated[
        str | None,
        typer.Option(
            "--squeezers",
            help="Input defenses; '{name: bit_depth, bits: 1}, {name: median_filter, size: 2}' if not given, "
            "with 5 bits for color.",
            metavar="A,B,...",
        ),
    ] = None,
    fpr: Annotated[
        float, typer.Option("--fpr", help="Share of legitimate images that may be rejected, in (0, 1).")
    ] = 0.05,
    pick: PickOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    surrogate: SurrogateOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Images of your own, as `moosearch evaluate` takes them: every second one sets the "
            "threshold.",
        ),
    ] = None,
    images: ImagesOption = 0,
    batch: BatchOption = 0,
    seed: AttackSeedOption = None,
    csv: CsvOption = False,
    as_json: JsonOption = False,
    to: Annotated[
        Path | None, typer.Option("--out", help="Draw ROC curves and scores, and write them to this folder.")
    ] = None,
) -> None:
    """Detect adversarial images by feature squeezing, and attack the detector too (Xu et al. 2018)."""
    from moosearch.analysis import detection
    from moosearch.analysis.setup import setups
    from moosearch.report.plots import detection as detection_plots
    from moosearch.report.plots import style as figures

    check_one_format(csv=csv, as_json=as_json)
    with ended_early(folder), measuring() as bar:
        found = detection.detect(
            setups(
                folder,
                detection.PROTOCOL,
                rules=pick,
                attacks=attacks,
                eps=eps,
                norm=norm,  # type: ignore[arg-type]
                surrogate=surrogate,
                data=data,
                batch=batch,
                seed=seed,
            ),
            squeezers=squeezers,
            fpr=fpr,
            images=images,
            progress=bar,
        )
    import pandas as pd

    frame = pd.concat([each.table() for each in found], ignore_index=True)
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(frame.to_json(orient="records", indent=2, double_precision=15))
    else:
        for each in found:
            _print(each)
    err.print(f"written to {folder / 'evaluations'}", soft_wrap=True)
    if to is not None:
        for each in found:
            name = f"detection-{each.conditions['candidate']}"
            path = figures.save(to, name, detection_plots.curves, each)
            err.print(f"written to {path}, with a PDF beside it", soft_wrap=True)


def _print(found: Any) -> None:
    """Print a candidate's table, and what must be said of it."""
    told, frame = found.conditions, found.table()
    kind = f"images of {told['data']}" if told["data"] is not None else "test images"
    title = f"{told['candidate']}: {told['images']} {kind}, {told['norm']} eps {told['eps']:.4g}"
    out.print(_table(found, frame, title))
    legitimate, wrong = told["false_positives"], told["wrong_rejected"]
    lines = [
        f"squeezers: {frame['squeezers'].iloc[0]}; a score above {told['threshold']:.4g} is rejected, set on "
        f"{told['threshold_images']} legitimate images for a false-positive rate of {told['fpr']:g}",
        f"clean images rejected: {legitimate['count']} of {legitimate['of']} that are classified rightly"
        f"{_interval(legitimate)}, {wrong['count']} of {wrong['of']} others",
        *(f"! {name}: {entry['doubt']}" for name, entry in found.attacks.items() if entry["doubt"]),
        "believe the worst case with detector, and adaptive: it attacks network and detector, as whoever "
        "knows of the detector would; the others attack the network alone, and each detection rate is of the "
        "images that its own attack fools",
    ]
    for line in lines:
        out.print(line, soft_wrap=True)


def _table(found: Any, frame: Any, title: str) -> Table:
    """Return a table with a row an attack."""
    cells: list[Any] = []
    for row in frame.to_dict("records"):
        cells += [None] if row["attack"] == "worst_case" else []
        attacked = row["attack"] in found.attacks
        cells.append(
            (
                "worst case" if row["attack"] == "worst_case" else row["attack"],
                f"{row['fooled']}/{row['attacked']}" if attacked else "",
                number(row["detection_rate"]),
                f"{row['detection_low']:.3f} to {row['detection_high']:.3f}"
                if attacked and row["fooled"]
                else "",
                f"{row['failed_detected'] / row['failed']:.4f}" if attacked and row["failed"] else "",
                number(row["auc"], ".3f"),
                number(row["accuracy"]),
                number(row["defended_accuracy"]),
            )
        )
    return table(
        (
            "attack",
            "fooled",
            "detec-\nted",
            "95 % interval",
            "failed",
            "AUC",
            "accu-\nracy",
            "with\ndetector",
        ),
        cells,
        title=title,
        caption="detected: rejected, of the images that fool; failed: of those that do not\n"
        "accuracy: of all images; with detector: right and accepted if clean,\n"
        "right or rejected if attacked",
        pad_edge=False,
        collapse_padding=True,
    )


def _interval(entry: Any) -> str:
    """Write a rate with its interval, and nothing where there is none."""
    if entry["rate"] is None:
        return ""
    low, high = entry["interval"]
    return f" ({entry['rate']:.4f}, 95 % interval {low:.4f} to {high:.4f})"
