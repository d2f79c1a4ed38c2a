"""Errors that a user can act on, and the place in a file that they speak of.

Every error of ours is a `MooSearchError`; the command line prints it as one line and exits with its
`exit_code` (1: ours, 2: the user's input). Maths functions raise plain `ValueError` instead.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class MooSearchError(Exception):
    """Base of all errors of moosearch."""

    exit_code = 1


class SpecError(MooSearchError, ValueError):
    """A search space, an option or a name is wrong."""

    exit_code = 2


class DataUnavailableError(MooSearchError):
    """The files of a dataset are not where they are looked for."""

    exit_code = 2


class CampaignError(MooSearchError):
    """A campaign folder cannot be used as asked."""

    exit_code = 2


class MissingExtraError(CampaignError, SpecError):
    """What was asked for needs a library that is not installed."""


class EvaluationError(MooSearchError):
    """Training or measuring a candidate went wrong."""


class DivergedError(EvaluationError):
    """Training or measuring gave numbers that are not finite."""


class TimeLimitError(EvaluationError):
    """A candidate took longer than the campaign allows."""


class EvaluatorLostError(MooSearchError):
    """Where candidates were evaluated is gone as a whole; the campaign can go on elsewhere."""


class StorageError(MooSearchError):
    """The files of a campaign, or its database, cannot be written: the disk is full, or gone."""


class Stopped(MooSearchError):  # noqa: N818 (nothing is wrong)
    """A campaign was asked to stop, and stopped; it can go on."""


class ExportError(MooSearchError):
    """An exported model would not be what it claims to be."""


_MEANT = {"gpu": "cuda"}
"""What is meant by names that are spelled like others."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and list the known names.

    Example:
        >>> nearest("morl", ["mart", "morel", "trades"])
        "Did you mean 'morel'? Known: mart, morel, trades."
    """
    names = sorted(known)
    close = [meant for meant in (_MEANT.get(name.lower()),) if meant in names]
    close = close or difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."


@dataclass(frozen=True)
class Place:
    """Where a value stands: the file, its lines, and the path of keys to the value.

    Attributes:
        file: What the user calls the file; empty where a spec did not come from one.
        lines: 1-based line (or the name of another origin, such as ``--set``) of each known raw path.
        raw: Keys and indices from the root of the file, through ``choice`` lists.
        shown: The same path as genes are named: options of a choice appear under their label.
    """

    file: str = ""
    lines: Mapping[tuple[Any, ...], int | str] = field(default_factory=dict)
    raw: tuple[Any, ...] = ()
    shown: tuple[str, ...] = ()

    def child(self, key: str | int) -> "Place":
        """Return the place of a key or index under this one."""
        return Place(self.file, self.lines, (*self.raw, key), (*self.shown, str(key)))

    def option(self, index: int, label: str) -> "Place":
        """Return the place of option ``index`` of the choice that stands here."""
        return Place(self.file, self.lines, (*self.raw, "choice", index), (*self.shown, label))

    def error(self, message: str) -> SpecError:
        """Return (not raise) a `SpecError` that starts with file, line and dotted path."""
        line: int | str | None = None
        for length in range(len(self.raw), -1, -1):
            line = self.lines.get(self.raw[:length])
            if line is not None:
                break
        parts = [self.file if not isinstance(line, str) else ""]
        if line is not None:
            parts.append(str(line))
        where = ":".join(part for part in parts if part)
        path = ".".join(self.shown)
        return SpecError(": ".join(part for part in (where, path, message) if part))
