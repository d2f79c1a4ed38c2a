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
_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(*_FLOAT)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


CAMPAIGN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What a campaign may be called; without a name of its own it is called like its file."""


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
    try:
        data = _read(text, lines)
    except _YamlError as error:
        lines[error.path] = error.line
        raise Place(file, lines, error.path, tuple(map(str, error.path))).error(f"{error}.") from None
    if not isinstance(data, dict):
        raise place.error("expected a mapping with `campaign:` and `candidate:`.")
    return Document(data, place)


class _YamlError(Exception):
    def __init__(self, problem: str, line: int, path: tuple[Any, ...] = ()) -> None:
        super().__init__(" ".join(problem.split()))
        self.line = line
        self.path = path


def _read(text: str, lines: dict[tuple[Any, ...], int | str]) -> Any:
    """Read YAML text; ``lines`` takes the line of every path."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, (), lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise _YamlError(f"this is not YAML: {error.problem}", line) from None
    except yaml.YAMLError as error:  # characters that no YAML text contains
        raise _YamlError(f"this is not YAML: {getattr(error, 'reason', 'not well-formed')}", 1) from None
    except RecursionError:
        raise _YamlError("this is not YAML: nested too deeply", 1) from None


def _construct(
    loader: _Loader,
    node: yaml.Node,
    path: tuple[Any, ...],
    lines: dict[tuple[Any, ...], int | str],
) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.MappingNode):
        own: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                inherited |= _merged(loader, value_node, path, lines)
                continue
            key = str(_value(loader, key_node)) if key_node.tag.endswith(":str") else str(key_node.value)
            if key in own:
                raise _YamlError("this key occurs twice", key_node.start_mark.line + 1, (*path, key))
            own[key] = _construct(loader, value_node, (*path, key), lines)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return inherited | own
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, n, (*path, i), lines) for i, n in enumerate(node.value)]
    return _value(loader, node)


def _merged(loader: _Loader, node: yaml.Node, path: tuple[Any, ...], lines: dict[Any, Any]) -> dict[str, Any]:
    """Return what a merge key ``<<`` brings; of several mappings the first wins."""
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Any] = {}
    for part in parts:
        value = _construct(loader, part, path, lines)
        if not isinstance(value, dict):
            raise _YamlError("`<<` merges mappings alone", node.start_mark.line + 1)
        merged = value | merged
    return merged


def _value(loader: _Loader, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, AttributeError, TypeError):
        kind = node.tag.rpartition(":")[2]
        problem = f"this is not YAML: {str(node.value)[:50]!r} is no {kind}"
        raise _YamlError(problem, node.start_mark.line + 1) from None


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


def read_value(text: str, origin: str) -> Any:
    """Read the YAML of a single value.

    Raises:
        SpecError: It is not YAML; the message begins with ``origin``.
    """
    try:
        return _read(text, {})
    except _YamlError as error:
        raise SpecError(f"{origin}: {error}.") from None


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
        value = read_value(text, origin)
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
        if not key.isdecimal() or int(key) >= len(node):
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
    """Write plain data as YAML, keys in the given order, short lists on one line.

    The last line is YAML's end of a document, by which `is_whole` knows that nothing was cut off.
    """
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, explicit_end=True
    )


def is_whole(path: Path) -> bool:
    """Whether a file is there and ends as `dump` ends one."""
    try:
        return path.read_bytes().rstrip().endswith(b"\n...")
    except OSError:
        return False


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: every value is written out where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(*_FLOAT)
