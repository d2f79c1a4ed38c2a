"""Which device a job runs on: what the campaign allows, and the GPU that Ray assigned."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from moosearch.errors import CampaignError, EvaluationError

if TYPE_CHECKING:
    import torch

Kind = Literal["auto", "cpu", "cuda"]

KEEP_VISIBLE = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Environment of a worker process that sees all GPUs: where Ray narrows that, CUDA keeps the first it saw."""


def position(assigned: Sequence[int | str], visible: str | None) -> int | None:
    """Return which GPU a task has, in the order in which torch counts; None where it has none.

    Args:
        assigned: Ids of GPUs as Ray gives them: numbers, or, where ``CUDA_VISIBLE_DEVICES`` was set when the
            worker was started, members of it.
        visible: ``CUDA_VISIBLE_DEVICES`` of the worker; None where it is not set.

    Example:
        >>> position(["1"], None), position(["6"], "4,6"), position([], None)
        (1, 1, None)
    """
    if not assigned:
        return None
    names = [name.strip() for name in visible.split(",")] if visible else []
    first = str(assigned[0])
    return names.index(first) if first in names else int(first)


def assigned_gpu() -> int | None:
    """Return which GPU Ray assigned to this task, in the order in which torch counts; None for none."""
    import ray

    return position(ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def check_cuda() -> None:
    """Check that torch finds a GPU.

    Raises:
        CampaignError: It does not.
    """
    import torch

    if not torch.cuda.is_available():
        raise CampaignError(
            "campaign.resources.device: got cuda, and torch finds no GPU here: expected auto or cpu."
        )


def use(kind: Kind, gpu: int | None = None) -> "torch.device":
    """Return the device to work on; where it is a GPU, it becomes the one that ``cuda`` means here.

    Args:
        kind: ``auto`` for a GPU where torch finds one.
        gpu: Which one; the current one if not given.

    Raises:
        EvaluationError: A GPU is asked for, and torch finds none.
    """
    import torch

    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if kind == "cuda":
            raise EvaluationError("campaign.resources.device: got cuda, and torch finds no GPU here.")
        return torch.device("cpu")
    device = torch.device("cuda", torch.cuda.current_device() if gpu is None else gpu)
    torch.cuda.set_device(device)
    return device
