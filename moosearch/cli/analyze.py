"""Analyze: datasets, perturbations, trained candidates, genes."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from moosearch.cli.app import (
    CsvOption,
    FileArgument,
    FolderArgument,
    JsonOption,
    SetOption,
    app,
    check_one_format,
    err,
    out,
)
from moosearch.cli.bar import measuring
from moosearch.cli.judging import DataOption, EpsOption, ImagesOption, NormOption, PickOption, SubjectArgument
from moosearch.cli.tables import frame_table, table

analyze = typer.Typer(help="Measure datasets, perturbations and trained candidates.", no_args_is_help=True)
app.add_typer(analyze, name="analyze")

AttackOption = Annotated[
    str | None,
    typer.Option(
        "--attack",
        help="Its name, such as pgd20, or '{name: pgd, steps: 20}'; PGD-50 on the margin if not given.",
    ),
]
SplitOption = Annotated[
    Literal["val", "test"],
    typer.Option("--split", help="Which images; candidates were selected on those of val."),
]
ToOption = Annotated[
    Path | None, typer.Option("--out", help="The folder to write to; DIR/plots if not given.")
]


@analyze.command("perturbations")
def analyze_perturbations(
    folder: FolderArgument,
    pick: Annotated[
        str,
        typer.Option("--pick", help="Whose: knee, or another rule of `moosearch decide`.", metavar="RULE"),
    ] = "knee",
    images: Annotated[
        int, typer.Option("--images", help="Validation images to perturb; 0 for all.", min=0)
    ] = 1000,
    training_images: Annotated[
        int, typer.Option("--training-images", help="For the inter-class variance; 0 for all.", min=0)
    ] = 0,
) -> None:
    """Inter-class variance, and how diverse a trained candidate's perturbations are: degrees."""
    from moosearch.analysis import diversity as analysis

    angles, variance = analysis.perturbations(folder, pick, most=images, most_training=training_images)
    out.print(frame_table(angles))
    out.print(frame_table(variance))
    path = folder / "perturbations.csv"
    angles.merge(variance.drop(columns="images"), how="cross").to_csv(path, index=False)
    out.print(f"written to {path}", soft_wrap=True)


@analyze.command("classes")
def analyze_classes(
    file: FileArgument,
    assignments: SetOption = None,
    images: Annotated[int, typer.Option("--images", help="Training images; 0 for all.", min=0)] = 0,
    csv: CsvOption = False,
) -> None:
    """Inter-class variance of a dataset: mean distance of images of different classes, pixels in [0, 1]."""
    from moosearch.analysis import diversity as analysis
    from moosearch.space.files import load, override

    variance = analysis.classes(override(load(file), assignments or []), most=images)
    if csv:
        typer.echo(variance.to_csv(index=False), nl=False)
    else:
        out.print(frame_table(variance))


@analyze.command("tasks")
def analyze_tasks(
    file: FileArgument,
    groups: Annotated[int, typer.Option("--groups", help="Number of groups.", min=2)] = 2,
    assignments: SetOption = None,
    images: Annotated[int, typer.Option("--images", help="Training images; 0 for all.", min=0)] = 0,
) -> None:
    """Define an auxiliary task by the similarity of classes; prints it as a search space file takes it."""
    from moosearch.analysis import diversity as analysis
    from moosearch.registry import to_tree
    from moosearch.space.files import dump, load, override

    task = analysis.similar(override(load(file), assignments or []), groups=groups, most=images)
    typer.echo(dump({"own_tasks": [to_tree(task, type(task))]}), nl=False)


@analyze.command("robustness")
def analyze_robustness(
    folder: SubjectArgument,
    pick: PickOption = None,
    attack: AttackOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    radii: Annotated[
        str | None,
        typer.Option(
            "--radii",
            help="Where to measure, such as 0,4/255,8/255; to twice eps, and the ball of everything, if not "
            "given.",
            metavar="A,B,...",
        ),
    ] = None,
    steps: Annotated[
        str, typer.Option("--steps", help="Where to measure, in the ball of eps; of PGD.", metavar="A,B,...")
    ] = "1,2,5,10,20,50,100",
    split: SplitOption = "val",
    images: ImagesOption = 1000,
    data: DataOption = None,
    to: ToOption = None,
) -> None:
    """Curves of robust accuracy against the radius and against the number of steps: plot and CSV."""
    from moosearch.analysis import robustness
    from moosearch.report.plots import robustness as robustness_plots
    from moosearch.report.plots import style as figures

    chosen = () if radii is None else robustness.radii_of(radii)
    numbers = robustness.steps_of(steps)
    setups = _setups(folder, pick, attack, eps=eps, norm=norm, split=split, data=data, images=images)
    with measuring() as bar:
        curves = robustness.robustness(setups, radii=chosen, steps=numbers, progress=bar)
    for curve, points in curves.groupby("curve"):
        along = points[curve].map(f"{curve} {{:.4g}}".format).rename("along")
        shown = points.assign(along=along).pivot_table("accuracy", "candidate", "along", sort=False)
        out.print(frame_table(shown.reset_index()))
    path = figures.save(to or folder / "plots", "robustness", robustness_plots.curves, curves)
    _write(curves, path)


@analyze.command("gallery")
def analyze_gallery(
    folder: SubjectArgument,
    pick: PickOption = None,
    attack: AttackOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    images: Annotated[int, typer.Option("--images", help="How many images to show.", min=1)] = 16,
    split: SplitOption = "val",
    data: DataOption = None,
    to: ToOption = None,
) -> None:
    """Images as they are, perturbed, and their difference, with predictions: some fooled, some withstood."""
    from moosearch.analysis import robustness
    from moosearch.report.plots import robustness as robustness_plots
    from moosearch.report.plots import style as figures

    for setup in _setups(
        folder, pick, attack, eps=eps, norm=norm, split=split, data=data, images=robustness.POOL
    ):
        shown = robustness.show(setup, count=images)
        name = f"gallery-{setup.model.name}"
        path = figures.save(to or folder / "plots", name, robustness_plots.gallery, shown)
        _write(shown.table(), path)


@analyze.command("alignment")
def analyze_alignment(
    folder: SubjectArgument,
    pick: PickOption = None,
    attack: AttackOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    split: SplitOption = "val",
    images: ImagesOption = 1000,
    data: DataOption = None,
    to: ToOption = None,
) -> None:
    """Heat map of the similarity of natural and adversarial features (Hotegni & Peitz 2024, figure 3)."""
    from moosearch.analysis import robustness
    from moosearch.report.plots import robustness as robustness_plots
    from moosearch.report.plots import style as figures

    setups = _setups(folder, pick, attack, eps=eps, norm=norm, split=split, data=data, images=images)
    with measuring() as bar:
        found = [robustness.align(setup, progress=bar) for setup in setups]
    means = robustness.alignment_table(found)
    out.print(frame_table(means))
    path = figures.save(to or folder / "plots", "alignment", robustness_plots.alignment, found)
    robustness.class_table(found).to_csv(path.with_name("alignment_by_class.csv"), index=False)
    _write(means, path)


@analyze.command("genes")
def analyze_genes(
    folder: FolderArgument,
    method: Annotated[
        str, typer.Option("--method", help="permutation, or fanova (Optuna's).", metavar="NAME")
    ] = "permutation",
    seed: Annotated[int, typer.Option("--seed", help="Of forests, permutations and simulations.", min=0)] = 0,
    csv: CsvOption = False,
    as_json: JsonOption = False,
    to: ToOption = None,
) -> None:
    """Which genes matter for which objective, which make no difference, and what the front has of each."""
    from moosearch.analysis import gene_findings, importance
    from moosearch.api.campaign import Campaign
    from moosearch.report.plots import genes as gene_plots

    check_one_format(csv=csv, as_json=as_json)
    campaign = Campaign(folder)
    evaluations, objectives = campaign.evaluations, campaign.header.objectives
    found = importance.gene_importances(evaluations, objectives, seed, importance.method_of(method))
    told = gene_findings.gene_findings(evaluations, campaign.header, campaign.confirmation, seed)
    if csv:
        typer.echo(found.to_frame().to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(json.dumps(found.to_tree() | told.to_tree(), indent=2))
    else:
        out.print(_importance_table(found))
        for note in found.notes:
            out.print(note, soft_wrap=True)
        out.print("\nwhat can be told from noise, each gene given all others:")
        for line in told.lines:
            out.print(f"- {line}", soft_wrap=True, markup=False, highlight=False)
    values = importance.gene_values(evaluations, objectives)
    for path in gene_plots.save(to or folder / "plots", found, values):
        err.print(f"written to {path}, with a PDF beside it", soft_wrap=True)


def _importance_table(found: Any) -> Table:
    """Return importances: a row a gene, a column an objective, with R^2 and a mark where it is too low."""
    head = ["gene", "candi-\ndates"]
    for key, r2, believed in found.trust.itertuples():
        known = "?" if math.isnan(r2) else f"{r2:.2f}"
        head.append(f"{key.replace('_', chr(10))}\nR² {known}{'' if believed else ' !'}")
    rows = []
    for gene, _, candidates, _, *values in found.genes.join(found.table).itertuples():
        cells = ["-" if math.isnan(value) else f"{round(value, 3) + 0:.3f}" for value in values]
        rows.append((gene, str(candidates), *cells))
    return table(
        head,
        rows,
        title="importance of genes",
        caption="R²: of predictions for candidates not seen; !: not to be believed",
        pad_edge=False,
        collapse_padding=True,
    )


def _setups(folder: Path, pick: list[str] | None, attack: str | None, **given: Any) -> Any:
    from moosearch.analysis.robustness import PROTOCOL
    from moosearch.analysis.setup import setups

    return setups(folder, PROTOCOL, rules=pick, attacks=attack, **given)


def _write(frame: Any, picture: Path) -> None:
    """Write a table beside its picture."""
    frame.to_csv(picture.with_suffix(".csv"), index=False)
    out.print(f"written to {picture}, with PDF and CSV beside it", soft_wrap=True)
