"""Numbers for people: a line each, laid out for a terminal's width, long ones without a middle.

How many digits each has is known before any has come, so the columns are too. What has come is
looked at piece by piece: of a number of a million digits only its two ends are ever held.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fibcommon.sizes import value_digits

__all__ = ["Line", "lines"]

GAP = "  "
ELLIPSIS = "…"
LEAST_DIGITS = 3
"""The room for a value on the narrowest of terminals: a digit, the ellipsis, and a digit."""


class Line(NamedTuple):
    """A number, ready to be shown.

    Attributes:
        label: which one it is, and the gap behind it.
        value: its digits, or the first and the last of them.
        note: how many there are, and the gap before it; empty if all are shown.
    """

    label: str
    value: str
    note: str


def lines(pieces: Iterable[memoryview], start: int, stop: int, columns: int) -> Iterator[Line]:
    """Yield a line for each number from F(start) to F(stop-1).

    Args:
        pieces: the answer in the `text` format, each right until the next is asked for.
        start: >= 0.
        stop: >= start.
        columns: the width of the terminal.
    """
    if start == stop:
        return
    label_width = len(_label(stop - 1)) + len(GAP)
    note_width = len(_note(value_digits(stop - 1), 0))
    room = max(columns - label_width, LEAST_DIGITS)
    shown = max(room - note_width, LEAST_DIGITS) - len(ELLIPSIS)
    tail = shown // 2
    head = shown - tail
    answer = _Reader(pieces)
    for n in range(start, stop):
        digits = value_digits(n)
        label = _label(n).ljust(label_width)
        if digits <= room:
            yield Line(label, answer.take(digits).decode(), "")
        else:
            beginning = answer.take(head).decode()
            answer.skip(digits - shown)
            value = f"{beginning}{ELLIPSIS}{answer.take(tail).decode()}"
            yield Line(label, value, _note(digits, note_width))
        answer.skip(len("\n"))


def _label(n: int) -> str:
    return f"F({n})"


def _note(digits: int, width: int) -> str:
    count = f"{digits:,} digits"
    return GAP + count.rjust(width - len(GAP))


class _Reader:
    """Takes bytes off the front of pieces."""

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        taken = bytearray()
        while len(taken) < size:
            taken += self._some(size - len(taken))
        return bytes(taken)

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size:
            size -= len(self._some(size))

    def _some(self, limit: int) -> memoryview:
        """Return at least a byte, and at most so many."""
        while not self._piece:
            self._piece = next(self._pieces)
        some, self._piece = self._piece[:limit], self._piece[limit:]
        return some
