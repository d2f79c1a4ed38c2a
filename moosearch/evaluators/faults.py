"""What went wrong with a job, and whether it is worth another try."""

import dataclasses
import errno
import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import pydantic

from moosearch.errors import DivergedError, TimeLimitError
from moosearch.evaluation import Failure

if TYPE_CHECKING:
    from moosearch.job import Job, Outcome

MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch, CUDA and its libraries say of memory where they have no exception of their own for it."""

Times = Annotated[int, pydantic.Field(ge=0)]


@dataclass(frozen=True)
class Retries:
    """How often a job is tried again, by what went wrong; anything else would fail the same way again.

    Attributes:
        lost: After its worker or its node died, or the process that runs the campaign without being told to
            stop, in a row: nothing was evaluated, and nothing got further, in between.
        memory: After memory ran out, each time in twice as many parts.
    """

    lost: Times = 2
    memory: Times = 3


def kind_of(error: BaseException) -> Failure:
    """Say what kind of failure an exception of a candidate is."""
    if isinstance(error, DivergedError):
        return "nan"
    if isinstance(error, TimeLimitError):
        return "time"
    return "memory" if _is_memory(error) else "error"


def _is_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in MEMORY)


def release_memory() -> None:
    """Give back what nothing refers to any more, so that the next job finds it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def again(outcome: "Outcome", retries: Retries) -> "Job | None":
    """Return the job of a next try, or None where the outcome stands.

    A lost worker's job is done again as it was; one that ran out of memory in twice as many parts. Tries
    are counted by kind: what was tried again for one reason may be for the other.
    """
    job, kind = outcome.job, outcome.evaluation.failure
    splits = job.parts.bit_length() - 1  # parts are powers of two: one try each
    if kind == "memory" and splits < retries.memory:
        return dataclasses.replace(job, attempt=job.attempt + 1, parts=2 * job.parts)
    if kind == "lost" and job.attempt - 1 - splits < retries.lost:
        return dataclasses.replace(job, attempt=job.attempt + 1)
    return None
