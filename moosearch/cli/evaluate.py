"""Evaluate: trained candidates and exported models against a suite of attacks."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moosearch.cli.app import CsvOption, JsonOption, app, check_one_format, err, out
from moosearch.cli.bar import measuring
from moosearch.cli.judging import (
    AttackSeedOption,
    BatchOption,
    DataOption,
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
def evaluate(
    folder: SubjectArgument,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attacks",
            help="By name; fgsm,pgd20,pgd100,cw,deepfool if not given. For final numbers add autoattack.",
            metavar="A,B,...",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="val (the default), on which the candidates were selected, or test, for final numbers.",
            metavar="val|test",
        ),
    ] = None,
    pick: PickOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    surrogate: SurrogateOption = None,
    data: DataOption = None,
    images: ImagesOption = 0,
    batch: BatchOption = 0,
    seed: AttackSeedOption = None,
    csv: CsvOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy under each attack and under the worst of them, of candidates or of an exported model."""
    from moosearch.analysis.accuracy import evaluate as judge

    check_one_format(csv=csv, as_json=as_json)
    with ended_early(folder), measuring() as bar:
        frame = judge(
            folder,
            attacks=attacks,
            split=split,  # type: ignore[arg-type]
            rules=pick or ["knee"],
            eps=eps,
            norm=norm,  # type: ignore[arg-type]
            surrogate=surrogate or "",
            data=data,
            images=images,
            batch=batch,
            seed=seed,
            progress=bar,
        )
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(frame.to_json(orient="records", indent=2, double_precision=15))
    else:
        _print(frame, data)
    err.print(f"written to {folder / 'evaluations'}", soft_wrap=True)


def _print(frame: Any, data: Path | None) -> None:
    """Print a candidate's table, or a line for each of several, and what else must be said."""
    first = frame.iloc[0]
    what = f"images of {data}" if data is not None else f"{first.split} images"
    conditions = f"{first.images} {what}, {first.norm} eps {first.eps:.4g}"
    out.print(_detailed(frame, conditions) if frame["candidate"].nunique() == 1 else _wide(frame, conditions))
    for row in frame[frame["doubt"] != ""].itertuples():
        out.print(f"! {row.candidate}, {row.attack}: {row.doubt}", soft_wrap=True)
    if first.split == "val":
        out.print("candidates are selected on val images: final numbers come from --split test")
    if "autoattack" not in set(frame["attack"]):
        out.print("worst case: of these attacks; autoattack is the one that others report")


def _detailed(frame: Any, conditions: str) -> Table:
    """Return a table with a row an attack."""
    rows: list[Any] = []
    for row in frame.itertuples():
        rows += [None] if row.attack == "worst_case" else []
        interval = "" if math.isnan(row.low) else f"{row.low:.4f} to {row.high:.4f}"
        distance, speed = number(row.mean_distance), number(row.images_per_second, ",.0f")
        rows += [
            (_name(row.attack), number(row.accuracy), interval, distance, number(row.seconds, ".1f"), speed)
        ]
    return table(
        ("attack", "accuracy", "95 % interval", "distance", "seconds", "images/s"),
        rows,
        title=f"{frame['candidate'].iloc[0]}: {conditions}",
        caption="fractions of all images; mean distance of the images fooled",
    )


def _wide(frame: Any, conditions: str) -> Table:
    """Return a table with a row a candidate and a column an attack."""
    accuracy = frame.pivot(index="candidate", columns="attack", values="accuracy")
    attacks, candidates = frame["attack"].unique(), frame["candidate"].unique()
    return table(
        ["candidate", *(_name(name).replace(" ", "\n").replace("_", "\n") for name in attacks)],
        [(name, *map(number, accuracy.loc[name, attacks])) for name in candidates],
        title=f"accuracy on {conditions}",
        caption="intervals, distances and times: --csv, --json",
        padding=(0, 1, 0, 0),
    )


def _name(attack: str) -> str:
    return {"worst_case": "worst case", "average_robust": "Avg-Robust"}.get(attack, attack)
