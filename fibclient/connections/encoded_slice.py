"""Slices as runs of bytes, and the requests that fetch any part of them.

All sizes are known in advance, so any byte range of a slice can be requested separately: an
interrupted transfer resumes at the next byte, and a large slice can be fetched in parallel parts.
This module only computes; `fibclient.transport.transfer` does the I/O.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import index
from typing import NamedTuple

from fibclient.connections.resp import encode_request
from fibcommon.costs import slice_seconds
from fibcommon.formats import FORMATS, Format

__all__ = ["EncodedSlice", "SliceRequest", "group_consecutive", "offset"]

MAX_INDEX = 2**128 - 1
"""Far beyond any limit that a server can have; servers enforce their own."""

_BULK_FORMATS = {name: entry for name, entry in FORMATS.items() if name != "array"}


@lru_cache(maxsize=65_536)
def offset(format: Format, n: int) -> int:
    """Return the number of bytes before element n; cached, as it takes much of a round trip."""
    return format.offset(n)


def _slice_size(format: Format, start: int, stop: int) -> int:
    if start == stop:
        return 0
    if stop - start == 1:
        return format.size(start) - format.separator_size  # ten times as fast
    return offset(format, stop) - offset(format, start) - format.separator_size


class SliceRequest(NamedTuple):
    """A request for a byte range of a slice.

    Attributes:
        start: First element.
        stop: Element to stop before.
        size: Size in bytes of the bulk string in the reply.
        skip: Number of its first bytes to discard.
        encoded: The request as sent.
        header: What the reply must begin with.
        cost_seconds: Predicted computing time of a worker.
    """

    start: int
    stop: int
    size: int
    skip: int
    encoded: bytes
    header: bytes
    cost_seconds: float

    @classmethod
    def of(cls, format: Format, start: int, stop: int, skip: int = 0) -> "SliceRequest":
        """Return the request for elements start to stop-1."""
        size = _slice_size(format, start, stop)
        encoded = encode_request("FIB.RANGE", start, stop, "FORMAT", format.name)
        cost = slice_seconds(format, start, size)
        return cls(start, stop, size, skip, encoded, b"$%d\r\n" % size, cost)


class EncodedSlice(NamedTuple):
    """Elements start to stop-1 of one format, as a run of bytes.

    Attributes:
        format: How the elements are encoded.
        start: First element, >= 0.
        stop: Element to stop before, >= start.
        size: Size in bytes.
        whole: The request for all of it.
    """

    format: Format
    start: int
    stop: int
    size: int
    whole: SliceRequest

    @classmethod
    def of(cls, start: int, stop: int, format_name: str) -> "EncodedSlice":
        """Return the slice for a caller's arguments.

        Raises:
            ValueError: The range or the format is invalid.
            TypeError: A bound is not an integer.
        """
        return _validated(start, stop, format_name)

    def between(self, start: int, stop: int) -> "EncodedSlice":
        """Return the slice with other bounds in the same format."""
        return _slice(self.format, start, stop)

    def request(self, begin: int, end: int) -> SliceRequest:
        """Return the smallest request that covers bytes begin to end-1 of this slice.

        Args:
            begin: First byte, 0 <= begin < end.
            end: Byte to stop before, <= size.
        """
        if begin == 0 and end == self.size:
            return self.whole
        format = self.format
        start = format.stop_within(self.start, begin)
        stop = format.stop_within(self.start, end)
        # A reply omits the separator after its last element, so a range that ends within or after
        # a separator needs one more element.
        while stop < self.stop and _slice_size(format, self.start, stop) < end:
            stop += 1
        return SliceRequest.of(format, start, stop, skip=begin - self.offset(start))

    def offset(self, n: int) -> int:
        """Return the number of bytes of this slice before element n."""
        return offset(self.format, n) - offset(self.format, self.start)

    def split_bytes(self, data: bytes, parts: "Sequence[EncodedSlice]") -> list[bytes]:
        """Return the bytes of consecutive slices that this one consists of.

        Args:
            data: All bytes of this slice.
            parts: The slices, from `start` to `stop`, in order and not empty.
        """
        pieces, begin = [], 0
        for part in parts:
            pieces.append(data[begin : begin + part.size])
            begin += part.size + self.format.separator_size
        return pieces

    def parts(self, count: int) -> "list[EncodedSlice]":
        """Split into consecutive slices of about equal size, which omit the separators between.

        Args:
            count: Number of parts, >= 1; the number of elements if that is less.
        """
        count = min(count, self.stop - self.start)
        shares = [self.size * number // count for number in range(1, count)]
        within = [self.format.stop_within(self.start, share) for share in shares]
        bounds = [self.start, *within, self.stop]
        return [self.between(start, stop) for start, stop in pairwise(bounds) if start < stop]


def group_consecutive(slices: Iterable[EncodedSlice]) -> dict[EncodedSlice, list[EncodedSlice]]:
    """Return slices that cover the same elements, with what each consists of.

    Slices of a format that follow each other when sorted become one: a server computes its first
    element by doubling, and all others by additions.

    Args:
        slices: Distinct slices in any order, not empty.
    """
    runs: list[list[EncodedSlice]] = []
    for slice_ in sorted(slices, key=lambda each: (each.format.name, each.start, each.stop)):
        last = runs[-1][-1] if runs else None
        if last is not None and last.format is slice_.format and last.stop == slice_.start:
            runs[-1].append(slice_)
        else:
            runs.append([slice_])
    return {
        (run[0] if len(run) == 1 else run[0].between(run[0].start, run[-1].stop)): run
        for run in runs
    }


def _slice(format: Format, start: int, stop: int) -> EncodedSlice:
    whole = SliceRequest.of(format, start, stop)
    return EncodedSlice(format, start, stop, whole.size, whole)


# `typed`: 1.0 equals 1, but is not an integer.
@lru_cache(maxsize=4096, typed=True)
def _validated(start: int, stop: int, format_name: str) -> EncodedSlice:
    """Return a slice; cached, since callers repeat the same ones."""
    start, stop = index(start), index(stop)
    if not 0 <= start <= stop <= MAX_INDEX:
        raise ValueError(
            f"range {_short(start)} to {_short(stop)}: 0 <= start <= stop < 2^128 must hold"
        )
    format = _BULK_FORMATS.get(format_name)
    if format is None:
        known = ", ".join(_BULK_FORMATS)
        raise ValueError(f"unknown format {format_name!r}: must be one of {known}")
    return _slice(format, start, stop)


def _short(n: int) -> str:
    return str(n) if abs(n) <= MAX_INDEX else f"a number of {n.bit_length()} bits"
