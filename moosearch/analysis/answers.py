"""Answers that take long, each on disk as soon as it is there, and not asked for again."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from moosearch.campaign.folder import write_atomically
from moosearch.data.cache import stamp
from moosearch.errors import CampaignError, DataUnavailableError
from moosearch.evaluators.spread import spread

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def kept(
    work: Callable[[Item], Answer],
    items: Mapping[str, Item],
    kind: type[Answer],
    place: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Answer]:
    """Answer items, but those whose answer is in a folder.

    Args:
        work: Answers one; see `spread` for what it may be.
        items: By name; an answer is stored as ``NAME.json``. A file that cannot be read counts as none.
        kind: What answers are, a dataclass.
        place: The folder; created.
        workers: Items at a time, on Ray; 1 for this process.
        progress: Is told how many are answered, and how many there are.

    Returns:
        The answers, in the order of the items.

    Raises:
        CampaignError: The folder cannot be written.
    """
    adapter = pydantic.TypeAdapter(kind)
    found: dict[str, Answer] = {}
    for name in items:
        try:
            found[name] = adapter.validate_json((place / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            continue
    missing = [name for name in items if name not in found]
    progress(len(found), len(items))
    for number, answer in spread(work, [items[name] for name in missing], workers=workers):
        name = missing[number]
        store(place / f"{name}.json", adapter.dump_python(answer, mode="json"))
        found[name] = answer
        progress(len(found), len(items))
    return [found[name] for name in items]


def store(path: Path, tree: Any) -> None:
    """Write plain data as JSON, whole or not at all.

    Raises:
        CampaignError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tree, indent=1))
    except OSError as error:
        raise CampaignError(f"{path}: cannot be written: {error.strerror}.") from error


def digest(*conditions: Any, data: Path | None) -> str:
    """Return a short name for what answers depend on.

    Args:
        conditions: Plain data.
        data: The user's own images, or None; another version of the file is another condition.

    Raises:
        DataUnavailableError: There is no such file.
    """
    try:
        given = [*conditions, stamp(data.expanduser().resolve()) if data is not None else ""]
    except OSError:
        raise DataUnavailableError(f"{data}: there is no such file.") from None
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:8]
