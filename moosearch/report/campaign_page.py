"""The report of a campaign: which model to take, and whether to trust it."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.status import Status, read_status
from moosearch.evaluation import Evaluation
from moosearch.pareto.choice import RULES
from moosearch.report import data as read
from moosearch.report.page import Section, document, escape, table
from moosearch.text import alike_text, counted, duration

SCRIPTS = (
    "columns.js",
    "view.js",
    "scatter.js",
    "parallel.js",
    "table.js",
    "evidence.js",
    "report.js",
)


def campaign_page(campaign: Campaign, *, refresh: float = 0) -> str:
    """Return the report of a campaign as one HTML file.

    Args:
        campaign: Finished or not.
        refresh: Seconds after which the page loads itself again while the campaign runs; 0 for never.
    """
    status = read_status(campaign)
    tree, yaml = read.settings(campaign.folder)
    evaluations = campaign.evaluations
    data = campaign_data(campaign, status, tree)
    sections = (
        _decide(data),
        _front(),
        _trust(data),
        _recipes(),
        _candidates(),
        _search(read.costs(evaluations)),
        _settings(yaml, read.environment(campaign.folder)),
    )
    return document(
        f"{status.name}: report",
        sections,
        data,
        SCRIPTS,
        head=_head(status, evaluations, data, tree, alike_text(campaign.header.objectives)),
        tools=_tools(),
        refresh=refresh if status.running else 0,
    )


def campaign_data(campaign: Campaign, status: Status, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scripts of the report draw.

    Args:
        campaign: The campaign.
        status: How far it is.
        spec: Its search space file as plain data.
    """
    header, evaluations, front = campaign.header, campaign.evaluations, campaign.front
    rows = {e.candidate.id: row for row, e in enumerate(evaluations)}
    found, left = read.pictures(campaign.folder.plots)
    return {
        "name": header.name,
        "folder": shlex.quote(str(campaign.folder.root)),
        "objectives": [
            {
                "key": o.key,
                "sense": o.sense,
                "unit": o.unit,
                "ideal": o.ideal,
                "reference": read.short(o.reference),
            }
            for o in header.objectives
        ],
        "constraints": list(header.constraints),
        "candidates": read.candidates(evaluations, header.objectives, read.space_genes(spec)),
        "decisions": [
            {"rule": each.rule, "row": rows[each.evaluation.candidate.id], "why": each.why}
            for each in front.decisions()
        ],
        "rules": dict(RULES),
        "history": [{key: read.short(value) for key, value in row.items()} for row in status.history],
        "confirmation": read.confirmation(campaign),
        "curves": read.curves(campaign.folder.plots / "robustness.csv"),
        "importance": None if status.running else read.importance(evaluations, header, campaign.confirmation),
        "pictures": found,
        "pictures_left": left,
    }


def threats(spec: Mapping[str, Any]) -> list[str]:
    """Return in words under what attacks the objectives of a search space file judge.

    Example:
        >>> attack = {"name": "pgd", "eps": 0.2, "norm": "linf", "steps": 10}
        >>> threats({"campaign": {"objectives": [{"name": "robust_accuracy", "attacks": [attack]}]}})
        ['robust_accuracy under pgd (10 steps, linf, eps 0.2)']
    """
    found = []
    objectives = spec.get("campaign", {}).get("objectives", ())
    for objective in objectives if isinstance(objectives, list) else ():
        attacks = objective.get("attacks") if isinstance(objective, Mapping) else None
        if isinstance(attacks, list) and attacks:
            words = " and ".join(_attack(each) for each in attacks)
            how = "under each of" if objective.get("over") == "mean" and len(attacks) > 1 else "under"
            found.append(f"{objective.get('label') or objective.get('name')} {how} {words}")
    return found


def _attack(attack: Any) -> str:
    if not isinstance(attack, Mapping):
        return str(attack)
    details = [counted(attack["steps"], "step")] if "steps" in attack else []
    details += [str(attack["norm"])] if "norm" in attack else []
    details += [f"eps {attack['eps']:.4g}"] if isinstance(attack.get("eps"), float | int) else []
    return f"{attack.get('name', 'an attack')}{' (' + ', '.join(details) + ')' if details else ''}"


def _datasets(spec: Mapping[str, Any]) -> str:
    """Return the name of the dataset, or the names that are chosen from."""
    node = spec.get("candidate", {}).get("dataset", "")
    options = node.get("choice", [node]) if isinstance(node, Mapping) else [node]
    names = [option.get("name", "") if isinstance(option, Mapping) else option for option in options]
    return " or ".join(str(name) for name in names if name)


def _head(
    status: Status,
    evaluations: list[Evaluation],
    data: Mapping[str, Any],
    spec: Mapping[str, Any],
    alike: str,
) -> str:
    states = data["candidates"]["state"]
    counts = {name: states.count(number) for number, name in enumerate(read.STATES)}
    hypervolume = status.history[-1]["hypervolume"] if status.history else 0.0
    confirmed = status.confirmation
    facts = {
        "evaluated": f"{status.done:,} of {status.total:,}",
        "on the front": f"{counts['front']:,}",
        "hypervolume": f"{hypervolume:.4f}",
        "failed": f"{counts['failed']:,}",
        "infeasible": f"{counts['infeasible']:,}",
        "confirming trainings": "none"
        if confirmed is None
        else f"{confirmed.done:,} of {confirmed.planned:,}",
        "time spent": duration(sum(e.seconds.get("total", 0.0) for e in evaluations)),
        "last heard of": _day(status.last or max(_started(evaluations), default="")) or "unknown",
    }
    words = [_datasets(spec), f"{status.algorithm}, seed {status.seed}", *threats(spec)]
    words.append(alike)
    if data["constraints"]:
        words.append("constraint: " + ", ".join(data["constraints"]))
    about = "".join(f"<li>{escape(word)}</li>" for word in words if word)
    shown = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    state = f"generation {status.generation} of {status.generations}" if status.state != "finished" else ""
    return (
        f'<div class="title"><h1>{escape(status.name)}</h1>'
        f'<span class="badge {escape(status.state)}">{escape(status.state)}</span>'
        f'<span class="soft">{escape(state)}</span></div>'
        f'<ul class="about">{about}</ul><dl class="facts">{shown}</dl>'
    )


def _started(evaluations: list[Evaluation]) -> list[str]:
    return [started for e in evaluations if isinstance(started := e.provenance.get("started"), str)]


def _day(time: str) -> str:
    try:
        return datetime.fromisoformat(time).strftime("%d %b %H:%M")
    except ValueError:
        return ""


def _tools() -> str:
    return """
<form class="tools" id="filter" role="search" aria-label="Filter all views">
<label for="where">Constraints</label>
<input id="where" name="where" autocomplete="off" spellcheck="false" aria-describedby="where-said"
 placeholder="robust_accuracy&gt;=0.4, flops&lt;=2e6">
<output id="where-said" aria-live="polite"></output>
<button type="button" id="reset">Reset filters</button>
</form>"""


def _decide(data: Mapping[str, Any]) -> Section:
    sliders = "".join(
        f'<label>{escape(o["key"])}<input type="range" min="0" max="100" value="50" data-weight="{number}">'
        "<output></output></label>"
        for number, o in enumerate(data["objectives"])
    )
    return Section(
        "decide",
        "Which model to take",
        f"""<div class="picks" id="picks"></div>
<div class="weights" id="weights" hidden>
<h3>By your own weights</h3>
<div class="sliders">{sliders}
<label>rule<select id="rule">
<option value="compromise" title="nearest to the best of each">compromise</option>
<option value="asf" title="the least of the largest weighted shortfall">asf</option></select></label></div>
<div id="weighted" aria-live="polite"></div>
</div>""",
        "What each rule takes from the front, and why. Begin with one that several rules take and that is "
        "confirmed.",
        "Decide",
    )


def _front() -> Section:
    return Section(
        "front",
        "The front",
        """<div class="controls" id="axes">
<label>across<select data-axis="x"></select></label>
<label class="check"><input type="checkbox" data-log="x">log</label>
<label>up<select data-axis="y"></select></label>
<label class="check"><input type="checkbox" data-log="y">log</label>
<label>color<select data-axis="c"></select></label>
<label class="check"><input type="checkbox" id="zoom">zoom to the front</label>
<label class="check" id="confirmed-check" hidden>
<input type="checkbox" id="with-confirmed">confirmed values</label>
</div>
<div class="plot tall" id="scatter" role="img"
 aria-label="Scatter plot of the candidates; the table below lists them"></div>
<h3 id="compare-title">Pinned candidates side by side</h3>
<div id="compare"></div>""",
        "Every point is a candidate. Point at one for its recipe; click it, or a row of the table, to pin it "
        "and compare.",
        "Front",
    )


def _trust(data: Mapping[str, Any]) -> Section:
    folder = data["folder"]
    missing = []
    if data["confirmation"] is None:
        missing.append(("Nothing is confirmed yet: fresh trainings, judged on test images, by", "confirm {}"))
    if not data["curves"]:
        missing.append(("There are no robustness curves yet:", "analyze robustness {} --pick front"))
    if not data["pictures"]:
        missing.append(("There is no image gallery yet:", "analyze gallery {} --pick knee"))
    hints = "".join(
        f'<p class="hint">{escape(said)} <code>moosearch {escape(command.format(folder))}</code></p>'
        for said, command in missing
    )
    left = "".join(
        f'<p class="hint">{escape(name)} is too large for this page; it is in the folder of plots.</p>'
        for name in data["pictures_left"]
    )
    return Section(
        "trust",
        "Can it be trusted?",
        f"""{hints}
<div id="confirmation"></div>
<div id="curves"></div>
<div id="pictures"></div>{left}""",
        "The search estimates on validation images with a cheap attack, and selects the lucky. A "
        "confirmation trains a recipe again with fresh seeds, and judges it on test images under stronger "
        "attacks.",
        "Trust",
    )


def _recipes() -> Section:
    return Section(
        "recipes",
        "Recipes and objectives",
        """<div class="controls"><div class="chips" id="dimensions" role="group" aria-label="Axes"></div>
<label class="check"><input type="checkbox" id="front-only">front only</label>
<button type="button" id="unbrush" disabled>Reset brush</button></div>
<div class="scroll" tabindex="0" role="group" aria-label="Parallel coordinates">
<div class="plot" id="parallel" role="img" aria-label="Genes and objectives, a line a candidate"></div></div>
<div id="importance"></div>
<div id="genes"></div>""",
        "Every line is a candidate; objectives are turned so that up is better. Drag along an axis to keep a "
        "range: the scatter and the table follow. A click on the axis lets go.",
        "Recipes",
    )


def _candidates() -> Section:
    return Section(
        "candidates",
        "All candidates",
        """<div class="controls">
<label>search<input type="search" id="query" autocomplete="off" placeholder="id, gene or error"></label>
<label>status<select id="status"><option value="">all</option></select></label>
<button type="button" id="csv">Download CSV</button>
<span class="soft" id="count" aria-live="polite"></span></div>
<div class="scroll" id="rows" tabindex="0" role="group" aria-label="Table of candidates"></div>
<div class="controls pager" id="pager"></div>""",
        "Click a heading to sort, a row to pin it.",
        "Candidates",
    )


def _search(cost: Mapping[str, Any]) -> Section:
    parts = [(name, duration(seconds or 0)) for name, seconds in cost["parts"].items()]
    nodes = [(host or "unknown", device, count, duration(s or 0)) for host, device, count, s in cost["nodes"]]
    return Section(
        "search",
        "How the search went",
        '<div class="two"><div><h3>Hypervolume by generation</h3><div class="plot" id="history" role="img" '
        'aria-label="Hypervolume by generation"></div></div><div><h3>What it took</h3>'
        + table(("part of the work", "time, all candidates"), parts, caption="By part of the work")
        + table(("machine", "device", "candidates", "time"), nodes, caption="By machine")
        + "</div></div>",
        short="Search",
    )


def _settings(yaml: str, environment: Mapping[str, Any]) -> Section:
    versions = environment.get("versions", {})
    rows = list(versions.items()) if isinstance(versions, Mapping) else []
    rows += [(key, environment[key]) for key in ("machine", "system") if key in environment]
    return Section(
        "settings",
        "Settings and versions",
        '<div class="two"><div><h3>campaign.yaml</h3>'
        f'<pre tabindex="0" aria-label="campaign.yaml">{escape(yaml or "cannot be read")}</pre></div>'
        f"<div><h3>Versions</h3>{table(('what', 'version'), rows)}</div></div>",
        short="Settings",
    )
