"""Inspect: front, decide; and what can be written in a search space file: validate, list."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moosearch.cli.app import (
    CsvOption,
    FolderArgument,
    JsonOption,
    SetOption,
    SpaceArgument,
    WhereOption,
    app,
    check_one_format,
    err,
    out,
)
from moosearch.cli.tables import choice_tables, doubts, front_table
from moosearch.errors import Place, SpecError, nearest
from moosearch.pareto.choice import RULES, default_rules
from moosearch.pareto.front import value_text
from moosearch.space.shipped import shipped_spaces, summary

SPACES = "spaces"
"""What `moosearch list` calls the shipped search spaces."""


@app.command()
def front(
    folder: FolderArgument,
    csv: CsvOption = False,
    as_json: JsonOption = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the plots, and name them.")] = False,
    where: WhereOption = None,
    thin: Annotated[
        str | None,
        typer.Option(
            "--thin",
            help="One member of those that are nearly alike: within a share of the front's range, 0.02, or "
            "amounts, clean_accuracy=0.01,flops=1e5.",
            metavar="EPSILONS",
        ),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            "--pick", help="One member of what is left, by a rule of `moosearch decide`.", metavar="RULE"
        ),
    ] = None,
) -> None:
    """Show the Pareto front: the members, with their objectives and genes."""
    from moosearch.campaign.campaign import Campaign
    from moosearch.pareto import Front

    check_one_format(csv=csv, as_json=as_json)
    campaign = Campaign(folder)
    shown = campaign.front
    if where is not None:
        shown = shown.where(where)
    if thin is not None:
        shown = shown.thin(thin)
    if pick is not None:
        whole = where is None and thin is None  # then any candidate may be named by its id
        member = campaign.evaluation(pick) if whole else shown.pick(pick)
        shown = Front((member,), shown.objectives)
    if csv:
        typer.echo(shown.to_frame().to_csv(index=False), nl=False)
    elif as_json:
        confirmation = campaign.confirmation
        rows = [
            {
                "id": e.candidate.id,
                "objectives": dict(e.objectives),
                "deviations": e.deviations,
                "intervals": dict(e.intervals),
                "confirmed": _confirmed(confirmation, e.candidate.id),
                "metrics": dict(e.metrics),
                "genome": dict(e.candidate.genome),
                "spec": e.candidate.spec,
            }
            for e in shown
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        confirmation = campaign.confirmation
        out.print(front_table(campaign, shown, confirmation))
        if confirmation is not None:
            for line in doubts(confirmation, {e.candidate.id for e in shown}):
                out.print(line)
    if plot:
        for path in campaign.plot():
            err.print(str(path), soft_wrap=True)


def _confirmed(confirmation: Any, candidate_id: str) -> Any:
    """Return what was confirmed of a member as plain data; None where there is nothing."""
    member = confirmation.member(candidate_id) if confirmation is not None else None
    return member.to_tree() if member is not None else None


@app.command(
    help="Say which members of the front the decision aids choose, and why.\n\n\b\nRules:\n"
    + "\n".join(f"  {rule}\n    {meaning}" for rule, meaning in RULES.items())
    + "\n\nWithout objectives, all weigh the same, or come in the campaign's order. A tolerance is in the "
    "objective's unit, or a share of the front's range, 1%."
)
def decide(
    folder: FolderArgument,
    where: WhereOption = None,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", help="A rule; all that need no weights if not given. Repeatable.", metavar="RULE"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which members of the front the decision aids choose, and why."""
    from moosearch.campaign.campaign import Campaign

    campaign = Campaign(folder)
    shown = campaign.front if where is None else campaign.front.where(where)
    choices = [shown.choose(rule) for rule in rules or default_rules(shown.objectives)]
    if as_json:
        rows = [
            {
                "rule": choice.rule,
                "id": choice.evaluation.candidate.id,
                "objectives": dict(choice.evaluation.objectives),
                "why": choice.why,
            }
            for choice in choices
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for table in choice_tables(campaign, shown, choices):
        out.print(table)
    confirmation = campaign.confirmation
    if confirmation is not None:
        for line in doubts(confirmation, {choice.evaluation.candidate.id for choice in choices}):
            out.print(line)


@app.command()
def validate(
    file: Annotated[Path | None, SpaceArgument] = None,
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
        alike = f", in boxes of {100 * info.tolerance:.4g}%" if info.tolerance else ""
        objectives.add_row(info.key, info.sense, f"{info.unit}{alike}", value_text(info.reference))
    out.print(objectives)
    for constraint in plan.constraints:
        out.print(f"constraint: {constraint}")


@app.command("list")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="datasets, architectures, attacks, losses, ..., or spaces.")
    ] = None,
    imports: Annotated[
        list[str] | None, typer.Option("--import", help="A module that registers plug-ins.")
    ] = None,
) -> None:
    """Say what can be named in a search space file, with parameters and defaults; shipped spaces too."""
    from moosearch.campaign import catalog

    plugins = catalog.registered(imports, Place(shown=("--import",))) if imports else catalog.read()
    kinds = [*plugins, SPACES]
    if kind is not None and kind not in kinds:
        raise SpecError(f"list: there are no '{kind}'. {nearest(kind, kinds)}")
    for plural in [kind] if kind else kinds:
        if plural == SPACES:
            table = Table("name", "what it is", title="search spaces: `moosearch search NAME`")
            for name, file in shipped_spaces().items():
                table.add_row(name, summary(file))
        else:
            table = Table("name", "what it is", "parameters", title=plural)
            for entry in plugins[plural]:
                table.add_row(entry.name, entry.summary, "\n".join(entry.parameters))
        table.title_justify = "left"
        out.print(table)
