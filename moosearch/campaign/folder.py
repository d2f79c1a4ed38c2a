"""Every path under ``results/<campaign>/``, and atomic writing. Nothing else knows where things lie."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from moosearch.errors import CampaignError
from moosearch.evaluators import Job


class CampaignFolder:
    """The files of one campaign.

    Truth: ``campaign.yaml``, ``environment.json``, ``study.db``, ``events.jsonl``, ``models/``,
    ``confirmed/``. For as long as candidates train: ``checkpoints/``. Views, which can be deleted:
    ``candidates.csv``, ``front.csv``, ``hypervolume.csv``, ``confirmed.csv``, ``plots/``.
    """

    def __init__(self, root: Path | str) -> None:
        """Name a folder; nothing is created."""
        self.root = Path(root)
        self.spec = self.root / "campaign.yaml"
        self.environment = self.root / "environment.json"
        self.study = self.root / "study.db"
        self.fresh_study = self.root / ".study.db.new"
        self.events = self.root / "events.jsonl"
        self.checkpoints = self.root / "checkpoints"
        self.models = self.root / "models"
        self.candidates = self.root / "candidates.csv"
        self.front = self.root / "front.csv"
        self.hypervolume = self.root / "hypervolume.csv"
        self.plots = self.root / "plots"
        self.exports = self.root / "exports"
        self.confirmed = self.root / "confirmed"
        self.confirmation = self.confirmed / "plan.json"
        self.confirmed_table = self.root / "confirmed.csv"

    @classmethod
    def existing(cls, root: Path | str) -> "CampaignFolder":
        """Return the folder of a campaign that was started.

        Raises:
            CampaignError: There is none.
        """
        folder = cls(root)
        if not folder.spec.is_file() or not folder.study.is_file():
            missing = folder.spec if not folder.spec.is_file() else folder.study
            raise CampaignError(
                f"{folder.root}: no campaign here, `{missing.name}` is missing. "
                "Start one with `moosearch search FILE`."
            )
        return folder

    @property
    def storage(self) -> str:
        """The URL of the study, for Optuna and its dashboard."""
        return f"sqlite:///{self.study.as_posix()}"

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

    def _strangers(self) -> list[str]:
        """Return what is in a folder without a campaign, apart from what a start that was killed leaves."""
        if self.spec.exists() or self.study.exists() or not self.root.is_dir():
            return []
        own = {
            "campaign.lock",
            self.models.name,
            self.study.name,
            self.fresh_study.name,
            self.environment.name,
            self.events.name,
        }
        names = (path.name for path in self.root.iterdir())
        return sorted(name for name in names if name not in own and not name.endswith(".tmp"))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the campaign for this process; the operating system lets go when the process dies.

        Raises:
            CampaignError: Another process holds it.
        """
        lock = FileLock(self.root / "campaign.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise CampaignError(
                f"{self.root}: another process is running this campaign. "
                f"Watch it with `moosearch status {self.root}`."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def running(self) -> bool:
        """Whether a process holds the campaign now."""
        if not (self.root / "campaign.lock").exists():
            return False
        try:
            with self.lock():
                return False
        except CampaignError:
            return True

    def weights(self, candidate_id: str, checkpoint: str = "weights") -> Path:
        """Path of a candidate's trained weights: those that were judged, or ``best``, or ``last``."""
        return self.models / candidate_id / f"{checkpoint}.safetensors"

    def history(self, candidate_id: str) -> Path:
        """Path of a candidate's training history."""
        return self.models / candidate_id / "training.csv"

    def checkpoint(self, job: Job) -> Path:
        """Path of what an unfinished job needs to go on."""
        number = f"-{job.number}" if job.number else ""
        return self.checkpoints / f"{job.candidate.id}{number}.safetensors"

    def retraining(self, candidate_id: str, number: int) -> Path:
        """Path of what is known of a training of a confirmation; its weights stand beside it."""
        return self.confirmed / candidate_id / f"{number}.json"

    def retrainings(self, candidate_id: str) -> list[Path]:
        """Return the paths of a candidate's trainings in a confirmation that ended, by number."""
        paths = (self.confirmed / candidate_id).glob("[0-9]*.json")
        return sorted(paths, key=lambda path: int(path.stem))

    def keep_models(self, candidate_ids: Collection[str]) -> None:
        """Delete the models of all other candidates."""
        for path in self.models.iterdir():
            if path.name not in candidate_ids:
                shutil.rmtree(path, ignore_errors=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that it is, at any moment, either the old one or the whole new one."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
