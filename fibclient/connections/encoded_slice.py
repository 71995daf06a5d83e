"""An answer as bytes: which requests fetch which of them.

Every size is known in advance, so any run of an answer's bytes can be asked for by itself: an
answer that broke off goes on from its very next byte, and a large one comes in several parts
at a time. This module knows only numbers; `fibclient.transport.transfer` does what it says.
"""

from functools import lru_cache
from itertools import pairwise
from operator import index
from typing import NamedTuple

from fibclient.connections.resp import encode_request
from fibcommon.costs import SECONDS_PER_BYTE, first_element_seconds
from fibcommon.formats import FORMATS, Format

__all__ = ["EncodedSlice", "Request", "offset"]

MAX_INDEX = 2**128 - 1
"""Far beyond any limit that a server can be given: it is the server that tells its limit."""

_BULK_FORMATS = {name: entry for name, entry in FORMATS.items() if name != "array"}


@lru_cache(maxsize=65_536)
def offset(format: Format, n: int) -> int:
    """Return the number of bytes before element n, remembered: it takes much of a round trip."""
    return format.offset(n)


def _slice_size(format: Format, start: int, stop: int) -> int:
    if start == stop:
        return 0
    if stop - start == 1:
        return format.size(start) - format.separator_size  # in a tenth of the time
    return offset(format, stop) - offset(format, start) - format.separator_size


class Request(NamedTuple):
    """What to ask a server for, to get some bytes of an answer.

    Attributes:
        start: the first element to ask for.
        stop: the one behind the last.
        size: the bytes that the server will answer.
        skip: how many of them come before the wanted ones.
        encoded: the request as it travels.
        header: what the reply must begin with.
        cost_seconds: what a worker needs for it.
    """

    start: int
    stop: int
    size: int
    skip: int
    encoded: bytes
    header: bytes
    cost_seconds: float

    @classmethod
    def of(cls, format: Format, start: int, stop: int, skip: int = 0) -> "Request":
        """Return the request for elements start to stop-1."""
        size = _slice_size(format, start, stop)
        encoded = encode_request("FIB.RANGE", start, stop, "FORMAT", format.name)
        cost = first_element_seconds(format, start) + size * SECONDS_PER_BYTE
        return cls(start, stop, size, skip, encoded, b"$%d\r\n" % size, cost)


class EncodedSlice(NamedTuple):
    """Elements start to stop-1 of a format, in one piece.

    Attributes:
        format: how they are encoded.
        start: >= 0.
        stop: >= start.
        size: in bytes.
        whole: the request for all of it.
    """

    format: Format
    start: int
    stop: int
    size: int
    whole: Request

    @classmethod
    def of(cls, start: int, stop: int, format_name: str) -> "EncodedSlice":
        """Return what a caller asks for.

        Raises:
            ValueError: no server could answer it.
            TypeError: a bound is no integer.
        """
        return _remembered(start, stop, format_name)

    def between(self, start: int, stop: int) -> "EncodedSlice":
        """Return the answer for other bounds in the same format."""
        return _answer(self.format, start, stop)

    def request(self, begin: int, end: int) -> Request:
        """Return the smallest request for bytes begin to end-1 of this answer.

        Args:
            begin: 0 <= begin < end.
            end: <= size.
        """
        if begin == 0 and end == self.size:
            return self.whole
        format = self.format
        start = format.stop_within(self.start, begin)
        stop = format.stop_within(self.start, end)
        # The separator behind an answer's last element is left off, so a range that ends within or
        # behind a separator takes one element more.
        while stop < self.stop and _slice_size(format, self.start, stop) < end:
            stop += 1
        return Request.of(format, start, stop, skip=begin - self.offset(start))

    def offset(self, n: int) -> int:
        """Return the number of bytes of this answer before element n."""
        return offset(self.format, n) - offset(self.format, self.start)

    def parts(self, count: int) -> "list[EncodedSlice]":
        """Split into answers of about the same size, in order; separators are between them.

        Args:
            count: how many, >= 1; fewer if there are not so many elements.
        """
        count = min(count, self.stop - self.start)
        shares = [self.size * number // count for number in range(1, count)]
        within = [self.format.stop_within(self.start, share) for share in shares]
        bounds = [self.start, *within, self.stop]
        return [self.between(start, stop) for start, stop in pairwise(bounds) if start < stop]


def _answer(format: Format, start: int, stop: int) -> EncodedSlice:
    whole = Request.of(format, start, stop)
    return EncodedSlice(format, start, stop, whole.size, whole)


# Typed, since 1.0 equals 1 and is no integer all the same.
@lru_cache(maxsize=4096, typed=True)
def _remembered(start: int, stop: int, format_name: str) -> EncodedSlice:
    """Return what a caller asks for; many ask for the same again and again."""
    start, stop = index(start), index(stop)
    if not 0 <= start <= stop <= MAX_INDEX:
        raise ValueError(
            f"range {_short(start)} to {_short(stop)}: 0 <= start <= stop < 2^128 must hold"
        )
    format = _BULK_FORMATS.get(format_name)
    if format is None:
        known = ", ".join(_BULK_FORMATS)
        raise ValueError(f"format {format_name!r}: it must be one of {known}")
    return _answer(format, start, stop)


def _short(n: int) -> str:
    return str(n) if abs(n) <= MAX_INDEX else f"a number of {n.bit_length()} bits"
