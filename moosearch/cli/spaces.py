"""What can be written in a search space file: validate, list."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moosearch.cli.app import SetOption, SpaceArgument, app, out, without_collector
from moosearch.errors import Place, SpecError, nearest
from moosearch.space.shipped import shipped_spaces, summary
from moosearch.text import counted

SPACES = "spaces"
"""What `moosearch list` calls the shipped search spaces."""


@app.command()
def validate(
    file: Annotated[Path | None, SpaceArgument] = None,
    assignments: SetOption = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of search space files.")
    ] = False,
) -> None:
    """Check a search space file as a whole, without starting anything."""
    with without_collector():
        from moosearch.plan.plan import make_plan
        from moosearch.plan.schema import json_schema
        from moosearch.space.files import load, override
        from moosearch.text import value_text

        if schema:
            typer.echo(json.dumps(json_schema(), indent=2))
            return
        if file is None:
            raise SpecError("validate: name a search space FILE, or ask for --schema.")
        plan = make_plan(override(load(file), assignments or []))
    size = plan.space.size
    count = "infinitely many candidates" if size == float("inf") else counted(int(size), "candidate")
    out.print(
        f"{file} is valid: {counted(len(plan.space.genes()), 'gene')}, {count}, "
        f"{counted(plan.corners, 'corner')} built",
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
    from moosearch.plan import catalog

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
