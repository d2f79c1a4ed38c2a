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
        top: How many labels an image has: 1, but for multi-label images.
    """

    name: str
    groups: tuple[str, ...]
    group_of: tuple[int, ...]
    top: int = 1

    @classmethod
    def main(cls, classes: Sequence[str], top: int = 1) -> "Task":
        """Return the main task: every class is its own group."""
        return cls("main", tuple(classes), tuple(range(len(classes))), top)

    @property
    def size(self) -> int:
        """Number of groups G."""
        return len(self.groups)

    def labels(self, main: Tensor) -> Tensor:
        """Map (B,) main labels to (B,) labels of this task.

        Images of several labels have (B, K) rows of ones and zeros, which become (B, K) probabilities: all
        that compares logits with labels takes the one or the other.
        """
        if self.top > 1:
            return main.to(torch.float32) / self.top
        return torch.tensor(self.group_of, dtype=torch.int64, device=main.device)[main]


def rightly_classified(logits: Tensor, y: Tensor) -> Tensor:
    """Mark the rows whose labels are the top ones.

    Args:
        logits: (B, K).
        y: (B,) labels, or (B, K) with numbers above 0 where a label is.

    Returns:
        (B,) booleans. Of equal logits the first class wins where there is one label; with several, a tie
        with a class that is no label is wrong.
    """
    if y.ndim == 1:
        return logits.argmax(dim=1) == y
    lowest = logits.masked_fill(y == 0, torch.inf).amin(dim=1)
    return lowest > logits.masked_fill(y > 0, -torch.inf).amax(dim=1)


@dataclass(frozen=True)
class TaskSpec:
    """A task as it is written down: groups of classes.

    Attributes:
        name: Name of the task, for ``auxiliary``.
        groups: The classes of each group, by name or by number from 0.
    """

    name: str
    groups: dict[str, list[str | int]]

    def __post_init__(self) -> None:
        """Check what needs no classes."""
        if not self.name or self.name == "main":
            raise SpecError(f"name: got '{self.name}', expected a name, and not that of the main task.")
        if len(self.groups) < 2:
            raise SpecError(f"the task '{self.name}' has {len(self.groups)} group, expected at least two.")
        for group, members in self.groups.items():
            if not members:
                raise SpecError(f"the group '{group}' of the task '{self.name}' is empty.")

    def __hash__(self) -> int:
        """Hash name and groups, which are equal in any order."""
        return hash((self.name, frozenset((group, tuple(of)) for group, of in self.groups.items())))

    def task(self, classes: Sequence[str]) -> Task:
        """Return the task over these classes.

        Groups are numbered in the order of their first classes, so that the order in which they are
        written down changes nothing.

        Raises:
            SpecError: A class is unknown, is in two groups or in none.
        """
        group_of: dict[int, str] = {}
        for group, members in self.groups.items():
            for member in members:
                number = self._number(member, classes)
                if number in group_of:
                    raise SpecError(
                        f"the task '{self.name}' has the class '{classes[number]}' in '{group_of[number]}' "
                        f"and in '{group}', expected it once."
                    )
                group_of[number] = group
        missing = [name for number, name in enumerate(classes) if number not in group_of]
        if missing:
            raise SpecError(f"the task '{self.name}' has no group for: {', '.join(missing)}.")
        names = [group_of[number] for number in range(len(classes))]
        order = tuple(dict.fromkeys(names))
        return Task(self.name, order, tuple(order.index(name) for name in names))

    def within(self, classes: Sequence[str | int]) -> "TaskSpec":
        """Return the same task for some of its classes: the others, and groups without any, are left out.

        Its groups must name classes, not number them.

        Raises:
            SpecError: All of the classes are in one group.
        """
        kept = {group: [name for name in of if name in classes] for group, of in self.groups.items()}
        return TaskSpec(self.name, {group: names for group, names in kept.items() if names})

    def _number(self, member: str | int, classes: Sequence[str]) -> int:
        if isinstance(member, str):
            if member in classes:
                return classes.index(member)
            raise SpecError(
                f"the task '{self.name}': no class is called '{member}'. {nearest(member, classes)}"
            )
        if 0 <= member < len(classes):
            return member
        raise SpecError(f"the task '{self.name}': got class {member}, expected 0 to {len(classes) - 1}.")


ODD_EVEN = TaskSpec("odd_even", {"even": ["0", "2", "4", "6", "8"], "odd": ["1", "3", "5", "7", "9"]})
PRIME_COMPOSITE = TaskSpec(
    # 0 and 1 are neither; they get a group of their own rather than a wrong label.
    "prime_composite",
    {"neither": ["0", "1"], "prime": ["2", "3", "5", "7"], "composite": ["4", "6", "8", "9"]},
)
DIGIT_TASKS = (ODD_EVEN, PRIME_COMPOSITE)
"""Auxiliary tasks of ten-digit datasets (Hyun & Park 2024, table 2)."""


def select(names: Sequence[str], known: Sequence[TaskSpec]) -> tuple[TaskSpec, ...]:
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
