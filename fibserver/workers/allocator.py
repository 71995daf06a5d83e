"""Setting of the C library's memory allocator for a process with large temporary arrays."""

import ctypes

__all__ = ["keep_freed_memory"]

KEPT_BYTES = 16 * 1024 * 1024
"""Freed memory that the allocator keeps. F(1,000,000) needs a third of it."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Parameters of mallopt(3), from <malloc.h>."""


def keep_freed_memory() -> None:
    """Keep some memory that was freed, for the arrays of the next step of a computation.

    By default glibc returns an array of 128 KiB or more to the system as soon as it is freed. The
    system zeroes each page that it hands out, which took as long as the arithmetic of
    F(1,000,000). Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
