"""The progress bar of what is measured part by part."""

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moosearch.cli.app import err


@contextlib.contextmanager
def measuring() -> Iterator[Callable[[str, int, int], None]]:
    """Show on a terminal what is measured, what is done of it and how much there is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def tell(name: str, done: int, total: int) -> None:
            nonlocal current
            if name != current:  # its time says nothing of the next one's
                current = name
                bar.reset(task, description=name, total=total)
            bar.update(task, completed=done)

        yield tell
