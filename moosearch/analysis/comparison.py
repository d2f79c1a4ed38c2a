"""Campaigns that measure the same, by the side of each other: one scale, groups, and one front of all.

Campaigns whose settings differ in the seed alone form a group: runs of one thing, of which chance made
different ones. What is measured of campaigns and groups is in `moosearch.analysis.comparison_tables`.
"""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from moosearch.campaign.campaign import Campaign
from moosearch.campaign.difference import first_difference
from moosearch.campaign.header import Header
from moosearch.campaign.passwords import masked
from moosearch.errors import SpecError, nearest
from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto import Front
from moosearch.plan.recipes import without_origin
from moosearch.space.files import load
from moosearch.space.genes import TAGS

ASIDE = ("name", "seed", "storage", "evaluator", "resources", "keep", "confirmation", "limits", "trackers")
"""Keys under ``campaign:`` that do not decide what a campaign searches, or that the table has."""
TRAINED_ON = ("auxiliary", "own_tasks", "train_size", "val_size", "test_size")
"""Keys of a dataset that do not decide which images candidates are judged on, or only how many."""


@dataclass(frozen=True)
class Entry:
    """A campaign in a comparison.

    Attributes:
        name: Of its folder; as much of the path as tells it from the others.
        group: Name of its group.
        header: Its header; objectives as it has them itself.
        finished: Whether its search came to its end.
        evaluations: In the order in which the search was told of them.
        front: Its front, in the scale of the comparison.
        settings: Setting (dotted path) -> value, without what does not decide results.
    """

    name: str
    group: str
    header: Header
    finished: bool
    evaluations: tuple[Evaluation, ...]
    front: Front
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Campaigns that measure the same.

    Attributes:
        objectives: In the scale of the comparison: from the best ideal to the farthest reference point that
            any of the campaigns has.
        entries: The campaigns, in the order given.
    """

    objectives: tuple[ObjectiveInfo, ...]
    entries: tuple[Entry, ...]

    @cached_property
    def groups(self) -> dict[str, tuple[Entry, ...]]:
        """The campaigns by group, in the order given."""
        names = dict.fromkeys(entry.group for entry in self.entries)
        return {name: tuple(e for e in self.entries if e.group == name) for name in names}

    @cached_property
    def merged(self) -> Front:
        """The front of all campaigns together; ``provenance["campaign"]`` of a member names its campaign."""
        return _merged(self.entries, self.objectives)

    def merged_of(self, group: str) -> Front:
        """Return the front of the campaigns of a group together."""
        return _merged(self.groups[group], self.objectives)

    @property
    def settings(self) -> pd.DataFrame:
        """The settings that differ: a row a setting (the index), a column a campaign; as text, - for none."""
        flat = {entry.name: entry.settings for entry in self.entries}
        paths = dict.fromkeys(path for settings in flat.values() for path in settings)
        rows = {path: [_text(settings, path) for settings in flat.values()] for path in paths}
        differ = {path: row for path, row in rows.items() if len(set(row)) > 1}
        return pd.DataFrame.from_dict(differ, orient="index", columns=list(flat)).rename_axis("setting")

    @property
    def scale(self) -> str:
        """Say in which box hypervolumes and IGD+ are measured."""
        ends = [
            f"{o.key} from {o.ideal:g} to {o.reference:,.6g}"
            + (f", in boxes of {100 * o.tolerance:.4g}%" if o.tolerance else "")
            for o in self.objectives
        ]
        own = all(
            (o.ideal, o.reference) == (mine.ideal, mine.reference)
            for entry in self.entries
            for o, mine in zip(self.objectives, _ordered(entry.header, self.objectives), strict=True)
        )
        whose = "which is that of every campaign" if own else "the smallest that holds all campaigns' own"
        return f"one box for all, {whose}: {'; '.join(ends)}"


def compare(folders: Sequence[Path | str | Campaign], group_by: Sequence[str] = ()) -> Comparison:
    """Set campaigns side by side.

    Args:
        folders: Two campaigns or more.
        group_by: How they are grouped, instead of by all settings but the seed: ``algorithm``, ``space``, a
            setting such as ``campaign.budget.population``, or several of ``NAME=PATTERN``, of which each
            names the campaigns whose folder fits the pattern.

    Raises:
        CampaignError: There is no campaign in a folder.
        SpecError: Campaigns do not measure the same, one is named twice, or a group is none.
    """
    if len(folders) < 2:
        raise SpecError(f"compare: got {len(folders)} campaign, expected two or more.")
    campaigns = [folder if isinstance(folder, Campaign) else Campaign(folder) for folder in folders]
    roots = [campaign.folder.root for campaign in campaigns]
    for index, root in enumerate(roots):
        if root.resolve() in [other.resolve() for other in roots[:index]]:
            raise SpecError(f"compare: {root} is named twice.")
    trees = [_tree(campaign) for campaign in campaigns]
    headers = [campaign.header for campaign in campaigns]
    for index in range(1, len(campaigns)):
        _check_same(roots[0], headers[0], trees[0], roots[index], headers[index], trees[index])
    objectives = _common([_ordered(header, headers[0].objectives) for header in headers])
    names = _names(roots)
    settings = [_settings(tree) for tree in trees]
    groups = _groups(names, roots, settings, group_by)
    entries = []
    for index, campaign in enumerate(campaigns):
        evaluations = tuple(sorted(campaign.evaluations, key=lambda e: e.told))
        front = Front.of(evaluations, objectives)
        entries.append(
            Entry(
                names[index],
                groups[index],
                headers[index],
                campaign.finished,
                evaluations,
                front,
                settings[index],
            )
        )
    return Comparison(objectives, tuple(entries))


def _tree(campaign: Campaign) -> dict[str, Any]:
    """Return what a campaign's file says.

    Raises:
        CampaignError: It does not say what is needed here.
    """
    tree = masked(load(campaign.folder.spec).data)
    try:
        _measured(campaign.header, tree)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise campaign.folder.damaged(campaign.folder.spec, f"no campaign's file: {error}") from error
    return tree


def merge(campaigns: Sequence[Path | str | Campaign]) -> Front:
    """Return the front of several campaigns together.

    The same recipe of two campaigns is two members: they were trained with different seeds.

    Args:
        campaigns: Folders, or campaigns; two or more, which measure the same.

    Returns:
        The front; ``provenance["campaign"]`` of a member names its campaign.

    Raises:
        CampaignError: There is no campaign in a folder.
        SpecError: The campaigns do not measure the same.
    """
    return compare(campaigns).merged


def front_table(front: Front) -> pd.DataFrame:
    """Return a merged front as a frame: a row a member, with its campaign, objectives and genes."""
    table = front.to_frame()
    table.insert(min(1, table.shape[1]), "campaign", [str(e.provenance["campaign"]) for e in front])
    return table


def _merged(entries: Sequence[Entry], objectives: Sequence[ObjectiveInfo]) -> Front:
    members = [
        replace(e, provenance={**e.provenance, "campaign": entry.name})
        for entry in entries
        for e in entry.front
    ]
    return Front.of(members, objectives)


def _ordered(header: Header, objectives: Sequence[ObjectiveInfo]) -> list[ObjectiveInfo]:
    """Return a campaign's objectives in the order of others."""
    mine = {info.key: info for info in header.objectives}
    return [mine[info.key] for info in objectives]


def _common(all_of_them: Sequence[Sequence[ObjectiveInfo]]) -> tuple[ObjectiveInfo, ...]:
    """Return objectives whose box holds those of all campaigns, with the widest tolerance of any."""
    found = []
    for same in zip(*all_of_them, strict=True):
        best, worst = (max, min) if same[0].sense == "maximize" else (min, max)
        ideal, reference = best(o.ideal for o in same), worst(o.reference for o in same)
        tolerance = max(o.tolerance for o in same)
        found.append(replace(same[0], ideal=ideal, reference=reference, tolerance=tolerance))
    return tuple(found)


def _check_same(
    root: Path,
    header: Header,
    tree: Mapping[str, Any],
    other: Path,
    other_header: Header,
    other_tree: Mapping[str, Any],
) -> None:
    """Check that two campaigns measure the same."""
    mine, theirs = (_measured(h, t) for h, t in ((header, tree), (other_header, other_tree)))
    only = sorted(mine["objectives"].keys() ^ theirs["objectives"].keys())
    if only:
        holder = root if only[0] in mine["objectives"] else other
        raise SpecError(
            f"compare: {other} does not measure the same as {root}: only {holder} has the objective "
            f"'{only[0]}'."
        )
    change = first_difference(*_shared(mine, theirs))
    if change:
        raise SpecError(f"compare: {other} does not measure the same as {root}: {change}.")


def _measured(header: Header, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the meaning of a campaign's numbers: objectives by key, and the dataset.

    A tolerance is no part of it: it decides who dominates whom.
    """
    specs = tree["campaign"]["objectives"]
    objectives = {
        info.key: {"sense": info.sense, "unit": info.unit, **spec, "tolerance": None}
        for info, spec in zip(header.objectives, specs, strict=True)
    }
    dataset = tree["candidate"].get("dataset", {})
    judged = {key: value for key, value in dataset.items() if key not in TRAINED_ON}
    return {"objectives": objectives, "dataset": judged}


def _shared(one: Any, other: Any) -> tuple[Any, Any]:
    """Return two trees without keys that only one has: an older version did not write them."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = {key: _shared(one[key], other[key]) for key in one if key in other}
        return {key: pair[0] for key, pair in pairs.items()}, {key: pair[1] for key, pair in pairs.items()}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        elements = [_shared(*pair) for pair in zip(one, other, strict=True)]
        return [pair[0] for pair in elements], [pair[1] for pair in elements]
    return one, other


def _names(roots: Sequence[Path]) -> list[str]:
    """Name folders by the last parts of their paths, as many as tell them apart."""
    resolved = [root.resolve() for root in roots]
    for length in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-length:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("folders differ")


def _settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a campaign's results, by dotted path."""
    campaign = {key: value for key, value in tree["campaign"].items() if key not in (*ASIDE, "initial")}
    flat = _flat({"campaign": campaign, "candidate": tree["candidate"]})
    recipes = [without_origin(recipe) for recipe in tree["campaign"].get("initial") or ()]
    return flat | ({"campaign.initial": recipes} if recipes else {})  # older versions know of none


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if isinstance(node, Mapping) and node:
        pairs: Any = node.items()
    elif isinstance(node, list) and any(isinstance(element, Mapping) for element in node):
        # Options of a choice and attacks go by their names, so that another one more shifts nothing.
        names = [e.get("name", i) if isinstance(e, Mapping) else e for i, e in enumerate(node)]
        pairs = zip(names if len(set(names)) == len(names) else range(len(node)), node, strict=True)
    else:
        return {path: node}
    return {
        name: value
        for key, child in pairs
        for name, value in _flat(child, f"{path}.{key}" if path else str(key)).items()
    }


def _text(settings: Mapping[str, Any], path: str) -> str:
    if path not in settings:
        return "-"
    value = settings[path]
    return value if isinstance(value, str) else json.dumps(value)


def _groups(
    names: Sequence[str], roots: Sequence[Path], settings: Sequence[Mapping[str, Any]], rules: Sequence[str]
) -> list[str]:
    """Return the name of every campaign's group."""
    if any("=" in rule for rule in rules):
        return _matched(roots, rules)
    if len(rules) > 1:
        raise SpecError(f"--group-by: got {len(rules)} rules, expected one, or several of NAME=PATTERN.")
    if not rules:
        own = [{k: v for k, v in s.items() if not k.startswith("campaign.reference_point")} for s in settings]
        return _named(names, own)
    (rule,) = rules
    if rule == "space":
        spaces = [{k: v for k, v in each.items() if k.startswith("candidate")} for each in settings]
        return _named(names, spaces)
    path = "campaign.algorithm.name" if rule == "algorithm" else rule
    known = {path for each in settings for path in each}
    if path not in known:
        raise SpecError(f"--group-by: no setting is called '{path}'. {_near(path, known)}")
    return [_text(each, path) for each in settings]


def _near(path: str, known: set[str]) -> str:
    """Name the nearest setting; there are too many to list them all."""
    guess = nearest(path, {*known, "algorithm", "space"})
    told = f"{guess.partition('?')[0]}? " if guess.startswith("Did you mean") else ""
    return f"{told}Expected algorithm, space, a setting, or NAME=PATTERN for each group."


def _matched(roots: Sequence[Path], rules: Sequence[str]) -> list[str]:
    patterns = []
    for rule in rules:
        name, equals, pattern = rule.partition("=")
        if not equals or not name.strip() or not pattern:
            raise SpecError(f"--group-by: got '{rule}', expected NAME=PATTERN, as the others are.")
        patterns.append((name.strip(), pattern))
    groups = []
    for root in roots:
        fitting = [
            name
            for name, pattern in patterns
            if any(fnmatch.fnmatch(text, pattern.rstrip("/")) for text in (str(root), root.resolve().name))
        ]
        if len(set(fitting)) != 1:
            many = "no pattern" if not fitting else "several patterns"
            raise SpecError(f"--group-by: {root} fits {many} of {', '.join(rules)}; expected exactly one.")
        groups.append(fitting[0])
    return groups


def _named(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Group what is equal; name groups by what differs, or by their first campaign."""
    keys = [json.dumps(each, sort_keys=True) for each in settings]
    first = {key: keys.index(key) for key in reversed(keys)}
    if len(first) == len(keys):  # each is on its own
        return list(names)
    distinct = [settings[index] for index in sorted(first.values())]
    shared = [path for path in distinct[0] if all(path in each for each in distinct)]
    differ = [path for path in shared if len({_text(each, path) for each in distinct}) > 1]
    told = {key: ", ".join(_short(path, settings[index]) for path in differ) for key, index in first.items()}
    clear = differ and len(differ) <= 2 and max(map(len, told.values())) <= 40
    if clear and len(set(told.values())) == len(told):
        return [told[key] for key in keys]
    return [f"like {names[first[key]]}" if keys.count(key) > 1 else names[first[key]] for key in keys]


def _short(path: str, settings: Mapping[str, Any]) -> str:
    """Return a setting for the name of a group: ``lr=[0.01, 0.3]`` of ``...lr.log_real``."""
    if path == "campaign.algorithm.name":
        return _text(settings, path)
    keys = [key for key in path.split(".") if key not in TAGS]
    return f"{keys[-1]}={_text(settings, path)}"
