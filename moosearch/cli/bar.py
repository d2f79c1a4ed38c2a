"""The progress bar of what is measured part by part."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moosearch.cli.app import err


@contextlib.contextmanager
def measuring() -> Iterator[Callable[..., None]]:
    """Show on a terminal what is measured, in one or more words, what is done of it and how much there is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def tell(*told: Any) -> None:
            nonlocal current
            *words, done, total = told
            name = " ".join(words)
            if name != current:  # its time says nothing of the next one's
                current = name
                bar.reset(task, description=name, total=total)
            bar.update(task, completed=done)

        yield tell
