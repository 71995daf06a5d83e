"""Proportional memory of a process: what the cheap figures of the kernel count twice.

A forked process shares most of its pages with its parent, and `rss - shared` counts each of them
in both. The proportional set size (PSS) divides such a page among the processes that share it.
But the kernel visits every mapped page for it: 15 ms for a process that maps 512 MiB of numbers,
which is too long for an event loop. So workers measure now and then by how much the cheap figure
is too large, and the acceptor subtracts that.

Shared memory itself is left out of both: all of it is reported once, for all processes.
"""

import os
import random
import time
from collections.abc import Callable

__all__ = ["MemoryMeasurement", "overcounted_bytes"]

PERIOD_SECONDS = 60.0
"""Pages are mostly copied soon after a fork, so the figures hardly change later."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
KIB = 1024


def overcounted_bytes(pid: int) -> int:
    """Return by how much `rss - shared` of a process exceeds its PSS without shared memory.

    Returns:
        Bytes, negative if it is less: `rss - shared` leaves out the files of programs. 0 if the
        kernel does not tell.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup, open(f"/proc/{pid}/statm") as statm:
            lines = rollup.readlines()[1:]
            _, resident, shared, *_ = map(int, statm.read().split())
    except OSError:
        return 0
    fields = (line.split(":") for line in lines)
    sizes = {name: int(size.split()[0]) * KIB for name, size in fields}
    if "Pss_Shmem" not in sizes:
        return 0
    return (resident - shared) * PAGE_BYTES - (sizes["Pss"] - sizes["Pss_Shmem"])


class MemoryMeasurement:
    """The overcounts of this process and of its parent, measured now and then.

    Attributes:
        own_bytes: of this process, 0 before it was measured.
        parent_bytes: of its parent, 0 likewise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.own_bytes = 0
        self.parent_bytes = 0
        self._clock = clock
        self._due = clock()

    def refresh(self) -> None:
        """Measure again if the last time was long ago."""
        now = self._clock()
        if now < self._due:
            return
        # Workers that were started together must not all measure together for ever.
        self._due = now + PERIOD_SECONDS * random.uniform(0.5, 1.0)
        self.own_bytes = overcounted_bytes(os.getpid())
        self.parent_bytes = overcounted_bytes(os.getppid())
