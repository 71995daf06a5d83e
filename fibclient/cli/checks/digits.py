"""The checker: whether the bytes of an answer are the numbers they should be.

It takes them as they come, in pieces of any size, and keeps none of them. What a format says
about an element is walked through piece by piece: text, index and lengths are known and compared,
the number itself is compared by its residue (`fibcommon.modular`).
"""

from fibcommon.formats import Field, Format
from fibcommon.modular import PRIME, append_bytes, append_digits, fibonacci_pair
from fibcommon.sizes import value_digits

__all__ = ["AnswerChecker", "WrongAnswer"]

SHOWN_BYTES = 32
"""How much of what is wrong is repeated to people."""


class WrongAnswer(Exception):
    """A number is not what it should be.

    Args:
        n: its index.
        reason: what is wrong with it, in words.
    """

    def __init__(self, n: int, reason: str) -> None:
        super().__init__(f"F({n}) is wrong: {reason}")
        self.n = n
        self.reason = reason


class AnswerChecker:
    """Checks elements start to stop-1 of a format, in order.

    Attributes:
        n: the element that comes next, or is under way; those before it are right.
    """

    def __init__(self, format: Format, start: int, stop: int) -> None:
        """Describe what is to come.

        Args:
            format: how the elements are encoded.
            start: >= 0.
            stop: >= start.
        """
        self.n = start
        self._format = format
        self._stop = stop
        self._residues = fibonacci_pair(start)  # of F(n) and F(n+1)
        self._next_piece = 0  # of the element
        self._piece: str | Field = ""  # the one under way
        self._size = 0  # of the piece
        self._done = 0  # how much of it has come
        self._expected = b""  # the piece, where it is not the number
        self._residue = 0  # of what has come of the number

    def feed(self, data: bytes | memoryview) -> None:
        """Check the next bytes.

        Raises:
            WrongAnswer: some of them are wrong.
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
        """Check that all has come, and the sums of residues themselves.

        Raises:
            WrongAnswer: the answer is too short, or this machine adds wrongly.
        """
        if self.n < self._stop:
            raise WrongAnswer(self.n, "the answer ends before or within it")
        if self._residues != fibonacci_pair(self.n):
            raise WrongAnswer(self.n - 1, "the sums do not agree with fast doubling")

    def _begin_piece(self) -> None:
        """Go on to the next piece of the element; or to the first of the next."""
        n, element = self.n, self._format.element
        if n == self._stop:
            raise WrongAnswer(n, "it was not asked for")
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
        """Check some of a piece."""
        if self._piece is Field.DIGITS:
            if not taken.isdigit():
                raise WrongAnswer(self.n, f"{_shown(taken.strip(b'0123456789'))} is no digit")
            if not self._done and taken[:1] == b"0" and self._size > 1:
                raise WrongAnswer(self.n, "it begins with a zero")
            self._residue = append_digits(self._residue, taken)
        elif self._piece is Field.MAGNITUDE:
            is_last = self._done + len(taken) == self._size
            if is_last and not taken[-1]:
                raise WrongAnswer(self.n, "its highest byte is zero")
            self._residue = append_bytes(self._residue, self._done, taken)
        else:
            expected = self._expected[self._done : self._done + len(taken)]
            if taken != expected:
                what = _WORDS[self._piece] if isinstance(self._piece, Field) else "the text"
                raise WrongAnswer(
                    self.n, f"{what} {_shown(taken)} stands where {_shown(expected)} should"
                )

    def _end_piece(self) -> None:
        """Judge the number if this was it, and go on to the next piece, if there is one."""
        current, following = self._residues
        is_number = self._piece is Field.DIGITS or self._piece is Field.MAGNITUDE
        if is_number and self._residue != current:
            raise WrongAnswer(
                self.n, f"modulo 2^61-1 it is {self._residue:,}, and should be {current:,}"
            )
        if self._next_piece == len(self._format.element):
            self._next_piece = 0
            self.n += 1
            self._residues = following, (current + following) % PRIME
        else:
            self._begin_piece()
            if not self._size:
                self._end_piece()  # F(0) has no bytes


_WORDS = {
    Field.INDEX: "the index",
    Field.LENGTH: "the length",
    Field.LENGTH_U32: "the length",
}


def _shown(data: bytes) -> str:
    return repr(data[:SHOWN_BYTES])[1:]
