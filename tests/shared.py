"""Folders that are made once for all processes of a test run, and that no test may change."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


class Shared:
    """Folders under the temporary folder of a test run."""

    def __init__(self, root: Path) -> None:
        """Share what is under ``root``, which all processes know."""
        self._root, self._used = root / "shared", set[Path]()
        self._root.mkdir(exist_ok=True)

    def folder(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a folder; who asks first makes it, and the others wait.

        Args:
            name: Its name.
            make: Makes the folder at the path that it is given.
        """
        folder = self._root / name
        known = folder.with_suffix(".json")
        with FileLock(folder.with_suffix(".lock")):
            if not known.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to make it
                make(folder)
                known.write_text(json.dumps(contents(folder)))
        self._used.add(folder)
        return folder

    def check(self) -> None:
        """Check that every folder that was used is as it was made.

        Raises:
            AssertionError: A test changed one.
        """
        for folder in sorted(self._used):
            made, now = json.loads(folder.with_suffix(".json").read_text()), contents(folder)
            changed = sorted(path for path in made.keys() | now.keys() if made.get(path) != now.get(path))
            assert not changed, f"a test changed the shared folder {folder.name}: {', '.join(changed)}"


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file in a folder; empty lock files say nothing."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
