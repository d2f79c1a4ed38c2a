"""Where the study of a campaign lies, and how it is opened without writing a password down.

A file in the campaign's folder, SQLite's or Optuna's journal; or a database, which campaigns share.
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import sqlalchemy
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from moosearch.campaign.folder import CampaignFolder, DamagedError
from moosearch.campaign.passwords import MASK, QUERY, masked_text
from moosearch.errors import CampaignError, SpecError
from moosearch.space.files import load

JOURNAL = "journal"
"""The setting for Optuna's journal file."""

PASSWORD = "MOOSEARCH_STORAGE_PASSWORD"
"""The environment variable that a password is taken from where none is given."""

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""What a URL without a driver means: what our extras of these names install."""

_given: dict[str, str] = {}
"""URLs with passwords that were given to this process, by what was written of them."""


@dataclass(frozen=True)
class Storage:
    """Where a study lies.

    Attributes:
        setting: As in a search space file: empty, ``journal``, or the URL of a database.
        folder: The campaign's folder.
    """

    setting: str
    folder: CampaignFolder

    @classmethod
    def of(cls, folder: CampaignFolder) -> "Storage":
        """Return the storage of a campaign that was started, as its ``campaign.yaml`` says.

        Where that is damaged, it is the file in the folder, if there is one.

        Raises:
            CampaignError: Nothing says where it is.
        """
        try:
            campaign = load(folder.spec).data.get("campaign")
        except SpecError as error:
            for setting, path in (("", folder.study), (JOURNAL, folder.journal)):
                if path.is_file():
                    return cls(setting, folder)
            raise folder.damaged(folder.spec, str(error)) from None
        setting = campaign.get("storage", "") if isinstance(campaign, dict) else ""
        return cls(setting if isinstance(setting, str) else "", folder)

    @property
    def file(self) -> Path | None:
        """The file in the campaign's folder; None where it is a database elsewhere."""
        return {"": self.folder.study, JOURNAL: self.folder.journal}.get(self.setting)

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        return str(self.file or masked_text(self.setting))

    def at(self, file: Path) -> "Storage":
        """Return a storage of the same kind in another file."""
        folder = CampaignFolder(self.folder.root)
        folder.study = folder.journal = file
        return Storage(self.setting, folder)

    def open(self, *, writing: bool) -> BaseStorage:
        """Open it.

        Args:
            writing: Whether what is not there is created, and what a writer that was killed left is removed.

        Raises:
            CampaignError: It cannot be opened.
        """
        with opening(self.shown):
            if self.setting == JOURNAL:
                return _journal(self.folder.journal, writing=writing)
            if self.file is not None and not writing and not self.file.is_file():
                raise self.folder.damaged(self.file, "it is missing")
            if self.file is None:
                url, options = _connection(self.setting)
            else:
                url, options = f"sqlite:///{self.file.as_posix()}", {"poolclass": NullPool}
            # What is only read is not changed, not even if it is an empty file that could become a database.
            return get_storage(RDBStorage(url, options, skip_table_creation=not writing))

    def damage(self) -> str:
        """Say what is wrong with SQLite's file; empty where nothing is, or it is another kind."""
        if self.setting or not self.folder.study.is_file():
            return ""
        try:
            with contextlib.closing(sqlite3.connect(self.folder.study)) as database:
                rows = database.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise CampaignError(f"{self.shown}: cannot be opened: {error}.") from error
            return str(error)
        found = " ".join(str(row[0]) for row in rows[:1])
        return "" if found == "ok" else " ".join(found.split())


def check(setting: str) -> None:
    """Check that a database elsewhere answers, before anything is written.

    Args:
        setting: As in a search space file; a file in the campaign's folder needs no check.

    Raises:
        CampaignError: It does not, or its driver is not installed.
    """
    if setting in ("", JOURNAL):
        return
    with opening(masked_text(setting)):
        url, options = _connection(setting)
        engine = sqlalchemy.create_engine(url, **options)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


@contextlib.contextmanager
def opening(shown: str) -> Iterator[None]:
    """Turn what a library says of a storage that cannot be opened into one line of ours.

    Raises:
        CampaignError: It cannot.
    """
    try:
        yield
    except (ArgumentError, NoSuchModuleError):
        raise CampaignError(
            f"campaign.storage: {shown}: expected nothing, `journal`, or the URL of a database such as "
            "postgresql+psycopg://user@host/name."
        ) from None
    except ImportError as error:
        dialect = re.split(r"[:+]", shown)[0]
        extra = f"moosearch[{dialect}]" if dialect in _DRIVERS else "the package of that name"
        raise CampaignError(
            f"campaign.storage: {shown}: the database's driver is not installed "
            f"({error.__cause__ or error}): pip install '{extra}'."
        ) from None
    except (OSError, RuntimeError) as error:
        raise CampaignError(f"{shown}: cannot be opened: {cause(error)}.") from error
    except STRANGE as error:
        kind = DamagedError if is_damage(error) else CampaignError
        raise kind(f"{shown}: cannot be opened: {cause(error)}.") from error


STRANGE = (
    SQLAlchemyError,
    OptunaError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What libraries raise where a database is not as they wrote it."""

UNWRITABLE = (OSError, SQLAlchemyError)
"""What is raised where a file or a database cannot be written."""

_PREVENTED = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_AUTH,
}


def is_damage(error: BaseException) -> bool:
    """Whether an error says that a file, or what is in a database, is not as it was written."""
    original = _original(error)
    code = getattr(original, "sqlite_errorcode", None)
    if code:
        return code & 0xFF not in _PREVENTED
    return not isinstance(error, SQLAlchemyError | OptunaError | OSError)


def _original(error: BaseException) -> BaseException:
    """Return what a database's driver raised, out of what libraries made of it."""
    while isinstance(error, OptunaError) and error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def cause(error: BaseException) -> str:
    """Return one line that says what a database did not like, without passwords."""
    original = _original(error)
    text = str(original) or type(original).__name__
    for url in _given.values():
        for secret in _secrets(sqlalchemy.make_url(url)):
            text = text.replace(secret, MASK)
    return masked_text(" ".join(text.split())[:300]).rstrip(".")


def _connection(setting: str) -> tuple[str, dict[str, Any]]:
    """Return the URL with its password, and what the engine is asked for.

    Raises:
        CampaignError: A password is needed, or nothing would be kept.
    """
    try:
        url = sqlalchemy.make_url(_given.get(setting, setting))
    except ValueError as error:  # a port that is no number
        raise ArgumentError("no URL") from error
    if MASK not in setting and masked_text(setting) != setting:
        _given[masked_text(setting)] = setting
    password = os.environ.get(PASSWORD, "")
    if password and url.username and url.password in (None, "", MASK):
        url = url.set(password=password)
    if MASK in _secrets(url) and not password:
        raise CampaignError(
            f"campaign.storage: {setting}: the password was not written down: set {PASSWORD} to it."
        )
    query = {key: password if value == MASK else value for key, value in url.query.items()}
    driver = _DRIVERS.get(url.drivername, url.drivername)
    url = url.set(drivername=driver, query=query)
    if password:
        whole = url.render_as_string(hide_password=False)
        _given.setdefault(masked_text(whole), whole)
    dialect = url.get_backend_name()
    if dialect == "sqlite" and url.database in (None, "", ":memory:"):
        raise CampaignError(f"campaign.storage: {setting}: a database in memory keeps nothing.")
    # A connection is open for as long as it is used: a server may close one that a candidate trains through.
    options: dict[str, Any] = {"poolclass": NullPool}
    if dialect in _DRIVERS:
        options["connect_args"] = {"connect_timeout": 10}
    return url.render_as_string(hide_password=False), options


def _secrets(url: URL) -> list[str]:
    """Return the passwords in a URL, as they are and as they are quoted."""
    values = [value for key, value in url.query.items() if QUERY.match(f"?{key}=x")]
    found = [str(value) for value in (url.password, *values) if value]
    return [*found, *(quote_plus(value) for value in found)]


def _journal(path: Path, *, writing: bool) -> JournalStorage:
    if writing:
        # The campaign is locked: what is left belongs to a process that was killed.
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        if path.is_file():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    elif not path.is_file():
        raise CampaignError(f"{path}: is missing. `moosearch resume {path.parent}` restores it.")
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
