import dataclasses
import errno
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moosearch.errors import DivergedError, EvaluationError, SpecError, TimeLimitError
from moosearch.evaluation import Candidate
from moosearch.evaluators import Job
from moosearch.evaluators.faults import Retries, again, kind_of, release_memory
from moosearch.job import failure

JOB = Job(Candidate("0a", {}, {}))
TOO_MUCH = 2**50


def error_of(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one it is, is the question)
        call()
    return caught.value


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(TOO_MUCH, dtype=torch.uint8),
        lambda: np.empty(TOO_MUCH, dtype=np.uint8),
        lambda: bytearray(TOO_MUCH),
    ],
    ids=["torch", "numpy", "python"],
)
def test_memory_that_is_not_there_is_called_so(call):
    assert kind_of(error_of(call)) == "memory"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "memory"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "memory",
        ),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (DivergedError("the training loss is nan"), "nan"),
        (TimeLimitError("took too long"), "time"),
        (EvaluationError("something else"), "error"),
        (SpecError("out of memory of what was meant"), "error"),
        (OSError(errno.ENOSPC, "No space left on device"), "error"),
        (RuntimeError("shapes do not match"), "error"),
        (SystemExit(3), "error"),
    ],
    ids=str,
)
def test_what_went_wrong_is_told_apart(error, kind):
    assert kind_of(error) == kind


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.lists(st.sampled_from(["lost", "memory", "nan", "time", "error"]), min_size=12, max_size=12),
)
def test_tries_are_counted_by_kind_and_never_more_than_allowed(lost, memory, kinds):
    retries, job, tried = Retries(lost=lost, memory=memory), JOB, []
    for kind in kinds:
        following = again(failure(job, kind, "why"), retries)
        allowed = {"lost": lost, "memory": memory}.get(kind, 0)
        assert (following is None) == (tried.count(kind) >= allowed)
        if following is None:
            break
        tried.append(kind)
        assert following == dataclasses.replace(JOB, attempt=1 + len(tried), parts=2 ** tried.count("memory"))
        job = following
    assert tried.count("lost") <= lost
    assert tried.count("memory") <= memory


@pytest.mark.parametrize("kind", ["nan", "time", "error"])
def test_what_would_fail_the_same_way_is_not_tried_again(kind):
    assert again(failure(JOB, kind, "why"), Retries(lost=9, memory=9)) is None


def test_released_memory_is_that_of_cycles_too():
    tensor = torch.ones(1)
    cycle, kept = [tensor], weakref.ref(tensor)
    cycle.append(cycle)
    gc.disable()
    try:
        del cycle, tensor
        assert kept() is not None
        release_memory()
        assert kept() is None
    finally:
        gc.enable()
