"""Search space files: YAML with line numbers, numbers as people write them, and ``--set`` overrides."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moosearch.errors import Place, SpecError


class _Loader(yaml.SafeLoader):
    """Safe loading; ``1e-3`` and ``2e6`` are numbers, as in YAML 1.2, and only true/false are booleans."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":float", ":bool"))]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data, and the place of its root."""

    data: dict[str, Any]
    place: Place


def parse(text: str, file: str = "") -> Document:
    """Parse the text of a search space file.

    Args:
        text: YAML with a mapping at its root.
        file: The name that messages use.

    Raises:
        SpecError: Not YAML, not a mapping, or a key occurs twice.
    """
    lines: dict[tuple[Any, ...], int | str] = {}
    place = Place(file, lines)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = _construct(loader, node, (), lines, place) if node is not None else None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        lines[()] = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error) or "nested too deeply"
        raise place.error(f"this is not YAML: {problem}.") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise place.error("expected a mapping with `campaign:` and `candidate:`.")
    return Document(data, place)


def _construct(
    loader: _Loader, node: yaml.Node, path: tuple[Any, ...], lines: dict[Any, Any], place: Place
) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            key = key if isinstance(key, str) else str(key_node.value)
            lines[(*path, key)] = key_node.start_mark.line + 1
            if key in mapping:
                here = Place(place.file, lines, (*path, key), tuple(map(str, (*path, key))))
                raise here.error("this key occurs twice.")
            mapping[key] = _construct(loader, value_node, (*path, key), lines, place)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, n, (*path, i), lines, place) for i, n in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def load(path: Path | str) -> Document:
    """Read a search space file.

    Raises:
        SpecError: It cannot be read or parsed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SpecError(f"{path}: cannot read the search space file: {reason}.") from None
    return parse(text, str(path))


def override(document: Document, assignments: Sequence[str]) -> Document:
    """Apply assignments such as ``campaign.budget.population=8`` to a document.

    Values are YAML, so ``candidate.training.loss={choice: [trades, cross_entropy]}`` puts a gene there. A
    key that meets a choice enters the option of that label, and a number enters a list.

    Raises:
        SpecError: An assignment has no ``=``, or its path leads through something that has no keys.
    """
    data = document.data
    lines = dict(document.place.lines)
    for assignment in assignments:
        origin = f"--set {assignment}"
        dotted, equals, text = assignment.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise SpecError(f"{origin}: expected PATH=VALUE, such as campaign.seed=1.")
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise SpecError(f"{origin}: the value is not YAML: {error}") from None
        data, raw = _assign(data, keys, value, (), origin)
        lines = {path: line for path, line in lines.items() if path[: len(raw)] != raw}
        lines[raw] = origin
    return Document(data, Place(document.place.file, lines))


def _assign(
    node: Any, keys: Sequence[str], value: Any, raw: tuple[Any, ...], origin: str
) -> tuple[Any, tuple[Any, ...]]:
    """Return a copy of ``node`` with ``value`` at ``keys``, and the raw path to it."""
    if not keys:
        return value, raw
    key, rest = keys[0], keys[1:]
    if isinstance(node, str):  # the short form of a plug-in without parameters
        node = {"name": node}
    if isinstance(node, dict) and set(node) == {"choice"} and isinstance(node["choice"], list):
        labels = [option_label(option) for option in node["choice"]]
        if key in labels:
            index = labels.index(key)
            new, raw = _assign(node["choice"][index], rest, value, (*raw, "choice", index), origin)
            options = [*node["choice"][:index], new, *node["choice"][index + 1 :]]
            return {"choice": options}, raw
        raise SpecError(f"{origin}: no option '{key}' here. Known: {', '.join(labels)}.")
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise SpecError(f"{origin}: '{key}' is no index of a list of {len(node)}, from 0.")
        index = int(key)
        new, raw = _assign(node[index], rest, value, (*raw, index), origin)
        return [*node[:index], new, *node[index + 1 :]], raw
    if node is not None and not isinstance(node, dict):
        raise SpecError(f"{origin}: '{key}' stands under the value {node!r}, which has no keys.")
    mapping = node or {}
    new, raw = _assign(mapping.get(key), rest, value, (*raw, key), origin)
    return mapping | {key: new}, raw


def option_label(option: Any) -> str:
    """Return the label of a choice's option: its ``label`` or ``name``, or the value as text.

    Example:
        >>> option_label({"name": "pgd", "eps": 0.1}), option_label(["odd_even", "prime_composite"])
        ('pgd', 'odd_even+prime_composite')
    """
    if isinstance(option, dict):
        return str(option.get("label", option.get("name", "option")))
    if isinstance(option, list | tuple):
        return "+".join(option_label(element) for element in option) or "none"
    return str(option)


def dump(data: Any) -> str:
    """Write plain data as YAML, keys in the given order, short lists on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: every value is written out where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
