"""Streaming checker of encoded Fibonacci numbers.

It accepts input in pieces of any size and keeps none of it. Literal text, indexes and lengths are
compared byte by byte; numbers are compared by their residues (`fibcommon.modular`).
"""

from fibcommon.formats import Field, Format
from fibcommon.modular import PRIME, append_bytes, append_digits, fibonacci_pair
from fibcommon.sizes import value_digits

__all__ = ["SliceChecker", "WrongNumber"]

SHOWN_BYTES = 32
"""The number of wrong bytes that an error message shows."""


class WrongNumber(Exception):
    """A number is wrong.

    Args:
        n: Its index.
        reason: What is wrong with it.
    """

    def __init__(self, n: int, reason: str) -> None:
        super().__init__(f"F({n}) is wrong: {reason}")
        self.n = n
        self.reason = reason


class SliceChecker:
    """Checks the elements of a slice in order.

    Attributes:
        n: The index of the current or next element; all elements before it are correct.
    """

    def __init__(self, format: Format, start: int, stop: int) -> None:
        """Set the expected slice.

        Args:
            format: The format of the elements.
            start: The first index, >= 0.
            stop: The index after the last, >= start.
        """
        self.n = start
        self._format = format
        self._stop = stop
        self._residues = fibonacci_pair(start)  # of F(n) and F(n+1)
        self._next_piece = 0  # index of the next piece of the element
        self._piece: str | Field = ""  # the current one
        self._size = 0  # of the piece, in bytes
        self._done = 0  # bytes of the piece checked so far
        self._expected = b""  # the piece's bytes, unless it is the number
        self._residue = 0  # of the number's bytes so far

    def feed(self, data: bytes | memoryview) -> None:
        """Check the next bytes.

        Raises:
            WrongNumber: Some of them are wrong.
        """
        data = bytes(data)
        position = 0
        while position < len(data):
            if not self._next_piece:
                self._begin_piece()
            taken = data[position : position + self._size - self._done]
            position += len(taken)
            self._check(taken)
            self._done += len(taken)
            if self._done == self._size:
                self._end_piece()

    def finish(self) -> None:
        """Check that all elements have come, and verify the residues by fast doubling.

        Raises:
            WrongNumber: The reply is too short, or the residues were computed wrongly.
        """
        if self.n < self._stop:
            raise WrongNumber(self.n, "the reply ends before or within it")
        if self._residues != fibonacci_pair(self.n):
            raise WrongNumber(self.n - 1, "its residue differs from that of fast doubling")

    def _begin_piece(self) -> None:
        """Start the next piece of the element, or the first piece of the next element."""
        n, element = self.n, self._format.element
        if n == self._stop:
            raise WrongNumber(n, "it was not requested")
        self._piece = piece = element[self._next_piece]
        self._next_piece += 1
        self._done = self._residue = 0
        match piece:
            case Field.DIGITS:
                self._size = value_digits(n)
                return
            case Field.MAGNITUDE:
                self._size = value_digits(n, 256)
                return
            case Field.INDEX:
                self._expected = b"%d" % n
            case Field.LENGTH:
                self._expected = b"%d" % value_digits(n)
            case Field.LENGTH_U32:
                self._expected = value_digits(n, 256).to_bytes(4, "little")
            case str():
                self._expected = piece.encode()
                if n == self._stop - 1 and self._next_piece == len(element):
                    size = len(piece) - self._format.separator_size
                    self._expected = self._expected[:size]
        self._size = len(self._expected)

    def _check(self, taken: bytes) -> None:
        """Check some bytes of the current piece."""
        if self._piece is Field.DIGITS:
            if not taken.isdigit():
                raise WrongNumber(self.n, f"{_shown(taken.strip(b'0123456789'))} is not a digit")
            if not self._done and taken[:1] == b"0" and self._size > 1:
                raise WrongNumber(self.n, "it has a leading zero")
            self._residue = append_digits(self._residue, taken)
        elif self._piece is Field.MAGNITUDE:
            is_last = self._done + len(taken) == self._size
            if is_last and not taken[-1]:
                raise WrongNumber(self.n, "its most significant byte is zero")
            self._residue = append_bytes(self._residue, self._done, taken)
        else:
            expected = self._expected[self._done : self._done + len(taken)]
            if taken != expected:
                name = _FIELD_NAMES[self._piece] if isinstance(self._piece, Field) else "text"
                raise WrongNumber(
                    self.n, f"the {name} is {_shown(taken)}, expected {_shown(expected)}"
                )

    def _end_piece(self) -> None:
        """Compare the residue if the piece is the number, and start the next piece or element."""
        current, following = self._residues
        is_number = self._piece is Field.DIGITS or self._piece is Field.MAGNITUDE
        if is_number and self._residue != current:
            raise WrongNumber(
                self.n, f"modulo 2^61-1 it is {self._residue:,}, expected {current:,}"
            )
        if self._next_piece == len(self._format.element):
            self._next_piece = 0
            self.n += 1
            self._residues = following, (current + following) % PRIME
        else:
            self._begin_piece()
            if not self._size:
                self._end_piece()  # F(0) has no bytes in the format binary


_FIELD_NAMES = {
    Field.INDEX: "index",
    Field.LENGTH: "length",
    Field.LENGTH_U32: "length",
}


def _shown(data: bytes) -> str:
    return repr(data[:SHOWN_BYTES])[1:]
