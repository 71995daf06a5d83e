"""Correction of a process's memory size for pages that it shares with its parent.

A forked process shares most of its pages with its parent, and `rss - shared` counts each of them
in both. The proportional set size (PSS) divides such a page among the processes that share it, but
to compute it the kernel visits every mapped page. That takes 15 ms in a process that maps 512 MiB
of numbers, too long for an event loop. So workers periodically measure by how much `rss - shared`
exceeds the PSS, and the acceptor subtracts the difference.

Neither includes shared memory, which is reported once for all processes.
"""

import os
import random
import time
from collections.abc import Callable

from fibcommon.service.process_usage import unshared_bytes

__all__ = ["MemoryMeasurement", "overcounted_bytes"]

PERIOD_SECONDS = 60.0
"""Most pages are copied soon after a fork, so the difference hardly changes later."""

KIB = 1024


def overcounted_bytes(pid: int) -> int:
    """Return by how much `rss - shared` of a process exceeds its PSS without shared memory.

    Returns:
        The difference in bytes, 0 if the kernel does not provide it. It may be negative, because
        `rss - shared` excludes mapped files and the PSS includes them.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            lines = rollup.readlines()[1:]
    except OSError:
        return 0
    fields = (line.split(":") for line in lines)
    sizes = {name: int(size.split()[0]) * KIB for name, size in fields}
    if "Pss_Shmem" not in sizes:
        return 0
    return unshared_bytes(pid) - (sizes["Pss"] - sizes["Pss_Shmem"])


class MemoryMeasurement:
    """Periodic measurement of `overcounted_bytes` for this process and its parent.

    Attributes:
        own_bytes: Result for this process, 0 before the first measurement.
        parent_bytes: Result for its parent, 0 before the first measurement.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Schedule the first measurement for the first `refresh`.

        Args:
            clock: Returns the monotonic time in seconds.
        """
        self.own_bytes = 0
        self.parent_bytes = 0
        self._clock = clock
        self._due = clock()

    def refresh(self) -> None:
        """Measure again if the last measurement is out of date."""
        now = self._clock()
        if now < self._due:
            return
        # The random factor spreads the measurements of workers that were started together.
        self._due = now + PERIOD_SECONDS * random.uniform(0.5, 1.0)
        self.own_bytes = overcounted_bytes(os.getpid())
        self.parent_bytes = overcounted_bytes(os.getppid())
