"""Tasks as data: a task is a named map from the main classes of a dataset to groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moosearch.errors import SpecError, nearest

Labels = tuple[Tensor, ...]
"""One (B,) int64 tensor a task; the main task first."""


@dataclass(frozen=True)
class Task:
    """A classification task whose label is a function of the main class.

    Attributes:
        name: Name of the task.
        groups: Names of its G groups.
        group_of: The group of each of the K main classes, in [0, G).
    """

    name: str
    groups: tuple[str, ...]
    group_of: tuple[int, ...]

    @classmethod
    def main(cls, classes: Sequence[str]) -> "Task":
        """Return the main task: every class is its own group."""
        return cls("main", tuple(classes), tuple(range(len(classes))))

    @property
    def size(self) -> int:
        """Number of groups G."""
        return len(self.groups)

    def labels(self, main: Tensor) -> Tensor:
        """Map (B,) main labels to (B,) labels of this task."""
        return torch.tensor(self.group_of, dtype=torch.int64, device=main.device)[main]


ODD_EVEN = Task("odd_even", ("even", "odd"), tuple(digit % 2 for digit in range(10)))
PRIME_COMPOSITE = Task(
    # 0 and 1 are neither; they get a group of their own rather than a wrong label.
    "prime_composite",
    ("neither", "prime", "composite"),
    (0, 0, 1, 1, 2, 1, 2, 1, 2, 2),
)
DIGIT_TASKS = (ODD_EVEN, PRIME_COMPOSITE)
"""Auxiliary tasks of ten-digit datasets (Hyun & Park 2024, table 2)."""


def select(names: Sequence[str], known: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks of these names, in the order of the names.

    Raises:
        SpecError: No task has one of the names, or a name occurs twice.
    """
    by_name = {task.name: task for task in known}
    for name in names:
        if name not in by_name:
            raise SpecError(f"no auxiliary task is called '{name}'. {nearest(name, by_name)}")
        if list(names).count(name) > 1:
            raise SpecError(f"the auxiliary task '{name}' is named twice.")
    return tuple(by_name[name] for name in names)
