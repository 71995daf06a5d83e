"""Ownership of the rows of a notice board where no supervisor assigns them.

A claim is a record lock on a file without a name, which processes inherit when they are forked.
The kernel releases it when its owner ends, however that happens. The next process to claim the
row continues its counters.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["RowClaims"]


class RowClaims:
    """Claims of processes on rows; for one thread of a process at a time.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, rows: int) -> None:
        """Create the file of the locks, before any process that claims a row.

        Args:
            rows: how many, >= 1.
        """
        self.rows = rows
        self._fd = os.memfd_create("fibweb-rows")

    def claim(self) -> int | None:
        """Claim a free row for this process until it ends; None if all are taken.

        A process claims one row. To itself all its own look free: the kernel does not
        distinguish between the locks of one process.
        """
        return next((row for row in range(self.rows) if self._lock(row)), None)

    @contextmanager
    def held(self, row: int) -> Iterator[bool]:
        """Hold a row for a moment, if no living process owns it.

        Args:
            row: not the process's own, which would be released.

        Yields:
            Whether it is held.
        """
        is_held = self._lock(row)
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, row)

    def _lock(self, row: int) -> bool:
        with suppress(BlockingIOError, PermissionError):  # lockf(3) allows either errno
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            return True
        return False
