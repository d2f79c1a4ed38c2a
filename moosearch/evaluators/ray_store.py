"""How large a local cluster's object store is: what is sent has room in it, and it has room itself."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from moosearch.errors import CampaignError

MIB, GIB = 2**20, 2**30

LEAST, MOST = 128 * MIB, 16 * GIB
"""Bytes of an object store. It takes memory as it fills, and goes on on the disk when it is full."""

MARGIN = 1.25
"""An object store that is nearly full throws out, and writes to the disk, what will be asked for again."""

TRAVELS = 16
"""Weights that travel at a time for one candidate, at most, in sizes of a network: a checkpoint (weights, the
best ones, what the optimizer keeps) there and the next ones back, and the states that come out."""

NEEDED = GIB
"""Bytes that Ray's processes and a worker need besides the object store."""

THRESHOLD = 0.95
"""Share of memory beyond which Ray ends workers; a user may set RAY_memory_usage_threshold."""


class Memory(NamedTuple):
    """Memory of this machine, or of the container that this process runs in, in bytes.

    Attributes:
        total: All of it.
        free: What processes may take.
        shared: What is free of the file system in memory that object stores lie in; 0 where there is none.
    """

    total: int
    free: int
    shared: int


def store_bytes(images: int, weights: int, workers: int, memory: Memory) -> int:
    """Return the size of a local object store.

    Args:
        images: Bytes of the images of all datasets; 0 where nobody knows.
        weights: Bytes of the largest network; 0 where nobody knows.
        workers: Candidates at a time.
        memory: What the machine has.

    Example:
        >>> store_bytes(600 * MIB, 40 * MIB, 4, Memory(64 * GIB, 60 * GIB, 32 * GIB)) // MIB
        3950
    """
    wanted = int(MARGIN * (images + TRAVELS * weights * workers))
    # Where shared memory is short, Ray would put the whole store on the disk, not only what has no room.
    room = min(memory.free // 2, max(memory.shared, LEAST) if memory.shared else memory.free)
    return max(LEAST, min(MOST, wanted, room))


def check_memory(memory: Memory) -> None:
    """Check that Ray can work: it ends workers where memory is nearly used up.

    Raises:
        CampaignError: It cannot.
    """
    kept = (1 - THRESHOLD) * memory.total
    if memory.free - kept < NEEDED:
        raise CampaignError(
            f"campaign.evaluator: Ray needs {(NEEDED + kept) / GIB:.1f} GiB of memory, and "
            f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB are free: end something, or use "
            "--evaluator serial."
        )


def memory_here() -> Memory:
    """Return what this machine, or this container, has."""
    total = 2 * MOST  # where a system does not tell, it has enough
    with contextlib.suppress(AttributeError, OSError, ValueError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    with contextlib.suppress(OSError, ValueError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        free = next(int(amount) * 1024 for name, amount, *_ in lines if name == "MemAvailable:")
    with contextlib.suppress(OSError, ValueError):  # of a container: "max" where there is no limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit < total:
            total, free = limit, min(free, limit - used + _reclaimable())
    return Memory(total, free, _shared())


def _reclaimable() -> int:
    """Return bytes of files that a container's memory holds and can drop."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        return next(int(amount) for name, amount in lines if name == "inactive_file")
    return 0


def _shared() -> int:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return 0
    usage = os.statvfs(shared)
    return usage.f_bavail * usage.f_frsize
