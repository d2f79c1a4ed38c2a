"""The order of asks and tells of a steady-state search: with it, the search can be repeated exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import pydantic

from moosearch.evaluation import Evaluation

Natural = Annotated[int, pydantic.Field(ge=0)]


@dataclass(frozen=True)
class Ask:
    """One ask of a steady-state search.

    Attributes:
        candidate: The id of the candidate that was proposed.
        number: Its position in the order of asks, from 0.
        after: How many evaluations had been told.
    """

    candidate: str
    number: Natural
    after: Natural


@dataclass(frozen=True)
class Order:
    """The recorded beginning, or the whole, of a steady-state search.

    Attributes:
        asks: By number, without gaps.
        tells: Ids of candidates, in the order in which they were told.
    """

    asks: tuple[Ask, ...] = ()
    tells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that a search can follow it.

        Raises:
            ValueError: It cannot.
        """
        after = {ask.candidate: ask.after for ask in self.asks}
        if [ask.number for ask in self.asks] != list(range(len(self.asks))) or len(after) < len(self.asks):
            raise ValueError("the order of asks is not recorded as a whole")
        if len(set(self.tells)) < len(self.tells):
            raise ValueError("the order of tells is not recorded as a whole")
        early = any(turn < after.get(identity, len(self.tells)) for turn, identity in enumerate(self.tells))
        late = any(ask.after > len(self.tells) for ask in self.asks)
        if early or late or any(one.after > next_one.after for one, next_one in pairwise(self.asks)):
            raise ValueError("the recorded orders of asks and tells contradict each other")

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], population: int, flying: Sequence[Ask] = ()) -> "Order":
        """Return the order that evaluations tell of, and those that are in flight.

        Args:
            evaluations: What was told, in any order.
            population: Candidates a generation.
            flying: Asks that were announced; some of the candidates may be evaluated.

        Raises:
            ValueError: An ask or a tell is missing.
        """
        told = sorted(evaluations, key=lambda e: e.told)
        if [e.told for e in told] != list(range(1, len(told) + 1)):
            raise ValueError("the order of tells is not recorded as a whole")
        asks = {ask.number: ask for ask in flying}
        for e in evaluations:
            number = population * (e.generation - 1) + e.index
            asks[number] = Ask(e.candidate.id, number, e.asked_after)
        return cls(tuple(asks[number] for number in sorted(asks)), tuple(e.candidate.id for e in told))

    def to_json(self) -> str:
        """Write the order as JSON."""
        return _FILE.dump_json(self).decode() + "\n"

    @classmethod
    def of_json(cls, text: str) -> "Order":
        """Return the order of `to_json`.

        Raises:
            ValueError: It is none.
        """
        try:
            return _FILE.validate_json(text, strict=True)
        except pydantic.ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None


_FILE = pydantic.TypeAdapter(Order)
