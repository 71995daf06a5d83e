"""Shared memory through which each serving process publishes its metric values to all others.

A scrape reaches one process and must report all. The processes share one anonymous mapping, which
is created before they are forked. Nothing has to be cleaned up after a kill, and the counters of a
dead process remain for its successor. (The multiprocess mode of prometheus-client keeps files for
every process that ever ran, which must be cleaned up, and slows down each increment.)

Each row has one writer at a time: its process, or one that has locked the row of a dead process.
A row is double-buffered: the writer fills the inactive half, then increments the version, which
selects the active half. A writer that is killed midway leaves the previous data intact, and a
reader whose half was overwritten sees it by the version. The version is one aligned word, so it is
written atomically.
"""

import mmap
import struct

__all__ = ["SharedStats"]

HALF_BYTES = 256 * 1024
"""Size of one half of a row: some thousand values. Pages that are never written take no memory."""

_LENGTH = struct.Struct("=Q")
_HEADER_BYTES = 8


class SharedStats:
    """Rows of bytes in shared memory, one for each process."""

    def __init__(self, rows: int) -> None:
        """Map empty rows. Call this before forking the processes that use them.

        Args:
            rows: Number of rows, >= 1.
        """
        self._rows = rows
        self._memory = mmap.mmap(-1, rows * (_HEADER_BYTES + 2 * HALF_BYTES))
        self._view = memoryview(self._memory)
        self._versions = self._view[: rows * _HEADER_BYTES].cast("Q")

    def write(self, row: int, data: bytes) -> None:
        """Replace the data of a row. Only the process that owns the row may call this.

        Raises:
            ValueError: The data is too large.
        """
        if len(data) > HALF_BYTES - _LENGTH.size:
            raise ValueError(f"{len(data)} bytes do not fit into a row")
        version = self._versions[row] + 1
        half = self._half(row, version)
        half[_LENGTH.size : _LENGTH.size + len(data)] = data
        half[: _LENGTH.size] = _LENGTH.pack(len(data))
        self._versions[row] = version

    def read(self, row: int) -> bytes:
        """Return the data of a row; empty if none was written."""
        while True:
            version = self._versions[row]
            half = self._half(row, version)
            (length,) = _LENGTH.unpack(half[: _LENGTH.size])
            data = bytes(half[_LENGTH.size : _LENGTH.size + length])
            if self._versions[row] == version:
                return data

    def read_all(self) -> list[bytes]:
        """Return the data of all rows."""
        return [self.read(row) for row in range(self._rows)]

    def _half(self, row: int, version: int) -> memoryview:
        begin = self._rows * _HEADER_BYTES + (2 * row + version % 2) * HALF_BYTES
        return self._view[begin : begin + HALF_BYTES]
