"""What the dashboard says of a campaign and of each of its candidates, in Markdown."""

import math
import shlex
from collections.abc import Sequence

import numpy as np

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.confirmation import OVERESTIMATED, Member
from moosearch.campaign.status import Status
from moosearch.errors import CampaignError, SpecError
from moosearch.evaluation import Evaluation
from moosearch.pareto import Front, to_losses
from moosearch.plan.recipes import FROM, without_origin
from moosearch.space.files import load
from moosearch.text import alike_text, counted, escape_markdown, spread_text, value_text


def candidate_notes(campaign: Campaign) -> dict[str, tuple[str, str]]:
    """Return for every candidate, by id, what it is in a word or two, and its note.

    The note says why it is on the front or is not, what was confirmed of it, what is unreliable, and how to
    export it; of a failed one, why it failed.
    """
    evaluations, front, confirmation = campaign.evaluations, campaign.front, campaign.confirmation
    chosen = _chosen(front)
    rivals = _dominating(campaign, evaluations)
    origins = _origins(campaign)
    alike = _tolerances(campaign)
    notes = {}
    for evaluation in evaluations:
        identity = evaluation.candidate.id
        member = None if confirmation is None else confirmation.member(identity)
        word, lines = _standing(evaluation, chosen.get(identity), rivals.get(identity), alike)
        origin = next((o for genome, o in origins if genome == dict(evaluation.candidate.genome)), "")
        lines += ["", f"A first individual: {escape_markdown(origin)}."] if origin else []
        lines += _measured(campaign, evaluation, member)
        lines += _failure(evaluation) if evaluation.status == "failed" else _export(campaign, identity)
        notes[identity] = word, "\n".join([f"## {identity}: {word}", "", *lines]) + "\n"
    return notes


def campaign_note(campaign: Campaign, status: Status) -> str:
    """Return the note of the whole campaign."""
    front = campaign.front
    folder = shlex.quote(str(campaign.folder.root))
    failed = f", {len(status.failed)} failed" if status.failed else ""
    lines = [
        f"## {status.name}: {status.state}",
        "",
        f"{status.done} of {counted(status.total, 'candidate')}{failed}, generation {status.generation} of "
        f"{status.generations} by {status.algorithm}; {len(front)} on the front, hypervolume "
        f"{front.hypervolume():.4f}. [The report](/report) has the whole of it.",
        "",
    ]
    if campaign.header.constraints:
        bounds = ", ".join(f"`{text}`" for text in campaign.header.constraints)
        lines += [
            f"Constraints: {bounds}. The dashboard's list of best trials does not know them: the front is "
            "what the column `shown_as` calls so.",
            "",
        ]
    chosen = _chosen(front)
    if chosen:
        lines += ["| member | chosen by | why |", "| --- | --- | --- |"]
        lines += [f"| `{identity}` | {rules} | {why} |" for identity, (rules, why) in chosen.items()]
    if status.confirmation is not None:
        confirmation = status.confirmation
        lines += [
            "",
            f"Confirmation {confirmation.state}: {confirmation.done} of "
            f"{counted(confirmation.planned, 'training')} of "
            f"{counted(confirmation.members, 'member')}, {confirmation.unreliable} of them fail a check "
            "for masked "
            f"gradients, and the robustness of {confirmation.overestimated} is overestimated.",
        ]
    lines += ["", f"`moosearch front {folder}`, `moosearch report {folder}`, `moosearch confirm {folder}`"]
    return "\n".join(lines) + "\n"


def _chosen(front: Front) -> dict[str, tuple[str, str]]:
    """Return the members that rules choose, by id: which rules, and why the first of them does."""
    found: dict[str, tuple[str, str]] = {}
    for choice in front.decisions() if front.members else ():
        identity, rule = choice.evaluation.candidate.id, escape_markdown(choice.rule)
        rules, why = found.get(identity, ("", escape_markdown(choice.why)))
        found[identity] = f"{rules}, {rule}" if rules else rule, why
    return found


def _dominating(campaign: Campaign, evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """Return for whom it is so the first member of the front that is better or as good in everything."""
    front = campaign.front
    feasible = [e for e in evaluations if e.feasible]
    losses, best = to_losses(feasible, campaign.header.objectives), front.losses
    found = {}
    for evaluation, loss in zip(feasible, losses, strict=True):
        over = np.flatnonzero((best <= loss).all(axis=1) & (best < loss).any(axis=1))
        if len(over):
            found[evaluation.candidate.id] = front.members[over[0]].candidate.id
    return found


def _origins(campaign: Campaign) -> list[tuple[dict[str, object], str]]:
    """Return the genes of the first individuals and where each comes from."""
    try:
        recipes = load(campaign.folder.spec).data["campaign"].get("initial", [])
    except (SpecError, LookupError, AttributeError):
        return []
    return [(without_origin(recipe), str(recipe.get(FROM) or "of the file")) for recipe in recipes]


def _tolerances(campaign: Campaign) -> str:
    """Say where values that differ count as equal; nothing where they nowhere do."""
    told = alike_text(campaign.header.objectives)
    return f" ({told})" if told else ""


def _standing(
    evaluation: Evaluation, chosen: tuple[str, str] | None, rival: str | None, alike: str
) -> tuple[str, list[str]]:
    if evaluation.status == "failed":
        return "failed", []
    broken = {text: v for text, v in evaluation.violations.items() if v > 0}
    if broken:
        told = ", ".join(f"`{text}` by {violation:.2%} of the bound" for text, violation in broken.items())
        return "infeasible", [f"It breaks {told}."]
    if rival is not None:
        return "dominated", [f"`{rival}` is at least as good in every objective, and better in one{alike}."]
    why = [f"No other candidate is at least as good in every objective and better in one{alike}."]
    return "front", why + (["", "Chosen by **{}**: {}.".format(*chosen)] if chosen else [])


def _measured(campaign: Campaign, evaluation: Evaluation, member: Member | None) -> list[str]:
    if evaluation.status == "failed":
        return []
    lines = ["", "| | search, validation images | confirmed, test images |", "| --- | --- | --- |"]
    for info in campaign.header.objectives:
        value = spread_text(evaluation.objectives[info.key], evaluation.deviations.get(info.key, math.nan))
        own = None if member is None else member.confirmed_value(info.key)
        lines.append(f"| {info.key} | {value} | {'' if own is None else spread_text(own.mean, own.std)} |")
    for measure, spread in ({} if member is None else member.measured).items():
        if measure.kind == "worst_case":
            lines.append(f"| suite {measure.label} | | {spread_text(spread.mean, spread.std)} |")
    lines += [f"| {key} | {value_text(value)} | |" for key, value in evaluation.metrics.items()]
    if fault := evaluation.provenance.get("fault"):
        lines += ["", f"Trained contiguous in float32: on this machine a {escape_markdown(str(fault))}."]
    if member is None:
        return [*lines, "", "Not confirmed: the search's own estimate promises too much."]
    lines += [
        "",
        f"{counted(len(member.complete), 'training')} with fresh seeds, "
        f"{counted(member.images, 'test image')}.",
    ]
    if member.unreliable:
        doubts = [f"{name}: {text}" for name, text in member.explanations.items()]
        if member.overestimated:
            doubts.append(OVERESTIMATED)
        elif member.standing is None or not member.standing.stays:
            doubts.append("another member dominates it beyond noise")
        lines += ["", "**Doubts**", "", *(f"- {escape_markdown(doubt)}" for doubt in doubts)]
    return lines


def _failure(evaluation: Evaluation) -> list[str]:
    tried = f", tried {evaluation.attempts} times" if evaluation.attempts > 1 else ""
    return ["", f"Why: {evaluation.failure or 'error'}{tried}.", "", f"    {evaluation.reason}"]


def _export(campaign: Campaign, identity: str) -> list[str]:
    try:
        kept = campaign.folder.weights(identity).is_file()
    except CampaignError:
        kept = False
    folder = shlex.quote(str(campaign.folder.root))
    command = f"moosearch export {folder} --candidate {identity}"
    return ["", f"`{command}`" if kept else "Its weights were not kept; they are those of the front."]
