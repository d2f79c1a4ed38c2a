"""What a campaign says of itself: name, objectives, constraints, algorithm, budget, seed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from moosearch.evaluation import ObjectiveInfo


@dataclasses.dataclass(frozen=True)
class Header:
    """What must be known of a campaign so that it can be read without planning its search space.

    Attributes:
        name: Name of the campaign.
        objectives: What is optimized, with the reference point.
        constraints: Bounds, as text.
        algorithm: Name of the search algorithm.
        population: Candidates a generation.
        generations: Generations planned.
        seed: Seed of the campaign.
    """

    name: str
    objectives: tuple[ObjectiveInfo, ...]
    constraints: tuple[str, ...]
    algorithm: str
    population: int
    generations: int
    seed: int

    def to_tree(self) -> dict[str, Any]:
        """Return plain data: a tolerance of 0 is left out, as an older version stored none."""
        tree = dataclasses.asdict(self)
        objectives = [{k: v for k, v in o.items() if k != "tolerance" or v} for o in tree["objectives"]]
        return tree | {"objectives": objectives, "constraints": list(self.constraints)}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Header":
        """Return the header of `to_tree`.

        Raises:
            ValueError: It is none.
        """
        return _HEADER.validate_python(dict(tree))


_HEADER = TypeAdapter(Header)
