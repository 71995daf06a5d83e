"""Where each serving process puts its figures, and all of them read everybody's.

A scrape reaches one process and must tell of all. So there is one shared mapping, made before the
processes are forked: it has no name, so nothing is left behind whatever is killed, and what a
dead process has counted is still there for its successor. (prometheus-client's own way, a
folder of files for each process that ever was, must be cleaned up, and slows down every
count.)

Each process has a row, and writes nothing else. A row has two places: what is new goes into the
one that is not shown, then the row's version tells that it is this one now. So a process killed
in the middle leaves what was there before, and who reads sees from the version that it was
overtaken. The version is one aligned word, which is written at once.
"""

import mmap
import struct

__all__ = ["SharedStats"]

PLACE_BYTES = 256 * 1024
"""Some thousand figures; pages that nobody writes take no memory."""

_LENGTH = struct.Struct("=Q")
_HEADER_BYTES = 8


class SharedStats:
    """One row for each process, in memory that they share."""

    def __init__(self, rows: int) -> None:
        """Make an empty board, before any process that is to use it.

        Args:
            rows: how many, >= 1.
        """
        self._rows = rows
        self._memory = mmap.mmap(-1, rows * (_HEADER_BYTES + 2 * PLACE_BYTES))
        self._view = memoryview(self._memory)
        self._versions = self._view[: rows * _HEADER_BYTES].cast("Q")

    def write(self, row: int, data: bytes) -> None:
        """Show something in a row; for its only process, one thread at a time.

        Raises:
            ValueError: there is no room for so much.
        """
        if len(data) > PLACE_BYTES - _LENGTH.size:
            raise ValueError(f"{len(data)} bytes are too many for a row")
        version = self._versions[row] + 1
        place = self._place(row, version)
        place[_LENGTH.size : _LENGTH.size + len(data)] = data
        place[: _LENGTH.size] = _LENGTH.pack(len(data))
        self._versions[row] = version

    def read(self, row: int) -> bytes:
        """Return what a row shows, empty if nothing yet."""
        while True:
            version = self._versions[row]
            place = self._place(row, version)
            (length,) = _LENGTH.unpack(place[: _LENGTH.size])
            data = bytes(place[_LENGTH.size : _LENGTH.size + length])
            if self._versions[row] == version:
                return data

    def read_all(self) -> list[bytes]:
        """Return what all rows show."""
        return [self.read(row) for row in range(self._rows)]

    def _place(self, row: int, version: int) -> memoryview:
        begin = self._rows * _HEADER_BYTES + (2 * row + version % 2) * PLACE_BYTES
        return self._view[begin : begin + PLACE_BYTES]
