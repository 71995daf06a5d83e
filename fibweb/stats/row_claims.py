"""Claims of processes on rows of `SharedStats`, where no supervisor assigns the rows.

A claim is a record lock on an unnamed file that forked processes inherit. The kernel releases the
lock when its owner ends for any reason. The next process that claims the row continues its
counters.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["RowClaims"]


class RowClaims:
    """Claims of processes on rows. Not thread-safe.

    Attributes:
        rows: Number of rows.
    """

    def __init__(self, rows: int) -> None:
        """Create the lock file. Call this before forking the processes that claim rows.

        Args:
            rows: Number of rows, >= 1.
        """
        self.rows = rows
        self._fd = os.memfd_create("fibweb-rows")

    def claim(self) -> int | None:
        """Claim a free row until this process ends; return None if all rows are claimed.

        A process may claim only one row: record locks do not conflict within a process, so its own
        row looks free to it.
        """
        return next((row for row in range(self.rows) if self._lock(row)), None)

    @contextmanager
    def held(self, row: int) -> Iterator[bool]:
        """Lock a row during the context, unless a living process owns it.

        Args:
            row: A row that this process has not claimed: the end of the context would release that
                claim.

        Yields:
            Whether the row is locked.
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
