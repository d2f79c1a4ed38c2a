"""Inspect: front, decide."""

import json
from typing import Annotated, Any

import typer

from moosearch.cli.app import (
    CsvOption,
    FolderArgument,
    JsonOption,
    WhereOption,
    app,
    check_one_format,
    err,
    out,
)
from moosearch.cli.tables import choice_tables, doubts, front_table
from moosearch.pareto.choice import RULES, default_rules


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
    from moosearch.api.campaign import Campaign
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
    from moosearch.api.campaign import Campaign

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
