"""How this process takes memory from the system."""

import ctypes
import functools
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt, as in its malloc.h."""


@functools.cache
def keep_memory() -> bool:
    """Keep glibc from giving big blocks back to the system, for the life of this process.

    By default it does so at every training step on the CPU, and takes them again with a page fault a page.

    Returns:
        Whether it was done: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
