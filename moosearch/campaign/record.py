"""What a campaign's log says: the header, every evaluation, who was asked for, what is worked on.

It is a fold over the log's lines, and goes on where it ended as the log grows. Of an evaluation it keeps
what the status and the front need; the whole of it is read from its line when somebody asks for it.
"""

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from moosearch.campaign.folder import DamagedError, is_id
from moosearch.campaign.header import Header
from moosearch.campaign.log import LogReader
from moosearch.campaign.now import parse
from moosearch.campaign.order import Ask
from moosearch.errors import CampaignError
from moosearch.evaluation import Evaluation

FORMAT = 2
"""Version of what a log says; raised when its meaning changes. Logs before 2 have neither header nor digests,
and their campaigns are read from their study."""

_HEARD = (
    *("evaluated", "created", "extended", "asked", "generation_started", "started"),
    *("confirmation_started", "finished", "confirmation_planned"),
)
_OURS = re.compile(rf'\{{"time": "[^"]*", "event": "(?:{"|".join(_HEARD)})"'.encode())
_EVALUATED = re.compile(
    rb'\{"time": "[^"]*", "event": "evaluated", "candidate": \{"id": "([0-9a-f]{12})", "genome"'
)
_REST = b'}, "status": "'
_EVALUATION = TypeAdapter(Evaluation)


class Entry:
    """What the status and the front need of an evaluation.

    Attributes:
        id: The candidate's id.
        generation: The generation that asked for it.
        index: Its position in that generation.
        status: Of the evaluation.
        feasible: Whether it completed and keeps every constraint.
        objectives: Objective key -> value.
        host: Where it was evaluated; empty where nobody knows.
        failure: What kind of failure it was.
        attempts: How often it was tried.
        reason: The last line of its error.
        start: Where its line begins in the log; -1 where it stands in none.
    """

    __slots__ = (
        *("id", "generation", "index", "status", "feasible", "objectives"),
        *("host", "failure", "attempts", "reason", "start"),
    )

    def __init__(self, tree: Mapping[str, Any], start: int) -> None:
        """Take an evaluation as a tree."""
        self.id = str(tree["candidate"]["id"])
        self.generation = int(tree.get("generation", 0))
        self.index = int(tree.get("index", 0))
        self.status = sys.intern(tree["status"])
        self.feasible = self.status == "complete" and all(v <= 0 for v in tree["violations"].values())
        self.objectives = {sys.intern(key): value for key, value in tree["objectives"].items()}
        host = tree["provenance"].get("host")
        self.host = sys.intern(host) if isinstance(host, str) else ""
        self.failure = sys.intern(tree.get("failure", ""))
        self.attempts = int(tree.get("attempts", 1))
        self.reason = "" if self.status == "complete" else tree.get("error", "").strip().rpartition("\n")[2]
        self.start = start


class Record:
    """What is known of a campaign, read from its log.

    Attributes:
        path: The log.
        header: What the campaign says of itself; None where the log does not say it: it is of an older
            version, or was lost.
        description: What the campaign is: its ``spec``, as it was extended last, and its ``environment``;
            empty where that is unknown.
        finished: Whether the search came to its end.
        entries: Everything evaluated, by candidate id, in the order of storing.
        asks: Of a steady-state search: who was asked for, by candidate id.
        confirmation: The plan of the confirmation that was begun last; empty where there is none.
        is_followed: Whether the log says everything, so that what comes is read from it.
        beginnings: How often it was read from its beginning: again where another file is in its place.
    """

    def __init__(self, path: Path) -> None:
        """Name a log; `refresh` reads it."""
        self.path = path
        self.is_followed = True
        self.beginnings = 0
        self._forget()

    def _forget(self) -> None:
        self.beginnings += 1
        self._reader = LogReader(self.path)
        self._whole: dict[str, Evaluation] = {}
        self._order: list[Entry] | None = None
        self._searching = False
        self._begun: tuple[int, list[str]] = (0, [])
        self.header: Header | None = None
        self.description: dict[str, Any] = {}
        self.finished = False
        self.entries: dict[str, Entry] = {}
        self.asks: dict[str, Ask] = {}
        self.confirmation: dict[str, Any] = {}

    @classmethod
    def of(cls, path: Path) -> "Record":
        """Read a log.

        Raises:
            CampaignError: It is damaged, or of a newer version.
        """
        return cls(path).refresh()

    def refresh(self) -> "Record":
        """Read what the log says by now, from where it was read to.

        Raises:
            CampaignError: It is damaged, or of a newer version.
        """
        if self._reader.changed():
            self._forget()
            self._reader.changed()
        reader, hear, ours = self._reader, self._hear, _OURS.match
        for start, line in reader.lines():
            if not reader.is_sealed or ours(line):
                hear(start, line)
        return self

    @classmethod
    def made_of(
        cls,
        path: Path,
        header: Header,
        evaluations: Iterable[Evaluation],
        *,
        asks: Iterable[Ask] = (),
        current: tuple[int, list[str]] = (0, []),
        finished: bool = False,
    ) -> "Record":
        """Return a record of what was read elsewhere: an older version kept it in the study alone.

        Args:
            path: The campaign's log, which need not be there.
            header: What the campaign says of itself.
            evaluations: In the order of storing.
            asks: Of a steady-state search: those that were announced last.
            current: The generation being worked on, and the ids of its candidates.
            finished: Whether the search came to its end.
        """
        record = cls(path)
        record.is_followed = False
        record.header, record.finished, record._begun = header, finished, current
        for evaluation in evaluations:
            record._keep(Entry(evaluation.to_tree(), -1))
            record._whole[evaluation.candidate.id] = evaluation
        record.asks = {ask.candidate: ask for ask in asks}
        return record

    @property
    def current(self) -> tuple[int, list[str]]:
        """The generation being worked on, from 1, and the ids of its candidates."""
        generation, candidates = self._begun
        flying = [identity for identity in self.asks if identity not in self.entries]
        return generation, flying if self.asks and generation else candidates

    def in_order(self) -> list[Entry]:
        """Return the entries in the order asked for, whatever the order of finishing."""
        if self._order is None:
            self._order = sorted(self.entries.values(), key=lambda entry: (entry.generation, entry.index))
        return self._order

    def evaluations(self, ids: Collection[str] | None = None) -> list[Evaluation]:
        """Return evaluations as a whole, in the order asked for.

        Args:
            ids: Whose; of everything evaluated if not given.

        Raises:
            CampaignError: A line is none of ours.
        """
        wanted = [entry for entry in self.in_order() if ids is None or entry.id in ids]
        missing = sorted(
            (entry for entry in wanted if entry.id not in self._whole), key=lambda entry: entry.start
        )
        if missing:
            with self.path.open("rb") as stream:
                for entry in missing:
                    stream.seek(entry.start)
                    self._whole[entry.id] = self._read(stream.readline())
        return [self._whole[entry.id] for entry in wanted]

    def _read(self, line: bytes) -> Evaluation:
        tree = parse(line) or {}
        keys = [objective.key for objective in self.header.objectives] if self.header else None
        try:
            return checked(tree, keys)
        except ValueError as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, reason: str) -> DamagedError:
        return DamagedError(
            f"{self.path}: cannot be used: {reason}. `moosearch resume {self.path.parent}` restores what can "
            "be restored."
        )

    def _keep(self, entry: Entry) -> None:
        if is_id(entry.id) and entry.id not in self.entries:
            self.entries[entry.id] = entry
            self._order = None

    def _hear(self, start: int, line: bytes) -> None:
        event = (self._reader.is_sealed and _light(line)) or parse(line)
        try:
            if event is not None and event["event"] in _HEARD:
                self._take_in(event["event"], event, start)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if self._reader.is_sealed:  # an older version's lines may be anybody's
                raise self._unusable(f"line {self._reader.number} says something else: {error!r}") from error

    def _take_in(self, kind: str, event: Mapping[str, Any], start: int) -> None:
        if kind == "evaluated":
            if not self._reader.is_sealed:
                checked(event, None)
            self._keep(Entry(event, start))
        elif kind == "created":
            self._created(event)
        elif kind == "extended":
            generations = int(event["generations"])
            self.finished = False
            if self.description:
                self.description = extended(self.description, generations)
            if self.header is not None:
                self.header = replace(self.header, generations=generations)
        elif kind == "asked":
            self.asks[event["candidate"]] = Ask(event["candidate"], event["ask"], event["after"])
        elif kind == "generation_started":
            if event["candidates"]:
                self._begun = int(event["generation"]), [str(identity) for identity in event["candidates"]]
        elif kind in ("started", "confirmation_started"):
            self._searching = kind == "started"
        elif kind == "finished":
            self.finished = self.finished or self._searching
        elif isinstance(event["plan"], dict):
            self.confirmation = event["plan"]

    def _created(self, event: Mapping[str, Any]) -> None:
        if event.get("format", FORMAT) > FORMAT:
            raise CampaignError(f"{self.path}: written by a newer version; this one reads {FORMAT}.")
        if "header" in event:
            if not self._reader.is_sealed:
                raise self._unusable("its digests are gone")
            self.header, self.finished = Header.of(event["header"]), bool(event.get("finished", False))
        if is_description(event) and ("header" in event or not self.description):
            self.description = {key: event[key] for key in ("spec", "environment")}


def _light(line: bytes) -> dict[str, Any] | None:
    """Read an evaluation without the candidate's genes and spec, which take the most of the time.

    Returns:
        The event; None of another one, or where more than one place could be the candidate's end: within a
        string quotes are escaped, so that what looks like the end is one, of this mapping or of one in it.
    """
    begin, end = _EVALUATED.match(line), line.find(_REST)
    if begin is None or end < 0 or line.find(_REST, end + 1) >= 0:
        return None
    tree: dict[str, Any] = json.loads("{" + line[end + 3 :].decode())
    return tree | {"event": "evaluated", "candidate": {"id": begin[1].decode()}}


def checked(tree: Mapping[str, Any], keys: Collection[str] | None) -> Evaluation:
    """Return the evaluation that was stored as a tree, by whomever.

    Args:
        tree: As `Evaluation.to_tree` writes it.
        keys: The objectives, which all must be known of one that is complete; None where nobody knows them.

    Raises:
        ValueError: It is none.
    """
    try:
        _EVALUATION.validate_python(tree)
        evaluation = Evaluation.of(tree)
    except (LookupError, TypeError) as error:
        raise ValueError(f"no evaluation: {error}") from error
    if not is_id(evaluation.candidate.id):
        raise ValueError(f"{evaluation.candidate.id!r} is no id of a candidate")
    if keys is not None and evaluation.status == "complete" and set(evaluation.objectives) != set(keys):
        raise ValueError(f"{evaluation.candidate.id} has other objectives")
    return evaluation


def is_description(tree: Mapping[str, Any]) -> bool:
    """Whether a tree says what a campaign is: its ``spec`` and its ``environment``."""
    spec, environment = tree.get("spec"), tree.get("environment")
    return isinstance(spec, dict) and "candidate" in spec and isinstance(environment, dict)


def extended(description: Mapping[str, Any], generations: int) -> dict[str, Any]:
    """Return the description of a campaign with another number of generations."""
    spec = description["spec"]
    budget = {**spec["campaign"]["budget"], "generations": generations}
    return {**description, "spec": {**spec, "campaign": {**spec["campaign"], "budget": budget}}}


def generations_of(description: Mapping[str, Any]) -> int | None:
    """Return how many generations a description plans; None where it does not say."""
    try:
        return int(description["spec"]["campaign"]["budget"]["generations"])
    except (LookupError, TypeError, ValueError):
        return None
