"""The members of a front, as rules and filters see them."""

from collections.abc import Iterator
from dataclasses import dataclass

from moosearch.evaluation import Evaluation, ObjectiveInfo
from moosearch.pareto.dominance import Array, exact, to_losses


@dataclass(frozen=True, repr=False)
class Members:
    """Evaluations of one campaign.

    Attributes:
        members: The evaluations.
        objectives: What was optimized.
    """

    members: tuple[Evaluation, ...]
    objectives: tuple[ObjectiveInfo, ...]

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def __iter__(self) -> Iterator[Evaluation]:
        """Iterate over the members."""
        return iter(self.members)

    @property
    def losses(self) -> Array:
        """(N, J) scaled losses of the members, as dominance compares them."""
        return to_losses(self.members, self.objectives)

    @property
    def exact_losses(self) -> Array:
        """(N, J) scaled losses of the members as they were measured, whatever the tolerances."""
        return to_losses(self.members, exact(self.objectives))
