"""What can be named in a search space file, as plain data: `moosearch list` shows it without importing torch.

Plug-ins say themselves what they are, and most of their modules need torch, which takes seconds to import. So
what is shipped is written down in ``catalog.json``. A test compares that file with the registries;
``python -m moosearch.plan.catalog`` writes it again.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from moosearch.errors import Place

FILE = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True)
class Entry:
    """A plug-in.

    Attributes:
        name: Its name in a search space file.
        summary: What it is, in a line.
        parameters: ``name: default`` of each parameter.
    """

    name: str
    summary: str
    parameters: tuple[str, ...]


Catalog = dict[str, list[Entry]]
"""Plug-ins by their kind, in the plural."""


def read() -> Catalog:
    """Return the shipped plug-ins as they were written down."""
    trees = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        kind: [Entry(tree["name"], tree["summary"], tuple(tree["parameters"])) for tree in entries]
        for kind, entries in trees.items()
    }


def registered(imports: Iterable[str] = (), place: Place | None = None) -> Catalog:
    """Return what is registered now.

    Args:
        imports: Modules that register plug-ins, to be imported first.
        place: Where they are named, for messages.

    Raises:
        SpecError: A module cannot be imported.
    """
    from moosearch.plan.reading import import_plugins
    from moosearch.plan.spec import REGISTRIES
    from moosearch.registry import describe

    import_plugins(list(imports), place or Place())
    return {
        kind: [
            Entry(
                name,
                (registry.get(name).__doc__ or "").strip().split("\n")[0],
                tuple(describe(registry.get(name)).splitlines()),
            )
            for name in registry
        ]
        for kind, registry in REGISTRIES.items()
    }


def text(catalog: Catalog) -> str:
    """Write a catalog as JSON with a line a plug-in, so that changes can be read."""
    kinds = []
    for kind, entries in catalog.items():
        lines = ",\n".join(f"  {json.dumps(asdict(entry), ensure_ascii=False)}" for entry in entries)
        kinds.append(f"{json.dumps(kind)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(registered()), encoding="utf-8")
