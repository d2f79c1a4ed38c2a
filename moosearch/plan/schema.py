"""The JSON Schema of search space files, for editors; a gene may stand at any leaf."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from moosearch.plan.spec import CampaignSpec, FileSpec
from moosearch.registry import Registry, default_of, field_hints, item_hint, registry_of
from moosearch.training import CandidateSpec

_NUMBER = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[0-9.eE+-]+(/[0-9]+)?$"}]}
_BOUNDS = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_INTEGERS = {"type": "array", "items": {"type": "integer"}, "minItems": 2}


def json_schema() -> dict[str, Any]:
    """Return the schema of a whole file, with what is registered now."""
    plugins: dict[str, Any] = {}
    root = _schema(FileSpec, plugins, genes=False)
    root["properties"]["campaign"] = _schema(CampaignSpec, plugins, genes=False)
    # The name may be left out: it is the file's.
    root["properties"]["campaign"].pop("required", None)
    root["properties"]["candidate"] = _schema(CandidateSpec, plugins, genes=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moosearch search space",
        **root,
        "$defs": {
            **plugins,
            "real": _gene("real", _BOUNDS),
            "log_real": _gene("log_real", _BOUNDS),
            "integer": _gene("integer", _INTEGERS | {"maxItems": 3}),
            "log_integer": _gene("log_integer", _INTEGERS | {"maxItems": 2}),
        },
    }


def _gene(tag: str, bounds: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {tag: bounds},
        "required": [tag],
        "additionalProperties": False,
    }


def _schema(hint: Any, plugins: dict[str, Any], *, genes: bool) -> dict[str, Any]:
    """Return the schema of a hint; registries are collected: a plug-in may hold its like."""
    registry, item = registry_of(hint), item_hint(hint)
    if registry is not None:
        name = f"{registry.plural}{'_with_genes' if genes else ''}"
        if name not in plugins:
            plugins[name] = {}  # found by what refers to it while it is being written
            plugins[name] = _options(registry, plugins, genes=genes)
        return {"$ref": f"#/$defs/{name}"}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _object(hint, plugins, genes=genes)
    if item is not None:
        return {"type": "array", "items": _field(item, plugins, genes=genes)}
    return TypeAdapter(hint).json_schema()


def _options(registry: Registry[Any], plugins: dict[str, Any], *, genes: bool) -> dict[str, Any]:
    options = []
    for name in registry:
        option = _object(registry.get(name), plugins, genes=genes)
        option["properties"] = {
            "name": {"const": name},
            "label": {"type": "string"},
            **option["properties"],
        }
        option["required"] = ["name", *option.get("required", [])]
        options.append(option)
    return {"anyOf": [{"enum": list(registry)}, *options]}


def _object(cls: type, plugins: dict[str, Any], *, genes: bool) -> dict[str, Any]:
    hints = field_hints(cls)
    required = [name for name in hints if default_of(cls, name) is dataclasses.MISSING]
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip().split("\n")[0],
        "properties": {name: _field(hint, plugins, genes=genes) for name, hint in hints.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _field(hint: Any, plugins: dict[str, Any], *, genes: bool) -> dict[str, Any]:
    """Return a value's schema; in a candidate, a gene may stand in its place."""
    value = _schema(hint, plugins, genes=genes)
    if not genes:
        return value
    choice = {
        "type": "object",
        "properties": {"choice": {"type": "array", "items": value, "minItems": 1}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    return {"anyOf": [value, choice, *_numeric_genes(value)]}


def _numeric_genes(value: dict[str, Any]) -> list[dict[str, str]]:
    kinds = set(_kinds(value))
    tags = []
    if "integer" in kinds:
        tags = ["integer", "log_integer"]
    elif "number" in kinds:
        tags = ["real", "log_real", "integer", "log_integer"]
    return [{"$ref": f"#/$defs/{tag}"} for tag in tags]


def _kinds(value: dict[str, Any]) -> Iterator[Any]:
    """Types that a value may have; an optional number is an ``anyOf`` in another."""
    yield value.get("type")
    for part in value.get("anyOf", []):
        yield from _kinds(part)
