"""A campaign as plain data for its page: columns rather than rows, numbers rounded, nothing secret.

Every function reads what is there; what cannot be read is left out, and the page says so.
"""

import base64
import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.confirmation import OVERESTIMATED, Confirmation
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.header import Header
from moosearch.campaign.passwords import masked, masked_text
from moosearch.errors import Place, SpecError
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto import Front
from moosearch.space import Choice, Gene, SearchSpace
from moosearch.space.files import dump, load
from moosearch.space.genes import choice_labels, parse_bounds, tag_of
from moosearch.text import counted, printable

STATES = ("front", "dominated", "infeasible", "failed")
"""What a candidate can be: a member of the front, completed otherwise, beyond a constraint, failed."""
DIGITS = 6
"""Significant digits of a number on the page."""
MOST_IMAGE_BYTES = 2_500_000
"""Of all pictures together; those beyond are named, not shown."""
PNG = b"\x89PNG\r\n\x1a\n"


def short(value: Any) -> Any:
    """Return a number with few digits, or None where it is none that JSON has; other things as they are.

    Example:
        >>> short(0.12345678), short(2171980.8000000003), short(math.nan), short("a")
        (0.123457, 2171981, None, 'a')
    """
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}") if abs(value) < 10**DIGITS else float(round(value))
    return int(rounded) if rounded.is_integer() else rounded


def candidates(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[ObjectiveInfo],
    genes: Mapping[str, Gene],
) -> dict[str, Any]:
    """Return all candidates, column by column; row i of every column is the same candidate.

    Args:
        evaluations: All of a campaign.
        objectives: What was optimized.
        genes: The genes of its space by path; those that it does not know are described by their values.

    Returns:
        ``id``, ``generation``, ``state`` (an index into `STATES`); ``values``, ``deviations`` and
        ``seconds`` by key; ``intervals`` by key, two columns each; ``genes``, see `gene_column`; ``errors``,
        kind and last line by row; ``front``, the rows of its members, best first in the first objective.
    """
    front = Front.of(evaluations, objectives)
    members = {e.candidate.id for e in front}
    rows = {e.candidate.id: row for row, e in enumerate(evaluations)}
    measured = [{**e.metrics, **e.objectives} for e in evaluations]
    keys = list(dict.fromkeys([o.key for o in objectives] + [key for each in measured for key in each]))
    paths = dict.fromkeys([*genes, *(path for e in evaluations for path in e.candidate.genome)])
    names = short_names(list(paths))
    return {
        "states": STATES,
        "id": [e.candidate.id for e in evaluations],
        "generation": [e.generation for e in evaluations],
        "state": [_state(e, members) for e in evaluations],
        "values": {key: _column(each.get(key) for each in measured) for key in keys},
        "deviations": _columns([e.deviations for e in evaluations]),
        "intervals": {
            key: [_column(e.intervals.get(key, (None, None))[end] for e in evaluations) for end in (0, 1)]
            for key in dict.fromkeys(key for e in evaluations for key in e.intervals)
        },
        "seconds": _columns([e.seconds for e in evaluations], digits=3),
        "genes": [
            gene_column(
                path, names[path], [e.candidate.genome.get(path) for e in evaluations], genes.get(path)
            )
            for path in paths
        ],
        "errors": {
            row: [e.failure or "error", printable(masked_text(e.reason))]
            for row, e in enumerate(evaluations)
            if e.status == "failed"
        },
        "front": [rows[e.candidate.id] for e in front],
    }


def gene_column(path: str, name: str, values: Sequence[Any], gene: Gene | None) -> dict[str, Any]:
    """Return a gene's values, None where it is not active.

    Args:
        path: Its dotted path.
        name: What it is called where the path is too long.
        values: By row.
        gene: As the space has it; None where that is not known.

    Returns:
        ``path`` and ``name``; of numbers ``low``, ``high`` (of the space, widened to what was evaluated),
        ``log`` and ``values``; of others ``labels`` as text and ``values``, indices into them.
    """
    there = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
    if numbers and not isinstance(gene, Choice) and (there or gene is not None):
        bounds = [] if gene is None else [gene.low, gene.high]
        log = gene.log if gene is not None else False
        low, high = min([*bounds, *there]), max([*bounds, *there])
        return {
            "path": path,
            "name": name,
            "low": low,
            "high": high,
            "log": log and low > 0,
            "values": _column(values),
        }
    labels = [_text(label) for label in gene.labels] if isinstance(gene, Choice) else []
    labels = list(dict.fromkeys([*labels, *map(_text, there)]))
    index = {label: number for number, label in enumerate(labels)}
    found = [None if value is None else index[_text(value)] for value in values]
    return {"path": path, "name": name, "labels": labels, "values": found}


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return for every dotted path its shortest end that no other path ends with, and that is no bare number.

    Example:
        >>> list(short_names(["a.loss", "a.loss.trades.beta", "a.loss.mart.beta", "a.input.0"]).values())
        ['loss', 'trades.beta', 'mart.beta', 'input.0']
    """
    ends: dict[str, int] = {}
    for path in paths:
        for end in _ends(path):
            ends[end] = ends.get(end, 0) + 1
    return {path: next((end for end in _ends(path) if ends[end] == 1), path) for path in paths}


def _ends(path: str) -> list[str]:
    parts = path.split(".")
    starts = range(len(parts) - 1, -1, -1)
    return [".".join(parts[start:]) for start in starts if start == 0 or not parts[start].isdigit()]


def space_genes(spec: Mapping[str, Any]) -> dict[str, Gene]:
    """Return the genes of a search space file as plain data; none where it cannot be read as one."""
    try:
        return SearchSpace(_with_genes(spec["candidate"])).genes()
    except (SpecError, LookupError, TypeError, ValueError):
        return {}


def _with_genes(node: Any) -> Any:
    """Make genes of the mappings that stand for them; the rest of a stored space is complete."""
    tag = tag_of(node)
    if tag == "choice":
        options = node["choice"]
        plain = [
            {k: v for k, v in o.items() if k != "label"} if isinstance(o, Mapping) else o for o in options
        ]
        return Choice(choice_labels(options, Place()), tuple(_with_genes(option) for option in plain))
    if tag is not None:
        return parse_bounds(node, Place())
    if isinstance(node, Mapping):
        return {key: _with_genes(value) for key, value in node.items()}
    return [_with_genes(value) for value in node] if isinstance(node, list) else node


def confirmation(campaign: Campaign) -> dict[str, Any] | None:
    """Return what a confirmation found: ``planned``, ``done``, ``keys``, and ``members`` as far as judged.

    A member has ``id``, the search's ``estimate`` by key, ``images``, ``trainings`` and ``failed``,
    ``values`` (column -> mean and standard deviation), ``standing``, ``checks`` (those that failed: name,
    trainings, explanation), ``errors``; ``suite`` has column, label and whether it is an attack of what
    the suite measured; ``overestimated`` is what is said of those that are so. None where no
    confirmation was started.
    """
    found = campaign.confirmation
    if found is None:
        return None
    members = []
    for member in found.members:
        tree = member.to_tree() if member.complete else {}
        members.append(
            {
                "id": member.estimate.candidate.id,
                "estimate": {key: short(value) for key, value in member.estimate.objectives.items()},
                "images": tree.get("images", 0),
                "trainings": len(member.complete),
                "failed": len(member.failed),
                "values": {
                    key: [short(spread["mean"]), short(spread["std"])]
                    for key, spread in tree.get("values", {}).items()
                },
                "threats": [[each["norm"], each["eps"]] for each in tree.get("threats", [])],
                "standing": _rounded(tree.get("standing")),
                "checks": [
                    [name, check["trainings"], printable(check["explanation"])]
                    for name, check in tree.get("failed_checks", {}).items()
                ],
                "errors": [printable(masked_text(training.reason)) for training in member.failed],
            }
        )
    return {
        "planned": found.planned,
        "done": found.done,
        "failed": found.failed,
        "overestimated": OVERESTIMATED,
        "keys": list(found.confirmed),
        "suite": [
            [m.column, m.label, m.kind == "attack"]
            for m in found.measured
            if m.kind not in ("objective", "as_searched")
        ],
        "members": members,
    }


def curves(path: Path) -> list[dict[str, Any]]:
    """Read curves of robust accuracy as `moosearch analyze robustness` writes them; none if there are none.

    Returns:
        A curve a candidate and kind: ``candidate``, ``curve`` (``eps`` or ``steps``), ``said`` (attack, norm,
        images), ``x``, ``accuracy``, ``low``, ``high``.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                kind = row["curve"]
                at, accuracy, low, high = (
                    short(float(row[key])) for key in (kind, "accuracy", "low", "high")
                )
                said = (
                    f"{row['attack']}, {row['norm']}, {counted(int(row['images']), 'image')} of "
                    f"{row['images_of']}"
                )
                empty = {"candidate": row["candidate"], "curve": kind, "said": printable(said)}
                curve = found.setdefault(
                    (row["candidate"], kind),
                    {**empty, "eps": None, "x": [], "accuracy": [], "low": [], "high": []},
                )
                if kind == "steps":
                    curve["eps"] = short(float(row["eps"]))
                for name, value in (("x", at), ("accuracy", accuracy), ("low", low), ("high", high)):
                    curve[name].append(value)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return list(found.values())


def importance(
    evaluations: Sequence[Evaluation], header: Header, confirmation: Confirmation | None = None
) -> dict[str, Any] | None:
    """Return how much each gene matters for each objective; None where too little is known to compute it.

    Returns:
        ``genes``, a row each: path, the option under which it exists, importance by objective (None where
        there is none); ``believed`` by objective; ``findings``, what can be told from noise, in sentences;
        ``notes``.
    """
    from moosearch.analysis.gene_findings import gene_findings
    from moosearch.analysis.importance import FEWEST, gene_importances

    if 2 * sum(e.status == "complete" for e in evaluations) < FEWEST:
        return None
    tree = gene_importances(evaluations, header.objectives, header.seed).to_tree()
    keys = [o.key for o in header.objectives]
    genes = [[row["gene"], row["within"], *(_few(row[key], 3) for key in keys)] for row in tree["genes"]]
    return {
        "genes": genes,
        "believed": [row["believed"] for row in tree["trust"]],
        "findings": list(gene_findings(evaluations, header, confirmation, header.seed).lines),
        "notes": tree["notes"],
    }


def pictures(folder: Path, most: int = MOST_IMAGE_BYTES) -> tuple[list[dict[str, str]], list[str]]:
    """Read the galleries that `moosearch analyze gallery` drew.

    Args:
        folder: Of the campaign's plots.
        most: Bytes of all together.

    Returns:
        ``candidate`` and ``source``, a data URI, of each; and the names of those that are too large.
    """
    found, left = [], []
    for path in sorted(folder.glob("gallery-*.png")):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if not content.startswith(PNG):
            continue
        if len(content) > most:
            left.append(path.name)
            continue
        most -= len(content)
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        found.append({"candidate": path.stem.removeprefix("gallery-"), "source": source})
    return found, left


def settings(folder: CampaignFolder) -> tuple[dict[str, Any], str]:
    """Return the campaign's search space file without passwords, as a tree and as YAML; empty if damaged."""
    try:
        tree = masked(load(folder.spec).data)
    except SpecError:
        return {}, ""
    return tree, dump(tree).removesuffix("...\n")


def environment(folder: CampaignFolder) -> dict[str, Any]:
    """Return ``versions``, ``machine`` and ``system`` that the campaign was started with, as far as known."""
    try:
        stored = json.loads(folder.environment.read_text(encoding="utf-8"))
        return {key: stored[key] for key in ("versions", "machine", "system") if key in stored}
    except (OSError, ValueError, TypeError):
        return {}


def costs(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return what a campaign took: ``parts``, seconds by part of the work, and a row a machine.

    Returns:
        ``parts``: name -> seconds over all candidates; ``nodes``: name, device, candidates, seconds.
    """
    parts: dict[str, float] = {}
    nodes: dict[tuple[str, str], list[float]] = {}
    for e in evaluations:
        for part, seconds in e.seconds.items():
            parts[part] = parts.get(part, 0.0) + seconds
        fault = e.provenance.get("fault")
        device = _text(e.provenance.get("device", "")) + (f", plain float32: {_text(fault)}" if fault else "")
        where = (_text(e.provenance.get("host", "")), device)
        row = nodes.setdefault(where, [0, 0.0])
        row[0] += 1
        row[1] += e.seconds.get("total", 0.0)
    return {
        "parts": {name: short(round(seconds, 1)) for name, seconds in parts.items()},
        "nodes": [
            [*where, int(count), short(round(seconds, 1))] for where, (count, seconds) in nodes.items()
        ],
    }


def _state(evaluation: Evaluation, members: set[str]) -> int:
    if evaluation.status == "failed":
        return STATES.index("failed")
    if evaluation.candidate.id in members:
        return STATES.index("front")
    return STATES.index("dominated" if evaluation.feasible else "infeasible")


def _column(values: Iterable[Any]) -> list[Any]:
    return [short(value) for value in values]


def _columns(rows: Sequence[Mapping[str, float]], digits: int = DIGITS) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: _column(_few(row.get(key), digits) for row in rows) for key in keys}


def _few(value: float | None, digits: int) -> float | None:
    return value if value is None else float(f"{value:.{digits}g}")


def _rounded(tree: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if tree is None else {key: short(value) for key, value in tree.items()}


def _text(value: Any) -> str:
    """Write a label or name as text that can be shown; None as nothing."""
    return "" if value is None else printable(str(value).lower() if isinstance(value, bool) else str(value))
