"""The log of a campaign as a file: whole lines, each sealed by a digest, only ever appended.

Every line is a JSON object that ends with its ``digest``: the first 16 digits of the SHA-256 of the digest
before it and the line itself. So a line that was edited is noticed, and one that was removed, inserted or
moved as well; it costs a microsecond a line. Versions before the digests wrote lines without: such lines may
stand at the beginning of a log alone, and the first digest after them seals them too.

It protects from accidents and edits by hand, not from somebody who recomputes the digests.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from moosearch.campaign.folder import DamagedError, write_atomically
from moosearch.campaign.now import parse
from moosearch.errors import CampaignError

DIGITS = 16
_BEFORE, _AFTER = b', "digest": "', b'"}\n'
_LENGTH = len(_BEFORE) + DIGITS + len(_AFTER)


def digest_of(before: bytes, body: bytes) -> bytes:
    """Return the digest of a line after the line with the digest ``before``.

    Args:
        before: The digest before it; empty for the first line.
        body: The line up to its own digest.
    """
    return sha256(before + body).hexdigest()[:DIGITS].encode()


def sealed(body: bytes, digest: bytes) -> bytes:
    """Return a line, with its end, of its body and its digest."""
    return body + _BEFORE + digest + _AFTER


def parted(line: bytes) -> tuple[bytes, bytes]:
    """Return the body and the digest of a line with its end; an empty digest where it has none."""
    if line.endswith(_AFTER) and line.startswith(_BEFORE, len(line) - _LENGTH):
        return line[:-_LENGTH], line[-len(_AFTER) - DIGITS : -len(_AFTER)]
    return line, b""


class LogReader:
    """Reads a log onwards: `lines` goes on where it ended the last time.

    Attributes:
        end: Bytes that were read: up to the end of the last whole line.
        number: Lines that were read.
        digest: That of the last line.
        is_sealed: Whether a line with a digest was read: from there on all have one.
    """

    def __init__(self, path: Path) -> None:
        """Read from the beginning; there need be no file."""
        self._path = path
        self._file: tuple[int, int] | None = None
        self.end = self.number = 0
        self.digest, self.is_sealed = b"", False

    def changed(self) -> bool:
        """Whether what was read is not the beginning of the file any more: it was put in another's place."""
        try:
            now = self._path.stat()
        except OSError:
            return self.end > 0
        file = now.st_dev, now.st_ino
        before, self._file = self._file, file
        return now.st_size < self.end or before not in (None, file)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each whole line that was not read before, with where it begins.

        Raises:
            DamagedError: A line is not as it was written; it is not passed.
            CampaignError: The file may not be read.
        """
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise CampaignError(f"{self._path}: cannot be read: {error.strerror}.") from error
        with stream:
            stream.seek(self.end)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                cut = len(line) - _LENGTH
                if line.startswith(_BEFORE, cut):  # what `parted` and `digest_of` do, twice as fast
                    digest = sha256(self.digest + line[:cut]).hexdigest()[:DIGITS].encode()
                    if line[cut + len(_BEFORE) :] != digest + _AFTER:
                        raise self._damage()
                    self.is_sealed = True
                elif self.is_sealed:
                    raise self._damage()
                else:
                    digest = digest_of(self.digest, line)
                self.digest = digest
                self.number += 1
                self.end = (start := self.end) + len(line)
                yield start, line

    def _damage(self) -> DamagedError:
        lines = f"line {self.number + 1}"
        if not self.is_sealed and self.number:
            lines = f"lines 1 to {self.number + 1}"
        return DamagedError(
            f"{self._path}, {lines}: not as written: edited, or lines before are gone. `moosearch resume "
            f"{self._path.parent}` throws away what cannot be trusted, and restores what it said."
        )


def repair(path: Path) -> tuple[str, list[int]]:
    """Throw away the lines of a log that are not as they were written, and keep a copy of the log beside it.

    A line is as it was written if its digest fits that of the line before it as it stands, or of the last
    one that was kept.

    Returns:
        The name of the copy, and the numbers of the lines that are gone; empty where the log is whole.
    """
    with contextlib.suppress(DamagedError):
        for _ in LogReader(path).lines():
            pass
        return "", []
    kept, gone, plain = list[bytes](), list[int](), True
    written = trusted = b""  # the digest before, as it stands; the one of the last line that was kept
    content = path.read_bytes()
    *whole, _torn = content.split(b"\n")
    for number, line in enumerate((each + b"\n" for each in whole), start=1):
        body, digest = parted(line)
        if not digest and plain:
            kept.append(line)
            written = trusted = digest_of(trusted, body)
        elif digest and digest in (digest_of(written, body), digest_of(trusted, body)):
            kept.append(body)
            written, trusted, plain = digest, digest, False
        elif plain and digest:  # which of the lines before it were edited nobody can tell
            gone, kept, plain = [*range(1, number + 1)], [], False
            written = digest
        else:
            gone.append(number)
            written = digest or written
    state, lines = b"", []
    for body in kept:
        state = digest_of(state, body)
        lines.append(body if body.endswith(b"\n") else sealed(body, state))
    copy = aside(path, content)
    write_atomically(path, b"".join(lines))
    return copy, gone


def aside(path: Path, content: bytes | None = None) -> str:
    """Put a damaged file aside under a new name, or a copy of it.

    Args:
        path: The file.
        content: What to write as a copy; if not given, the file itself is renamed, with what SQLite keeps
            beside it.

    Returns:
        The new name.
    """
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    name = f"{path.name}.damaged-{number}"
    if content is not None:
        write_atomically(path.with_name(name), content)
        return name
    for suffix in ("-journal", "-wal", "-shm", ""):
        own = path.with_name(f"{path.name}{suffix}")
        if own.exists():
            own.rename(own.with_name(f"{own.name}.damaged-{number}"))
    return name


class LogWriter:
    """Appends sealed lines to a log: each as a whole, or not at all."""

    def __init__(self, path: Path) -> None:
        """Open the file; a last line that was not written to its end is cut off.

        Raises:
            DamagedError: It holds a line that is not as it was written.
            OSError: It cannot be written.
        """
        fresh = not path.exists()
        reader = LogReader(path)
        for _ in reader.lines():
            pass
        self._end, self._digest = reader.end, reader.digest
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if os.fstat(self._file).st_size != self._end:
            os.ftruncate(self._file, self._end)
        if fresh:
            _sync_folder(path.parent)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def sync(self) -> None:
        """Wait until everything is on disk."""
        os.fsync(self._file)

    def append(self, tree: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OSError: It cannot be written.
        """
        body = dumps(tree).encode()[:-1]
        digest = digest_of(self._digest, body)
        line = sealed(body, digest)
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)  # half a line would spoil the next one
            raise
        self._end += len(line)
        self._digest = digest


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log, from the oldest; what an older version's log has that is none is left out.

    Raises:
        DamagedError: A line is not as it was written.
    """
    for _, line in LogReader(path).lines():
        event = parse(line)
        if event is not None:
            yield event


def dumps(tree: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Write plain data as JSON in the strict sense: a number that it does not have is null."""
    try:
        return json.dumps(tree, allow_nan=False, indent=indent, sort_keys=sort_keys, default=_plain)
    except ValueError:
        return json.dumps(_finite(tree), allow_nan=False, indent=indent, sort_keys=sort_keys, default=_plain)


def _finite(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _plain(value: Any) -> Any:
    """Write a number of numpy's, which a plug-in of somebody else may have measured; else what it says."""
    tolist = getattr(value, "tolist", None)
    return _finite(tolist()) if tolist is not None else str(value)


def _sync_folder(folder: Path) -> None:
    """See that a new file is found after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
