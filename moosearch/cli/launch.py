"""Launch: search, resume, train."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from moosearch.cli.app import (
    AddressOption,
    EvaluatorOption,
    FileArgument,
    FolderArgument,
    SetOption,
    WorkersOption,
    app,
    out,
    overrides,
)
from moosearch.cli.signals import interruptible
from moosearch.cli.tables import attack_table, doubts, front_table
from moosearch.text import counted, value_text

MOST_REASONS = 3
"""Different reasons why candidates failed that a summary names, the most common first."""


@app.command()
def search(
    file: FileArgument,
    assignments: SetOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="The campaign's folder; results/NAME if not given.")
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            "--warm-start",
            help="Begin with the front of another campaign: its recipes, not its weights. Again for another.",
            metavar="DIR",
        ),
    ] = None,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
) -> None:
    """Launch a campaign, or go on with the same one."""
    given = overrides(assignments, evaluator, workers, ray_address)
    with interruptible("resume") as stop:
        from moosearch.api.verbs import search as launch
        from moosearch.cli.progress import TerminalProgress

        with TerminalProgress(out, stop) as progress:
            campaign = launch(
                file,
                out=to,
                overrides=given,
                warm_start=warm_start or [],
                observer=progress,
                stop=stop,
            )
        _finish(campaign)


@app.command()
def resume(
    folder: FolderArgument,
    generations: Annotated[
        int | None,
        typer.Option("--generations", help="How many generations there shall be in all.", min=1),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override where it runs or what it puts up with: campaign.limits.failed=1.",
            metavar="PATH=VALUE",
        ),
    ] = None,
    evaluator: EvaluatorOption = None,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
) -> None:
    """Go on with an interrupted campaign, or make one longer; nothing is evaluated twice."""
    given = overrides(assignments, evaluator, workers, ray_address)
    with interruptible("resume", folder=folder) as stop:
        from moosearch.api.verbs import resume as go_on
        from moosearch.cli.progress import TerminalProgress

        with TerminalProgress(out, stop) as progress:
            campaign = go_on(folder, generations=generations, overrides=given, observer=progress, stop=stop)
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
    with interruptible("resume") as stop:
        from moosearch.api.verbs import train as launch
        from moosearch.cli.progress import TrainingProgress

        campaign = launch(
            file, assignments=assignments or [], out=to, observer=TrainingProgress(out), stop=stop
        )
    (evaluation,) = campaign.evaluations
    if evaluation.status == "failed":
        out.print(f"failed: {evaluation.reason}", soft_wrap=True)
        raise typer.Exit(3)
    values = ", ".join(f"{key} {value_text(value)}" for key, value in evaluation.objectives.items())
    _say_of_kernels([evaluation])
    for constraint, violation in evaluation.violations.items():
        if violation > 0:
            out.print(f"constraint not met: {constraint}")
    out.print(
        f"candidate {evaluation.candidate.id}: {values}; best epoch {evaluation.provenance['best_epoch']}; "
        f"{evaluation.seconds['train']:.1f} s of training; in {campaign.folder.root}",
        soft_wrap=True,
    )


def _finish(campaign: Any) -> None:
    """Print what came of a campaign, draw its plots, and end with 3 where some trainings failed."""
    plots = campaign.plot()
    evaluations = campaign.evaluations
    if not campaign.front:
        completed = any(e.status == "complete" for e in evaluations)
        out.print(f"there is no front: no candidate {'meets the constraints' if completed else 'completed'}")
    elif campaign.confirmation is None:
        out.print(front_table(campaign))
    reasons = Counter(e.reason for e in evaluations if e.status == "failed")
    failed = reasons.total()
    out.print(
        f"{counted(len(evaluations), 'candidate')}, {failed} failed; hypervolume "
        f"{campaign.front.hypervolume():.4f}; tables and {counted(len(plots), 'plot')} in "
        f"{campaign.folder.root}",
        soft_wrap=True,
    )
    for reason, count in reasons.most_common(MOST_REASONS):
        out.print(f"{counted(count, 'candidate')} failed: {reason}", soft_wrap=True)
    _say_of_kernels(evaluations)
    if campaign.confirmation is not None:
        failed += print_confirmation(campaign)
        _say_of_which_front(campaign)
    if failed:
        raise typer.Exit(3)


def _say_of_kernels(evaluations: Sequence[Any]) -> None:
    """Say which candidates were trained otherwise than they asked for, since kernels are wrong here."""
    faults = [fault for e in evaluations if (fault := e.provenance.get("fault"))]
    if faults:
        out.print(
            f"{len(faults)} of {len(evaluations)} trained contiguous in float32, which is slower: on this "
            f"machine a {faults[0]}",
            soft_wrap=True,
        )


def _say_of_which_front(campaign: Any) -> None:
    """Say so where what was confirmed is not the front: the search went on after it."""
    confirmed = {member.estimate.candidate.id for member in campaign.confirmation.members}
    front = {evaluation.candidate.id for evaluation in campaign.front}
    if front - confirmed:
        gone = len(confirmed - front)
        out.print(
            f"this confirmation is of an older front, or of a part of it: {len(front - confirmed)} of "
            f"{counted(len(front), 'member')} not confirmed, {gone} of {len(confirmed)} confirmed "
            "not on the front; "
            f"add them by `moosearch confirm {campaign.folder.root} --pick front`",
            soft_wrap=True,
        )


def print_confirmation(campaign: Any) -> int:
    """Print what a confirmation found; return how many of its trainings failed."""
    confirmation = campaign.confirmation
    out.print(front_table(campaign, [member.estimate for member in confirmation.members]))
    out.print(attack_table(confirmation))
    for line in doubts(confirmation):
        out.print(line)
    out.print(
        f"{counted(len(confirmation.members), 'member')} confirmed by "
        f"{counted(confirmation.done, 'training')}, "
        f"{confirmation.failed} failed; in {campaign.folder.confirmed_table}",
        soft_wrap=True,
    )
    failed: int = confirmation.failed
    return failed
