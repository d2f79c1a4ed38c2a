"""Every path under ``results/<campaign>/``, and atomic writing. Nothing else knows where things lie."""

import contextlib
import errno
import json
import os
import platform
import re
import shutil
import warnings
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydantic
from filelock import BaseFileLock, FileLock, Timeout

from moosearch.campaign.now import Shown
from moosearch.errors import CampaignError
from moosearch.job import Job
from moosearch.provenance import user

WAIT = 1.0
"""Seconds that a process waits for the lock: whoever asks for the status holds it for an instant."""

_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Holder:
    """The process that holds a campaign, as it says itself.

    Attributes:
        user: Who started it.
        host: Name of its machine.
        pid: Its id.
        since: When it began, ISO 8601.
    """

    user: Shown
    host: Shown
    pid: int
    since: Shown

    def __str__(self) -> str:
        """Say who it is, in a line."""
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}"


_HOLDER = pydantic.TypeAdapter(Holder)


class DamagedError(CampaignError):
    """A file of a campaign is not as it was written."""


class CampaignFolder:
    """The files of one campaign.

    Truth: ``events.jsonl``, ``campaign.yaml``, ``environment.json``, ``models/``, ``confirmed/``, and
    ``order.json`` in a replay. For as long as candidates train: ``checkpoints/``; for as long as a process
    holds the campaign: ``driver.json``. Views, which can be deleted: ``study.db`` (or ``study.journal``, or
    a database elsewhere), ``candidates.csv``, ``front.csv``, ``hypervolume.csv``, ``confirmed.csv``,
    ``plots/``, ``report.html``.
    """

    def __init__(self, root: Path | str) -> None:
        """Name a folder; nothing is created."""
        self.root = Path(root)
        self.spec = self.root / "campaign.yaml"
        self.environment = self.root / "environment.json"
        self.study = self.root / "study.db"
        self.journal = self.root / "study.journal"
        self.driver = self.root / "driver.json"
        self.events = self.root / "events.jsonl"
        self.order = self.root / "order.json"
        self.checkpoints = self.root / "checkpoints"
        self.models = self.root / "models"
        self.candidates = self.root / "candidates.csv"
        self.front = self.root / "front.csv"
        self.hypervolume = self.root / "hypervolume.csv"
        self.plots = self.root / "plots"
        self.report = self.root / "report.html"
        self.exports = self.root / "exports"
        self.confirmed = self.root / "confirmed"
        self.confirmation = self.confirmed / "plan.json"
        self.confirmed_table = self.root / "confirmed.csv"

    @classmethod
    def existing(cls, root: Path | str) -> "CampaignFolder":
        """Return the folder of a campaign that was started.

        Raises:
            CampaignError: There is none, or what says what it is was lost.
        """
        folder = cls(root)
        if not folder.started:
            raise CampaignError(
                f"{folder.root}: no campaign here, `{folder.spec.name}` is missing. "
                "Start one with `moosearch search FILE`."
            )
        if not folder.spec.is_file():
            raise folder.damaged(folder.spec, "it is missing")
        return folder

    @property
    def started(self) -> bool:
        """Whether there is anything of a campaign."""
        return any(path.is_file() for path in (self.spec, self.study, self.journal, self.events))

    def damaged(self, path: Path, reason: str) -> DamagedError:
        """Return (not raise) the error that a file is not what was written, and how to have it back."""
        return DamagedError(
            f"{path}: cannot be used: {reason}. `moosearch resume {self.root}` restores what can be restored."
        )

    def create(self) -> None:
        """Create the folder.

        Raises:
            CampaignError: It cannot be created or written, or holds something else.
        """
        if set("?#%") & set(str(self.root)):  # the path becomes part of the storage's URL
            raise CampaignError(f"{self.root}: the folder's path must not contain ?, # or %.")
        strangers = self._strangers()
        if strangers:
            raise CampaignError(
                f"{self.root}: holds no campaign but {strangers[0]!r}: name a new folder with --out."
            )
        try:
            self.models.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CampaignError(f"{self.root}: cannot write here: {error.strerror}.") from error
        self.check_writable()

    def check_writable(self) -> None:
        """Check that what a campaign changes may be changed.

        Raises:
            CampaignError: Something may not.
        """
        folders = (self.root, self.models, self.checkpoints, self.confirmed)
        for path in (*folders, self.study, self.journal, self.events):
            if path.exists() and not os.access(path, os.W_OK):
                raise CampaignError(f"{path}: cannot write here: {os.strerror(errno.EACCES)}.")

    def _strangers(self) -> list[str]:
        """Return what is in a folder without a campaign, apart from what a start that was killed leaves."""
        if self.started or not self.root.is_dir():
            return []
        own = {
            "campaign.lock",
            self.driver.name,
            self.models.name,
            self.environment.name,
            self.order.name,
        }
        names = (path.name for path in self.root.iterdir())
        return sorted(name for name in names if name not in own and not name.endswith((".tmp", ".new")))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the campaign for this process; the operating system lets go when the process dies.

        Raises:
            CampaignError: Another process holds it, or there is no holding it here.
        """
        lock = self._locked(WAIT)
        if lock is None:
            raise CampaignError(
                f"{self.root}: this campaign is being run by {self.holder or 'another process'}. "
                f"Watch it with `moosearch status {self.root}`."
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = Holder(user(), platform.node(), os.getpid(), since)
        try:
            with contextlib.suppress(OSError):  # who holds it is told as a courtesy
                write_atomically(self.driver, json.dumps(asdict(holder)) + "\n")
            yield
        finally:
            with contextlib.suppress(OSError):
                self.driver.unlink()
            lock.release()

    def _locked(self, timeout: float) -> BaseFileLock | None:
        """Return the lock, held; None where another process holds it.

        Raises:
            CampaignError: The lock's file may not be written, or the file system has no locks.
        """
        lock = FileLock(self.root / "campaign.lock")
        try:
            with warnings.catch_warnings(action="error"):  # or it would do with a file that outlives us
                lock.acquire(timeout=timeout)
        except Timeout:
            return None
        except (OSError, NotImplementedError, UserWarning) as error:
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise CampaignError(f"{self.root}: cannot write here: {error.strerror}.") from error
            raise CampaignError(
                f"{self.root}: this file system has no locks ({error}), so that nothing would keep two "
                "processes from running this campaign at once. Give it a folder elsewhere with --out."
            ) from error
        return lock

    @property
    def holder(self) -> Holder | None:
        """Who holds the campaign, or held it and ended without a word; None where nobody says so."""
        try:
            return _HOLDER.validate_json(self.driver.read_bytes())
        except (OSError, ValueError):
            return None

    @property
    def running(self) -> bool:
        """Whether a process holds the campaign now."""
        if not (self.root / "campaign.lock").exists():
            return False
        try:
            lock = self._locked(0)
        except CampaignError:  # of somebody else, who lets us read: this is as much as we can know
            return self.driver.exists()
        if lock is None:
            return True
        lock.release()
        return False

    def weights(self, candidate_id: str, checkpoint: str = "weights") -> Path:
        """Path of a candidate's trained weights: those that were judged, or ``best``, or ``last``."""
        return self.models / _checked(candidate_id) / f"{checkpoint}.safetensors"

    def history(self, candidate_id: str) -> Path:
        """Path of a candidate's training history."""
        return self.models / _checked(candidate_id) / "training.csv"

    def checkpoint(self, job: Job) -> Path:
        """Path of what an unfinished job needs to go on."""
        number = f"-{job.number}" if job.number else ""
        return self.checkpoints / f"{_checked(job.candidate.id)}{number}.safetensors"

    def retraining(self, candidate_id: str, number: int) -> Path:
        """Path of what is known of a training of a confirmation; its weights stand beside it."""
        return self.confirmed / _checked(candidate_id) / f"{number}.json"

    def retrainings(self, candidate_id: str) -> list[Path]:
        """Return the paths of a candidate's trainings in a confirmation that ended, by number."""
        paths = (self.confirmed / _checked(candidate_id)).glob("*.json")
        numbered = {int(path.stem): path for path in paths if re.fullmatch("[1-9][0-9]{0,8}", path.stem)}
        return [numbered[number] for number in sorted(numbered)]

    def keep_models(self, candidate_ids: Collection[str]) -> None:
        """Delete the models of all other candidates; what a link points to stays."""
        for path in self.models.iterdir():
            if not is_id(path.name) or path.name in candidate_ids:
                continue
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)


def is_id(text: object) -> bool:
    """Whether something is a candidate's id, and safe as the name of a file."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _checked(candidate_id: str) -> str:
    if not is_id(candidate_id):
        raise CampaignError(f"{candidate_id!r} is no id of a candidate.")
    return candidate_id


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that it is, at any moment, either the old one or the whole new one.

    A device or a pipe, such as ``/dev/null``, is written to and never replaced. A link stays a link.
    """
    data = content.encode() if isinstance(content, str) else content
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
