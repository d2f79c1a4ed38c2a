"""Analyze: datasets, perturbations, trained candidates."""

from typing import Annotated

import typer

from moosearch.cli.app import FileArgument, FolderArgument, SetOption, app, out
from moosearch.cli.tables import frame_table

analyze = typer.Typer(help="Measure datasets and perturbations.", no_args_is_help=True)
app.add_typer(analyze, name="analyze")


@analyze.command("perturbations")
def analyze_perturbations(
    folder: FolderArgument,
    pick: Annotated[
        str, typer.Option("--pick", help="Whose: knee, best:OBJECTIVE or an id.", metavar="RULE")
    ] = "knee",
    images: Annotated[
        int, typer.Option("--images", help="Validation images to perturb; 0 for all.", min=0)
    ] = 1000,
    training_images: Annotated[
        int, typer.Option("--training-images", help="For the inter-class variance; 0 for all.", min=0)
    ] = 0,
) -> None:
    """Inter-class variance, and how diverse a trained candidate's perturbations are: degrees."""
    from moosearch.campaign import analysis

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
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Inter-class variance of a dataset: mean distance of images of different classes, pixels in [0, 1]."""
    from moosearch.campaign import analysis
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
    from moosearch.campaign import analysis
    from moosearch.registry import to_tree
    from moosearch.space.files import dump, load, override

    task = analysis.similar(override(load(file), assignments or []), groups=groups, most=images)
    typer.echo(dump({"own_tasks": [to_tree(task, type(task))]}), nl=False)
