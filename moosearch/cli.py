"""The command line: parse, call, print, exit code.

0 done, 1 our fault, 2 the user's input, 3 done but some candidates failed, 130 interrupted.
"""

import contextlib
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from moosearch.errors import MooSearchError, SpecError, nearest
from moosearch.pareto.front import value_text

app = typer.Typer(
    help="Search for adversarially robust neural networks: launch, inspect, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
analyze = typer.Typer(help="Measure datasets and perturbations.", no_args_is_help=True)
app.add_typer(analyze, name="analyze")
out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)

FileArgument = Annotated[Path, typer.Argument(help="A search space file.", metavar="FILE")]
FolderArgument = Annotated[Path, typer.Argument(help="A campaign's folder.", metavar="DIR")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a leaf: campaign.budget.population=8.", metavar="PATH=VALUE"),
]
EvaluatorOption = Annotated[
    str | None, typer.Option("--evaluator", help="Where candidates are trained: ray or serial.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Candidates at a time, on Ray.", min=1)]
AddressOption = Annotated[
    str | None, typer.Option("--ray-address", help="A running Ray cluster, such as auto.")
]


def main() -> None:
    """Run the command line; errors of ours are one line on stderr."""
    try:
        app()
    except MooSearchError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        err.print(f"error: {' '.join(str(error).split())}", style="red", soft_wrap=True)
        sys.exit(error.exit_code)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Search for adversarially robust neural networks: launch, inspect, export."""


@app.command()
def search(
    file: FileArgument,
    assignments: SetOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="The campaign's folder; results/NAME if not given.")
    ] = None,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
) -> None:
    """Launch a campaign, or go on with the same one."""
    from moosearch.campaign.campaign import search as launch
    from moosearch.campaign.progress import TerminalProgress

    overrides = [*(assignments or []), *_evaluator_overrides(evaluator, workers, ray_address)]
    with _interruptible(), TerminalProgress(out) as progress:
        campaign = launch(file, out=to, overrides=overrides, observer=progress)
    _finish(campaign)


@app.command()
def resume(
    folder: FolderArgument,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
) -> None:
    """Go on with an interrupted campaign; nothing is evaluated twice."""
    from moosearch.campaign.campaign import resume as go_on
    from moosearch.campaign.progress import TerminalProgress

    overrides = _evaluator_overrides(evaluator, workers, ray_address)
    with _interruptible(), TerminalProgress(out) as progress:
        campaign = go_on(folder, overrides=overrides, observer=progress)
    _finish(campaign)


@app.command()
def train(
    file: FileArgument,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Choose a gene, training.loss=trades, or override a leaf.", metavar="PATH=VALUE"
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="The folder; results/NAME-ID if not given.")
    ] = None,
) -> None:
    """Train one recipe outside a search; genes not chosen take their first option or middle value."""
    from moosearch.campaign.campaign import train as launch
    from moosearch.campaign.progress import TrainingProgress

    with _interruptible():
        campaign = launch(file, assignments=assignments or [], out=to, observer=TrainingProgress(out))
    (evaluation,) = campaign.evaluations
    if evaluation.status == "failed":
        out.print(f"failed: {evaluation.reason}", soft_wrap=True)
        raise typer.Exit(3)
    values = ", ".join(f"{key} {value_text(value)}" for key, value in evaluation.objectives.items())
    for constraint, violation in evaluation.violations.items():
        if violation > 0:
            out.print(f"constraint not met: {constraint}")
    out.print(
        f"candidate {evaluation.candidate.id}: {values}; best epoch {evaluation.provenance['best_epoch']}; "
        f"{evaluation.seconds['train']:.1f} s of training; in {campaign.folder.root}",
        soft_wrap=True,
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a campaign with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("interrupted: what was evaluated is stored; go on with `moosearch resume DIR`.")
        raise typer.Exit(130) from None


def _evaluator_overrides(name: str | None, workers: int | None, address: str | None) -> list[str]:
    overrides = [f"campaign.evaluator={name}"] if name is not None else []
    if name is None and (workers is not None or address is not None):
        overrides.append("campaign.evaluator.name=ray")
    if workers is not None and name != "serial":
        overrides.append(f"campaign.evaluator.workers={workers}")
    if workers is not None and workers > 1 and name == "serial":
        raise SpecError("--workers: serial has one worker. Use --evaluator ray for more.")
    if address is not None:
        overrides.append(f"campaign.evaluator.address={address}")
    return overrides


def _finish(campaign: Any) -> None:
    """Print what came of a campaign, draw its plots, and end with 3 where some candidates failed."""
    plots = campaign.plot()
    out.print(_front_table(campaign))
    evaluations = campaign.evaluations
    failed = sum(e.status == "failed" for e in evaluations)
    out.print(
        f"{len(evaluations)} candidates, {failed} failed; hypervolume "
        f"{campaign.front.hypervolume():.4f}; tables and {len(plots)} plots in {campaign.folder.root}",
        soft_wrap=True,
    )
    if failed:
        raise typer.Exit(3)


@app.command()
def status(folder: FolderArgument) -> None:
    """Say how far a campaign is."""
    from moosearch.campaign.campaign import Campaign
    from moosearch.campaign.report import hypervolume_table

    campaign = Campaign(folder)
    header, evaluations = campaign.header, campaign.evaluations
    generation, working = campaign.current
    known = {e.candidate.id for e in evaluations}
    waiting = [identity for identity in working if identity not in known]
    failed = [e for e in evaluations if e.status == "failed"]
    total = header.population * header.generations
    running = campaign.folder.running
    waiting_are = "running or waiting" if running else "unfinished"
    state = "running" if running else "finished" if campaign.finished else "stopped"
    out.print(
        f"{header.name}: {state}; generation {generation}/{header.generations}, "
        f"{len(evaluations)}/{total} candidates done, {len(waiting)} {waiting_are}, "
        f"{len(failed)} failed; {header.algorithm}, seed {header.seed}",
        soft_wrap=True,
    )
    table = Table("generation", "candidates", "failed", "front", "hypervolume")
    for row in hypervolume_table(evaluations, header).itertuples():
        table.add_row(
            str(row.generation),
            str(row.evaluations),
            str(row.failed),
            str(row.front),
            f"{row.hypervolume:.4f}",
        )
    out.print(table)
    for objective in header.objectives:
        if campaign.front.members:
            best = campaign.front.best(objective.key)
            value = value_text(best.objectives[objective.key])
            out.print(f"best {objective.key}: {value} ({best.candidate.id})")
    for evaluation in failed:
        out.print(f"failed {evaluation.candidate.id}: {evaluation.reason}")
    if state == "stopped":
        out.print(f"go on with `moosearch resume {folder}`")


@app.command()
def front(
    folder: FolderArgument,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the plots, and name them.")] = False,
    pick: Annotated[
        str | None, typer.Option("--pick", help="Show one member: knee, best:OBJECTIVE or an id.")
    ] = None,
) -> None:
    """Show the Pareto front: the members, with their objectives and genes."""
    from moosearch.campaign.campaign import Campaign
    from moosearch.pareto import Front

    campaign = Campaign(folder)
    shown = campaign.front
    if pick is not None:
        shown = Front((campaign.evaluation(pick),), shown.objectives)
    if csv:
        typer.echo(shown.to_frame().to_csv(index=False), nl=False)
    elif as_json:
        rows = [
            {
                "id": e.candidate.id,
                "objectives": dict(e.objectives),
                "metrics": dict(e.metrics),
                "genome": dict(e.candidate.genome),
                "spec": e.candidate.spec,
            }
            for e in shown
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        out.print(_front_table(campaign, shown))
    if plot:
        for path in campaign.plot():
            err.print(str(path), soft_wrap=True)


def _front_table(campaign: Any, shown: Any = None) -> Table:
    """Return the front as a table: a row a member; genes that are the same in all are left to the CSV."""
    front = campaign.front
    shown = shown if shown is not None else front
    knee = front.knee().candidate.id if len(front) else ""
    genes = list(dict.fromkeys(path for e in front for path in e.candidate.genome))
    varying = [p for p in genes if len({str(e.candidate.genome.get(p)) for e in front}) > 1] or genes
    header = campaign.header
    table = Table(
        title=f"{header.name}: front of {len(front)}, hypervolume {front.hypervolume():.4f} (knee marked *)",
        title_justify="left",
    )
    table.add_column("id", no_wrap=True)
    for objective in header.objectives:
        table.add_column(objective.key.replace("_", "\n"), justify="right")
    table.add_column("genes that differ")
    for e in shown:
        genome = {path: value for path, value in e.candidate.genome.items() if path in varying}
        recipe = ", ".join(
            value if isinstance(value, str) else f"{path.split('.')[-1]}={value}"
            for path, value in genome.items()
        )
        marked = f"{e.candidate.id}{'*' if e.candidate.id == knee else ''}"
        values = [value_text(e.objectives[o.key]) for o in header.objectives if o.key in e.objectives]
        table.add_row(marked, *values, recipe)
    return table


@app.command()
def export(
    folder: FolderArgument,
    pick: Annotated[
        str | None, typer.Option("--pick", help="Whom: knee (the default) or best:OBJECTIVE.", metavar="RULE")
    ] = None,
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
    target = Campaign(folder).export(rule, to)
    manifest = json.loads((target / "manifest.json").read_text())
    values = ", ".join(f"{k} {value_text(v['value'])}" for k, v in manifest["objectives"].items())
    out.print(f"exported candidate {manifest['candidate']} ({values}) to {target}")
    out.print(
        f"largest difference of a logit: ONNX {manifest['parity']['onnx']:.1e}, torch.export "
        f"{manifest['parity']['torch_export']:.1e}",
    )


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
    out.print(_frame(angles))
    out.print(_frame(variance))
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
        out.print(_frame(variance))


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


def _frame(frame: Any) -> Table:
    """Return a data frame as a table with a row a column, which fits any terminal."""
    table = Table(show_header=False)
    for name, values in frame.items():
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    return table


@app.command()
def validate(
    file: Annotated[Path | None, typer.Argument(help="A search space file.", metavar="FILE")] = None,
    assignments: SetOption = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of search space files.")
    ] = False,
) -> None:
    """Check a search space file as a whole, without starting anything."""
    from moosearch.campaign.plan import make_plan
    from moosearch.campaign.schema import json_schema
    from moosearch.space.files import load, override

    if schema:
        typer.echo(json.dumps(json_schema(), indent=2))
        return
    if file is None:
        raise SpecError("validate: name a search space FILE, or ask for --schema.")
    plan = make_plan(override(load(file), assignments or []))
    size = plan.space.size
    count = "infinitely many" if size == float("inf") else f"{int(size):,}"
    out.print(
        f"{file} is valid: {len(plan.space.genes())} genes, {count} candidates, {plan.corners} corners built",
        soft_wrap=True,
    )
    table = Table()
    table.add_column("gene", overflow="fold")  # whole, so that it can be copied into --set
    table.add_column("values")
    for path, gene in plan.space.genes().items():
        labels = getattr(gene, "labels", None)
        text = " | ".join(map(str, labels)) if labels else json.dumps(gene.to_tree())
        table.add_row(path, text)
    out.print(table)
    objectives = Table("objective", "sense", "unit", "reference point")
    for info in plan.objectives:
        objectives.add_row(info.key, info.sense, info.unit, value_text(info.reference))
    out.print(objectives)
    for constraint in plan.constraints:
        out.print(f"constraint: {constraint}")


@app.command("list")
def list_names(
    kind: Annotated[str | None, typer.Argument(help="datasets, architectures, attacks, losses, ...")] = None,
    imports: Annotated[
        list[str] | None, typer.Option("--import", help="A module that registers plug-ins.")
    ] = None,
) -> None:
    """Say what can be named in a search space file, with its parameters and defaults."""
    from moosearch.campaign.plan import import_plugins
    from moosearch.campaign.spec import REGISTRIES
    from moosearch.errors import Place
    from moosearch.registry import describe

    import_plugins(imports, Place(shown=("--import",)))
    if kind is not None and kind not in REGISTRIES:
        raise SpecError(f"list: there are no '{kind}'. {nearest(kind, REGISTRIES)}")
    for plural in [kind] if kind else REGISTRIES:
        registry = REGISTRIES[plural]
        table = Table("name", "what it is", "parameters", title=plural, title_justify="left")
        for name in registry:
            cls = registry.get(name)
            summary = (cls.__doc__ or "").strip().split("\n")[0]
            table.add_row(name, summary, describe(cls))
        out.print(table)
