"""Files of answers: their names, how they are written, and how those that take long are read again."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pydantic

from moosearch.analysis.setup import Setup
from moosearch.campaign.folder import write_atomically
from moosearch.data.cache import stamp
from moosearch.errors import CampaignError
from moosearch.evaluators.spread import spread
from moosearch.judging.record import attack_tree
from moosearch.provenance import versions

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def make_folders(setups: Sequence[Setup]) -> None:
    """Create the folders that answers go to, before work starts.

    Raises:
        CampaignError: One cannot be written.
    """
    for setup in setups:
        try:
            setup.model.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignError(f"{setup.model.folder}: cannot write here: {error.strerror}.") from None


def write_answer(
    setup: Setup,
    conditions: Mapping[str, Any],
    answer: Mapping[str, Any],
    table: pd.DataFrame,
    kind: str = "",
) -> None:
    """Write what is known so far as JSON, and a table of it beside it as CSV.

    Under the same conditions and attacks it goes to the same files, under others to other ones.

    Args:
        setup: What was questioned.
        conditions: What the answer depends on besides the attacks.
        answer: Plain data, with ``finished``: whether all attacks are in it.
        table: Its rows.
        kind: Head of the files' names.

    Raises:
        CampaignError: A file cannot be written.
    """
    given = {**conditions, "attacks": {name: attack_tree(each) for name, each in setup.attacks.items()}}
    stem = f"{kind}{setup.split}-{setup.threat.norm}-{setup.threat.eps:.4g}-{_digest(given)}"
    about = {"device": setup.images.x.device.type, "versions": versions()}
    store(setup.model.folder / f"{stem}.json", {"format": 1, **conditions, **about, **answer})
    store(setup.model.folder / f"{stem}.csv", table.to_csv(index=False))


def cached(
    work: Callable[[Item], Answer],
    items: Mapping[str, Item],
    kind: type[Answer],
    place: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Answer]:
    """Answer items, but those whose answer is in a folder; each is on disk as soon as it is there.

    Args:
        work: Answers one; see `spread` for what it may be.
        items: By name; an answer is stored as ``NAME.json``. A file that cannot be read counts as none.
        kind: What answers are, a dataclass.
        place: The folder; created.
        workers: Items at a time, on Ray; 1 for this process.
        progress: Called with how many are answered, and how many there are.

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


def store(path: Path, content: Any) -> None:
    """Write text, or plain data as JSON, whole or not at all.

    Raises:
        CampaignError: It cannot be written.
    """
    try:
        write_atomically(path, content if isinstance(content, str) else json.dumps(content, indent=1))
    except OSError as error:
        raise CampaignError(f"{path}: cannot be written: {error.strerror}.") from error


def cache_of(setup: Setup, kind: str, conditions: Sequence[Any]) -> Path:
    """Return the folder for answers that `cached` reads again, by plain data that they depend on.

    Another version of a file of the user's own images is another condition.
    """
    stamped = stamp(Path(setup.data).expanduser().resolve()) if setup.data is not None else ""
    return setup.model.folder / f"{kind}-{_digest([*conditions, stamped])}"


def _digest(conditions: Any) -> str:
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:8]
