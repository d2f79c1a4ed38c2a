"""Tables for the terminal."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from moosearch.text import alike_text, counted, recipe_text, spread_text

MANY = 12
"""Genes that differ of which a terminal shows all; of more, it shows the options alone."""


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    *,
    title: str = "",
    caption: str = "",
    **style: Any,
) -> Table:
    """Return a table: names in its first column, numbers in the others.

    Args:
        head: Heads of the columns.
        rows: Cells; None for a line between rows.
        title: Above it, to the left.
        caption: Below it, to the left.
        style: What else `Table` takes.
    """
    made = Table(title=title or None, caption=caption or None, **{"box": box.SIMPLE} | style)
    made.title_justify = made.caption_justify = "left"
    for number, name in enumerate(head):
        side: Any = "right" if number else "left"
        made.add_column(name, justify=side, no_wrap=number > 0, overflow="fold", vertical="bottom")
    for row in rows:
        made.add_section() if row is None else made.add_row(*row)
    return made


def number(value: float | None, form: str = ".4f") -> str:
    """Write a number, and nothing where there is none."""
    return "" if value is None or math.isnan(value) else format(value, form)


def front_table(campaign: Any, shown: Any = None, confirmation: Any = None) -> Table:
    """Return the front as a table: a row a member; genes that are the same in all are left to the CSV.

    So are numbers where more than `MANY` genes differ. Where the front was confirmed, what was confirmed
    stands under the search's estimates.
    """
    front = campaign.front
    shown = shown if shown is not None else front
    knee = front.knee().candidate.id if len(front) else ""
    differing = front.differing_genes
    told = _options(front, differing) if len(differing) > MANY else differing
    header, confirmation = campaign.header, confirmation or campaign.confirmation
    part = "" if len(shown) == len(front) else f"{len(shown)} of the "
    size = f"{part}front of {len(front)}, hypervolume {front.hypervolume():.4f}"
    marked = " (knee marked *)" if knee in {e.candidate.id for e in shown} else ""
    table = Table(
        title=f"{header.name}: {size}{marked}",
        caption=_caption(campaign, confirmation, left_out=len(differing) - len(told)),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("id", no_wrap=True)
    for objective in header.objectives:
        table.add_column(objective.key.replace("_", "\n"), justify="right")
    table.add_column("genes that differ", overflow="fold")
    for e in shown:
        marked = f"{e.candidate.id}{'*' if e.candidate.id == knee else ''}"
        member = confirmation.member(e.candidate.id) if confirmation is not None else None
        if member is not None:
            marked += f"\n{_verdict(member)}"
        intervals = e.intervals if confirmation is None else {}  # one meaning for the second line
        values = [_cell(e, member, o.key, intervals) for o in header.objectives if o.key in e.objectives]
        table.add_row(marked, *values, recipe_text(e, told))
    return table


def choice_tables(campaign: Any, front: Any, choices: Sequence[Any]) -> list[Table]:
    """Return what rules chose, and why: two tables with a row a rule."""
    confirmation = campaign.confirmation
    many = len(campaign.front)
    members = counted(many, "member")
    of = f"the {members}" if len(front) == many else f"{len(front)} of the {members}"
    chosen = Table(
        title=f"{campaign.header.name}: chosen from {of} of the front",
        caption=_caption(campaign, confirmation),
        title_justify="left",
        caption_justify="left",
    )
    chosen.add_column("rule", overflow="fold")
    chosen.add_column("id", no_wrap=True)
    for objective in front.objectives:
        chosen.add_column(objective.key.replace("_", "\n"), justify="right")
    reasons = Table("rule", "why", box=box.SIMPLE)
    reasons.columns[0].overflow = "fold"
    for choice in choices:
        e = choice.evaluation
        member = confirmation.member(e.candidate.id) if confirmation is not None else None
        identity = e.candidate.id if member is None else f"{e.candidate.id}\n{_verdict(member)}"
        intervals = e.intervals if confirmation is None else {}
        values = [_cell(e, member, info.key, intervals) for info in front.objectives]
        rule = choice.rule.replace(",", ",\n")  # broken where it can be read
        chosen.add_row(rule.replace(":", ":\n", 1), identity, *values)
        reasons.add_row(rule, choice.why)
    return [chosen, reasons]


def _cell(evaluation: Any, member: Any, key: str, intervals: Mapping[str, Sequence[float]]) -> str:
    """Write an objective's value, and under it what was confirmed or else its interval."""
    value = spread_text(evaluation.objectives[key], evaluation.deviations.get(key) or math.nan)
    if member is not None:
        return f"{value}\n{_spread(member, key)}"
    if key in intervals:
        low, high = intervals[key]
        return f"{value}\n{low:.3f}-{high:.3f}"
    return value


def _options(front: Any, paths: Sequence[str]) -> list[str]:
    """Return the genes that are chosen among options, or all where there is none."""
    words = [path for path in paths if any(isinstance(e.candidate.genome.get(path), str) for e in front)]
    return words or list(paths)


def _caption(campaign: Any, confirmation: Any, *, left_out: int = 0) -> str | None:
    """Say what stands in the table of the front beside values, and what does not."""
    alike = alike_text(campaign.header.objectives)
    lines = [alike] if alike else []
    if left_out:
        lines.append(f"{left_out} more genes differ, in numbers: --csv has them")
    if any(e.deviations for e in campaign.front):
        lines.append("±: standard deviation over trainings")
    if confirmation is not None:
        lines.append(
            "second line: confirmed on test images, mean ± standard deviation over fresh trainings; stays: "
            "non-dominated within noise (probability of being non-dominated); !: failed a check for masked "
            "gradients"
        )
    elif any(e.intervals for e in campaign.front):
        lines.append("second line: 95 % interval of an accuracy, for the images it was measured on")
    return "\n".join(lines) or None


def attack_table(confirmation: Any) -> Table:
    """Return a confirmed front under each attack, and the worst of them: mean accuracies on test images."""
    measures = [m for m in confirmation.measured if m.kind not in ("objective", "as_searched")]
    table = Table(
        title="accuracy on test images under each attack (mean over trainings)",
        title_justify="left",
        box=box.SIMPLE,
        padding=0,  # ten attacks fit on a terminal of 80 columns
    )
    table.add_column("id", no_wrap=True)
    for measure in measures:
        head = measure.label.replace("average robust", "Avg- Robust").replace(" ", "\n")
        table.add_column(head, justify="right", min_width=5, overflow="fold")
    for member in confirmation.members:
        means = [f"{member.measured[m].mean:.3f}" if member.complete else "-" for m in measures]
        table.add_row(member.estimate.candidate.id, *means)
    return table


def doubts(confirmation: Any, shown: Collection[str] | None = None) -> list[str]:
    """Return lines on trainings that failed, on members that failed checks, and on what to make of it.

    Args:
        confirmation: What was confirmed.
        shown: Ids of the members to speak of; all if not given.
    """
    from moosearch.campaign.confirmation import OVERESTIMATED, SEARCH_AGAIN

    lines: list[str] = []
    explanations: dict[str, str] = {}
    for member in confirmation.members:
        if shown is not None and member.estimate.candidate.id not in shown:
            continue
        if member.failed:
            many = f"{len(member.failed)} of {counted(len(member.failed) + len(member.complete), 'training')}"
            reason = member.failed[0].reason
            lines.append(f"! {member.estimate.candidate.id}: {many} failed: {reason}")
        checks = ", ".join(f"{name} ({count}x)" for name, count in member.failed_checks.items())
        if member.overestimated:
            lines.append(f"! {member.estimate.candidate.id}: {OVERESTIMATED}")
            explanations["overestimated"] = SEARCH_AGAIN
        if checks:
            lines.append(f"! {member.estimate.candidate.id} failed {checks}")
        explanations |= member.explanations
    return lines + [f"{name}: {text}" for name, text in explanations.items()]


def _spread(member: Any, key: str) -> str:
    spread = member.confirmed_value(key)
    return "" if spread is None else spread_text(spread.mean, spread.std)


def _verdict(member: Any) -> str:
    if member.standing.overestimated:
        return "LEAVES: overestimated !"
    probability = member.standing.probability
    word = "stays" if member.standing.stays else "LEAVES"
    said = f"{word} ({probability:.2f})" if not math.isnan(probability) else "noise unknown"
    return f"{said}{' !' if member.failed_checks else ''}"


def frame_table(frame: Any) -> Table:
    """Return a data frame as a table with a row a column, which fits any terminal."""
    table = Table(show_header=False)
    for name, values in frame.items():
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    return table
