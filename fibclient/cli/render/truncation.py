"""Numbers as lines that fit a terminal's width, without the middle of long numbers.

The number of digits of each number is known in advance, and so are the columns. Input is processed
piece by piece: of a number with a million digits, only the two ends are held.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fibcommon.sizes import value_digits

__all__ = ["Line", "lines"]

GAP = "  "
ELLIPSIS = "…"
MIN_VALUE_WIDTH = 3
"""The width of a value on the narrowest terminal: a digit, the ellipsis, and a digit."""


class Line(NamedTuple):
    """A number formatted for the terminal.

    Attributes:
        label: Its name, such as F(7), and the gap after it.
        value: Its digits, or the first and last of them.
        note: The gap and the number of digits; empty if all are shown.
    """

    label: str
    value: str
    note: str


def lines(pieces: Iterable[memoryview], start: int, stop: int, columns: int) -> Iterator[Line]:
    """Yield a line for each number from F(start) to F(stop-1).

    Args:
        pieces: The slice in the `text` format; each piece is valid until the next is read.
        start: The first index, >= 0.
        stop: The index after the last, >= start.
        columns: The width of the terminal.
    """
    if start == stop:
        return
    label_width = len(_label(stop - 1)) + len(GAP)
    note_width = len(_note(value_digits(stop - 1), 0))
    room = max(columns - label_width, MIN_VALUE_WIDTH)
    shown = max(room - note_width, MIN_VALUE_WIDTH) - len(ELLIPSIS)
    tail = shown // 2
    head = shown - tail
    reader = _Reader(pieces)
    for n in range(start, stop):
        digits = value_digits(n)
        label = _label(n).ljust(label_width)
        if digits <= room:
            yield Line(label, reader.read_exactly(digits).decode(), "")
        else:
            beginning = reader.read_exactly(head).decode()
            reader.skip(digits - shown)
            value = f"{beginning}{ELLIPSIS}{reader.read_exactly(tail).decode()}"
            yield Line(label, value, _note(digits, note_width))
        reader.skip(len("\n"))


def _label(n: int) -> str:
    return f"F({n})"


def _note(digits: int, width: int) -> str:
    count = f"{digits:,} digits"
    return GAP + count.rjust(width - len(GAP))


class _Reader:
    """Reads bytes from a stream of pieces."""

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        data = bytearray()
        while len(data) < size:
            data += self._read_some(size - len(data))
        return bytes(data)

    def skip(self, size: int) -> None:
        """Discard the next `size` bytes."""
        while size:
            size -= len(self._read_some(size))

    def _read_some(self, limit: int) -> memoryview:
        """Return at least one byte and at most `limit` bytes."""
        while not self._piece:
            self._piece = next(self._pieces)
        some, self._piece = self._piece[:limit], self._piece[limit:]
        return some
