"""Formats: encoding and exact size of the elements.

A format is an entry of the table at the end of this module. Its element is a sequence of pieces,
each either literal text or a field that depends on n. The pieces determine the size of element n,
its offset among all elements, and the bytes that a worker writes. To add a format, add an entry;
for REST also its file suffix in `fibweb.http.representations`, its part of the API description in
`fibweb.resources.openapi_parts`, and its name on the page in `fibweb/page/formats.js`.

The encoded elements are contiguous, so a slice is one run of bytes; `Format.offset` returns where
it begins and ends.
"""

import struct
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from fibcommon import sizes

__all__ = ["FORMATS", "Field", "Format", "decode_binary"]


class Field(Enum):
    """A piece of an element that depends on the index n."""

    INDEX = "n in decimal"
    LENGTH = "the number of decimal digits of F(n), in decimal"
    DIGITS = "F(n) in decimal"
    LENGTH_U32 = "the number of bytes of F(n), four bytes, little-endian"
    MAGNITUDE = "F(n) in bytes, little-endian"


class _Measure(NamedTuple):
    """Size functions of a field: for one n, and summed over all smaller n."""

    of: Callable[[int], int]
    before: Callable[[int], int]


_MEASURES = {
    Field.INDEX: _Measure(sizes.index_digits, sizes.index_digits_before),
    Field.LENGTH: _Measure(sizes.length_digits, sizes.length_digits_before),
    Field.DIGITS: _Measure(sizes.value_digits, sizes.value_digits_before),
    Field.LENGTH_U32: _Measure(lambda n: 4, lambda n: 4 * n),
    Field.MAGNITUDE: _Measure(
        lambda n: sizes.value_digits(n, 256), lambda n: sizes.value_digits_before(n, 256)
    ),
}


class Format:
    """Encoding of elements.

    Attributes:
        name: Name of the format in requests.
        media_type: Media type in HTTP.
        element: Pieces of one element, its separator included.
        separator_size: Size of the separator in bytes. The last element of a slice has none.
    """

    __slots__ = ("_fixed_size", "_measures", "element", "media_type", "name", "separator_size")

    def __init__(
        self,
        name: str,
        media_type: str,
        element: tuple[str | Field, ...],
        separator_size: int = 0,
    ) -> None:
        """Define a format; its attributes must not be changed."""
        self.name = name
        self.media_type = media_type
        self.element = element
        self.separator_size = separator_size
        literals = [piece for piece in element if isinstance(piece, str)]
        self._fixed_size = len("".join(literals))
        self._measures = tuple(_MEASURES[piece] for piece in element if isinstance(piece, Field))

    def __repr__(self) -> str:
        return f"Format({self.name!r})"

    @property
    def separator(self) -> bytes:
        """The bytes between two elements, omitted after the last one."""
        last = self.element[-1]
        return last[len(last) - self.separator_size :].encode() if isinstance(last, str) else b""

    def size(self, n: int) -> int:
        """Return the size of element n in bytes, its separator included."""
        return self._fixed_size + sum(measure.of(n) for measure in self._measures)

    def offset(self, n: int) -> int:
        """Return the offset of element n in bytes: the size of elements 0 to n-1."""
        return self._fixed_size * n + sum(measure.before(n) for measure in self._measures)

    def slice_size(self, start: int, stop: int) -> int:
        """Return the size in bytes of elements start to stop-1, without the last separator."""
        if start == stop:
            return 0
        return self.offset(stop) - self.offset(start) - self.separator_size

    def stop_within(self, start: int, size_bytes: int) -> int:
        """Return the largest stop such that elements start to stop-1 fit in `size_bytes`."""
        limit = self.offset(start) + size_bytes
        # Newton's method from above. Sizes do not decrease with n, except for the first few
        # elements, hence the slack of 2. So no step goes below the result.
        stop = start + size_bytes // self.size(start) + 2
        while (excess := self.offset(stop) - limit) > 0:
            stop -= -(-excess // self.size(stop))
        return stop

    def max_count(self, max_index: int, max_size_bytes: int, start: int = 0) -> int:
        """Return the largest N such that N elements are within two limits.

        Args:
            max_index: Largest index of an element, >= 0.
            max_size_bytes: Largest size of the elements, without the last separator, >= 0.
            start: Index of the first element, >= 0.
        """
        if start > max_index:
            return 0
        stop = self.stop_within(start, max_size_bytes + self.separator_size)
        return min(max_index + 1, stop) - start


_TABLE = (
    Format(
        "array",
        "application/x-resp",
        ("$", Field.LENGTH, "\r\n", Field.DIGITS, "\r\n"),
    ),
    Format("json", "application/json", ('"', Field.DIGITS, '",'), separator_size=1),
    Format("text", "text/plain", (Field.DIGITS, "\n")),
    Format("csv", "text/csv", (Field.INDEX, ",", Field.DIGITS, "\n")),
    Format(
        "ndjson",
        "application/x-ndjson",
        ('{"n":', Field.INDEX, ',"value":"', Field.DIGITS, '"}\n'),
    ),
    Format("bfile", "text/plain", (Field.INDEX, " ", Field.DIGITS, "\n")),
    Format("binary", "application/octet-stream", (Field.LENGTH_U32, Field.MAGNITUDE)),
)

_LENGTH_U32 = struct.Struct("<I")

FORMATS = {entry.name: entry for entry in _TABLE}


def decode_binary(data: bytes | bytearray | memoryview) -> list[int]:
    """Return the numbers of a slice in the format `binary`.

    Raises:
        ValueError: The data ends inside an element.
    """
    numbers = []
    to_int, length_at = int.from_bytes, _LENGTH_U32.unpack_from
    position, end = 0, len(data)
    try:
        while position < end:
            value_start = position + 4
            position = value_start + length_at(data, position)[0]
            numbers.append(to_int(data[value_start:position], "little"))
    except struct.error:
        position = -1  # the data ends inside a length
    if position != end:
        raise ValueError(f"binary data of {end} bytes ends inside an element")
    return numbers
