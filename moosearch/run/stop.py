"""A wish to stop a campaign: what runs is finished and stored, and nothing new is begun; or all ends now."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class Stop:
    """Carries the wish from whoever has it, such as a signal handler, to the campaign.

    Attributes:
        requested: Whether somebody wants the campaign to stop.
        busy: Whether something runs that is finished first.
        folder: The campaign's folder, as soon as there is one.
    """

    def __init__(self) -> None:
        """Start without the wish."""
        self.requested = False
        self.busy = False
        self.folder: Path | None = None
        self._end: BaseException | None = None
        self._whole = 0

    def request(self) -> None:
        """Wish it."""
        self.requested = True

    def end(self, error: BaseException) -> None:
        """End it now, in a signal handler of the thread that runs it.

        Args:
            error: What is raised: here, or once what is being stored is stored.
        """
        self.requested, self._end = True, error
        self.check()

    def check(self) -> None:
        """Raise what it was ended with: a library may have swallowed it where it was raised first."""
        if self._end is not None and not self._whole:
            raise self._end

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Let nothing that is done in here be done by halves: `end` waits."""
        self._whole += 1
        try:
            yield
        finally:
            self._whole -= 1
        self.check()
