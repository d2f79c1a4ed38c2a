"""The page of a comparison: one HTML file of what `moosearch compare` prints and draws."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from moosearch.analysis.comparison_tables import SHARES, Measured, bands, natural
from moosearch.campaign.tables import plain
from moosearch.evaluation import ObjectiveInfo
from moosearch.pareto.attainment import staircase
from moosearch.pareto.dominance import Array
from moosearch.report.page import Section, document, escape, table
from moosearch.report.plots.style import axis_label
from moosearch.text import counted

MARGIN = 0.02
"""How far staircases are drawn beyond the worst loss of any front."""


def comparison_page(measured: Measured) -> str:
    """Return a comparison as a page that needs no network.

    Args:
        measured: The comparison.
    """
    comparison = measured.comparison
    names = [entry.name for entry in comparison.entries]
    title = f"Comparison of {counted(len(names), 'campaign')}"
    several = len(comparison.objectives) > 1 and len(comparison.merged) > 0
    attained = several and any(len(entries) > 1 for entries in comparison.groups.values())
    sections = [
        _summary(measured),
        *([_fronts()] if several else []),
        _history(),
        *([_attainment()] if attained else []),
        _differences(measured),
        _settings(measured),
        _merged(measured),
    ]
    return document(title, sections, _data(measured), ["comparison.js"])


def _summary(measured: Measured) -> Section:
    heads = {"merged": "of the front of all"}
    tables = [_frame(measured.campaigns, heads, caption="Campaigns")]
    if len(measured.comparison.groups) < len(measured.comparison.entries):
        tables.append(_groups(measured))
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured.notes)
    body = f"{''.join(tables)}<h3>What the numbers mean</h3><ul>{notes}</ul>"
    lead = "Larger hypervolume is better, smaller IGD+ is better; both are measured in one scale."
    return Section("summary", "Campaigns", body, lead)


def _groups(measured: Measured) -> str:
    rows = []
    for row in measured.groups.to_dict("records"):
        metrics = [
            f"{row[name]:.4f} ({row[f'{name}_q25']:.4f}-{row[f'{name}_q75']:.4f})"
            for name in measured.metrics
        ]
        share = _share(row["share"])
        rows.append([row["group"], row["campaigns"], *metrics, row["front"], row["front_hypervolume"], share])
    names = [_spaced(name) for name in measured.metrics]
    columns = ["group", "campaigns", *names, "front of the group", "its hypervolume", "share"]
    return table(columns, rows, caption="Groups: median (quartiles) of their campaigns")


def _fronts() -> Section:
    body = """<div class="controls">
<label>across<select id="front-x"></select></label>
<label>up<select id="front-y"></select></label>
<label class="check"><input type="checkbox" id="front-merged">front of all only</label></div>
<div class="plot tall" id="fronts" role="img" aria-label="Fronts of all campaigns"></div>"""
    lead = "Every campaign's front; members of the front of all together have a ring. Hover for the recipe."
    return Section("fronts-section", "Fronts over each other", body, lead, "Fronts")


def _history() -> Section:
    body = '<div class="plot tall" id="history" role="img" aria-label="Hypervolume by evaluations"></div>'
    lead = "Campaigns thin, the median of a group thick, its quartiles shaded."
    return Section("history-section", "Hypervolume by evaluations", body, lead, "Hypervolume")


def _attainment() -> Section:
    body = """<div class="controls">
<label>objectives<select id="attainment-pair" style="max-width: 100%"></select></label></div>
<div class="plot tall" id="attainment" role="img" aria-label="Attainment surfaces"></div>"""
    lead = (
        "What half of a group's campaigns attain (thick), and what a quarter to three quarters of them do "
        "(shaded): how much chance decides."
    )
    return Section("attainment-section", "Attainment surfaces", body, lead, "Attainment")


def _differences(measured: Measured) -> Section:
    coverage = measured.coverage
    groups = [str(name) for name in coverage.columns]
    rows = [[name, *map(_share, coverage.loc[name])] for name in groups]
    parts = []
    if measured.tests["p"].notna().any():
        heads = {"p_holm": "p, Holm", "least_p": "smallest p possible", "effect": "effect A12"}
        parts.append(_frame(measured.tests, heads, caption="Tests"))
    if len(groups) > 1:
        caption = "Coverage: share of the column's front that the row's is at least as good as"
        parts.append(table(["", *groups], rows, caption=caption))
    body = "".join(parts) or "<p>There is one group.</p>"
    lead = "What was tested, and what was not, is said above."
    return Section("differences", "Differences between groups", body, lead, "Differences")


def _settings(measured: Measured) -> Section:
    settings = measured.comparison.settings
    rows = [[str(path), *row] for path, row in zip(settings.index, settings.to_numpy().tolist(), strict=True)]
    body = (
        table(["setting", *map(str, settings.columns)], rows)
        if rows
        else "<p>None: the campaigns differ in the seed alone.</p>"
    )
    return Section("settings", "Settings that differ", body, short="Settings")


def _merged(measured: Measured) -> Section:
    merged = measured.comparison.merged
    keys = [o.key for o in merged.objectives]
    rows = [
        [e.candidate.id, str(e.provenance["campaign"]), *(e.objectives[key] for key in keys), _recipe(e)]
        for e in merged
    ]
    style = "<style>#merged table { min-width: 900px; }</style>"  # recipes are long: a phone scrolls
    body = style + table(["id", "campaign", *keys, "genes"], rows)
    lead = f"{counted(len(merged), 'member')}, hypervolume {merged.hypervolume():.4f}."
    return Section("merged", "The front of all", body, lead)


def _data(measured: Measured) -> dict[str, Any]:
    comparison = measured.comparison
    keys = [o.key for o in comparison.objectives]
    on_merged = {(e.provenance["campaign"], e.candidate.id) for e in comparison.merged}
    return {
        "objectives": [
            {"key": o.key, "label": axis_label(o), "sense": o.sense, "cost": o.unit != "fraction"}
            for o in comparison.objectives
        ],
        "groups": {name: [entry.name for entry in group] for name, group in comparison.groups.items()},
        "fronts": [
            {
                "campaign": entry.name,
                "group": entry.group,
                "ids": [e.candidate.id for e in entry.front],
                "values": {key: [e.objectives[key] for e in entry.front] for key in keys},
                "recipes": [_recipe(e) for e in entry.front],
                "merged": [(entry.name, e.candidate.id) in on_merged for e in entry.front],
            }
            for entry in comparison.entries
        ],
        "histories": {name: _rounded(values) for name, values in measured.histories.items()},
        "bands": {
            name: [_rounded(line) for line in bands([measured.histories[entry.name] for entry in group])]
            for name, group in comparison.groups.items()
            if len(group) > 1
        },
        "attainment": [
            {"x": x.key, "y": y.key, "groups": _surfaces(measured, x, y)}
            for x, y in map(_oriented, itertools.combinations(comparison.objectives, 2))
        ]
        if len(comparison.merged)
        else [],
    }


def _oriented(pair: tuple[ObjectiveInfo, ObjectiveInfo]) -> tuple[ObjectiveInfo, ObjectiveInfo]:
    """Put a cost across: the eye reads "what do I get for it"."""
    first, second = pair
    return (second, first) if second.sense == "minimize" else (first, second)


def _surfaces(measured: Measured, x: ObjectiveInfo, y: ObjectiveInfo) -> dict[str, list[list[list[float]]]]:
    """Return the lines of every group, by share of its campaigns: coordinates across, and up."""
    found = measured.attainment(x, y)
    points = [surface for surfaces in found.values() for surface in surfaces.values() if len(surface)]
    if not points:
        return {}
    worst = np.concatenate(points).max(axis=0) + MARGIN
    return {
        name: [natural(staircase(surfaces[share], worst), [x, y]).T.tolist() for share in SHARES]
        for name, surfaces in found.items()
    }


def _recipe(evaluation: Any) -> str:
    genome = evaluation.candidate.genome
    return ", ".join(f"{path.split('.')[-1]}={value}" for path, value in genome.items())


def _rounded(values: Array) -> list[float]:
    return [round(float(value), 6) for value in values]


def _spaced(name: str) -> str:
    return "IGD+" if name == "igd_plus" else name.replace("_", " ")


def _share(value: Any) -> str:
    return "-" if plain(value) is None else f"{value:.0%}"


def _frame(frame: Any, heads: Mapping[str, str], *, caption: str) -> str:
    """Write a frame as a table; what is not known is a dash."""
    columns = [heads.get(str(name), _spaced(str(name))) for name in frame.columns]
    rows = [
        [
            _share(value) if name == "share" else "-" if plain(value) is None else plain(value)
            for name, value in row.items()
        ]
        for row in frame.to_dict("records")
    ]
    return table(columns, rows, caption=caption)
