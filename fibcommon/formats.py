"""The formats: how one element of an answer is encoded, and how long it is.

A format is one entry of the table at the end. An element is a sequence of pieces: literal
text, or a field that depends on n. Everything else follows from them: the size of element n,
the offset of element n among all elements, and what a worker writes. Adding a format is
adding an entry.

The encoded elements lie one after another, so an answer is one contiguous run of bytes:
`Format.offset` says where it starts and ends.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from fibcommon import sizes

__all__ = ["FORMATS", "Field", "Format", "decode_binary"]


class Field(Enum):
    """A piece of an element that depends on its index."""

    INDEX = "n in decimal"
    LENGTH = "the number of decimal digits of F(n), in decimal"
    DIGITS = "F(n) in decimal"
    LENGTH_U32 = "the number of bytes of F(n), four bytes, little-endian"
    MAGNITUDE = "F(n) in bytes, little-endian"


class _Measure(NamedTuple):
    """The size of a field for one n, and the sum of its sizes for all smaller n."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """How the elements of an answer are encoded.

    Attributes:
        name: what a request calls it.
        media_type: what HTTP calls it.
        element: the pieces of one element, its separator included.
        separator_size: how many of an element's last bytes stand only *between* elements, and
            so are left off behind the last one of an answer.
    """

    name: str
    media_type: str
    element: tuple[str | Field, ...]
    separator_size: int = 0
    _fixed_size: int = field(init=False, repr=False)
    _measures: tuple[_Measure, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        literals = [piece for piece in self.element if isinstance(piece, str)]
        measures = [_MEASURES[piece] for piece in self.element if isinstance(piece, Field)]
        object.__setattr__(self, "_fixed_size", len("".join(literals)))
        object.__setattr__(self, "_measures", tuple(measures))

    @property
    def separator(self) -> bytes:
        """What stands between two elements, and not behind the last."""
        last = self.element[-1]
        return last[len(last) - self.separator_size :].encode() if isinstance(last, str) else b""

    def size(self, n: int) -> int:
        """Return the size of element n in bytes, its separator included."""
        return self._fixed_size + sum(measure.of(n) for measure in self._measures)

    def offset(self, n: int) -> int:
        """Return the number of bytes before element n: the sizes of elements 0 to n-1."""
        return self._fixed_size * n + sum(measure.before(n) for measure in self._measures)

    def slice_size(self, start: int, stop: int) -> int:
        """Return the size in bytes of an answer that holds elements start to stop-1."""
        if start == stop:
            return 0
        return self.offset(stop) - self.offset(start) - self.separator_size

    def stop_within(self, start: int, size_bytes: int) -> int:
        """Return the largest stop such that elements start to stop-1 fit in `size_bytes`."""
        limit = self.offset(start) + size_bytes
        # Newton's method from above. Sizes never shrink with n, but for the first few elements,
        # whence the slack of 2: so a step never goes below the answer.
        stop = start + size_bytes // self.size(start) + 2
        while (excess := self.offset(stop) - limit) > 0:
            stop -= -(-excess // self.size(stop))
        return stop


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
    """Return the numbers of an answer in the `binary` format.

    Raises:
        ValueError: the data ends inside an element.
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
        position = -1  # inside a length
    if position != end:
        raise ValueError(f"binary answer of {end} bytes ends inside an element")
    return numbers
