"""What an evaluator is: it decides where candidates are trained, never what comes out."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import pydantic

from moosearch.errors import SpecError
from moosearch.evaluators.devices import Kind
from moosearch.evaluators.task import Work
from moosearch.job import Job, PoolEvent
from moosearch.registry import Count, Number, Positive, Registry, late


@dataclass(frozen=True)
class Resources:
    """What one candidate occupies.

    Attributes:
        cpus: CPU cores, and threads of torch.
        gpus: GPUs, a fraction where several candidates share one; ``auto`` lets as many share one as it has
            memory for, and one where something is timed. 0 is the CPU.
        custom: Resources of Ray's nodes by name, such as ``a100: 1``; a candidate runs where they are.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
    """

    cpus: Count = 1
    gpus: Annotated[Number, pydantic.Field(ge=0)] | Literal["auto"] = "auto"
    custom: Mapping[str, Positive] = field(default_factory=dict)
    device: Kind = late("auto")

    def __post_init__(self) -> None:
        """Check that device and GPUs do not contradict each other."""
        if self.device == "cpu" and self.gpus not in ("auto", 0):
            raise SpecError(f"gpus: got {self.gpus:g}, and device is cpu: expected auto or 0.")
        if self.device == "cuda" and self.gpus == 0:
            raise SpecError("device: got cuda, and gpus is 0: expected auto or cpu, or more gpus.")

    @property
    def kind(self) -> Kind:
        """What candidates run on, whether ``device`` says so or ``gpus``."""
        return "cpu" if self.gpus == 0 else self.device


class Pool(Protocol):
    """A running evaluator.

    Attributes:
        workers: Jobs at a time.
    """

    workers: int

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue; also while `events` is iterated."""
        ...

    def withdraw(self) -> None:
        """Empty the queue; what runs goes on."""
        ...

    def events(self) -> Generator[PoolEvent, None, None]:
        """Yield what happens until nothing runs and the queue is empty: one outcome for every job.

        Outcomes come in any order. Closing the iterator ends what runs.

        Raises:
            EvaluatorLostError: Where candidates run is gone as a whole, and cannot be had back.
        """
        ...


class Evaluator(Protocol):
    """A plug-in that opens a pool."""

    def check(self, resources: Resources) -> None:
        """Check, in a second and without starting anything, that it can be opened.

        Raises:
            CampaignError: It cannot.
        """
        ...

    def open(self, work: Work, resources: Resources) -> AbstractContextManager[Pool]:
        """Start what is needed, and end it on exit.

        Raises:
            CampaignError: The resources asked for do not exist.
        """
        ...


EVALUATORS: Registry[Evaluator] = Registry("evaluator")
