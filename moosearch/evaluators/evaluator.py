"""What an evaluator is: it decides where candidates are trained, never what comes out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import pydantic

from moosearch.evaluators.work import EpochDone, Job, Outcome, Work
from moosearch.registry import Count, Number, Registry


@dataclass(frozen=True)
class Resources:
    """What one candidate occupies.

    Attributes:
        cpus: CPU cores, and threads of torch.
        gpus: GPUs, a fraction where several candidates share one; ``auto`` divides what there is among
            the workers.
    """

    cpus: Count = 1
    gpus: Annotated[Number, pydantic.Field(ge=0)] | Literal["auto"] = "auto"


class Pool(Protocol):
    """A running evaluator."""

    workers: int

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[EpochDone | Outcome]:
        """Do jobs; yield their epochs, and their outcomes in any order, one for each."""
        ...


class Evaluator(Protocol):
    """A plug-in that opens a pool."""

    def open(self, work: Work, resources: Resources) -> AbstractContextManager[Pool]:
        """Start what is needed, and end it on exit.

        Raises:
            CampaignError: The resources asked for do not exist.
        """
        ...


EVALUATORS: Registry[Evaluator] = Registry("evaluator")
