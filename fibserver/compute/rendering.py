"""Rendering: the bytes of a run of elements, with proof that they are right.

It owns neither memory nor processes: bytes go, a chunk at a time, to a function that the
caller gives. A run that renders to other than its predicted size, or whose last numbers
differ from an independent computation, raises; nothing is ever written past its end.

Numbers come in one of two ways. Small ones, those of short runs and those of `binary` are added
one after another. All others come from `fibserver.compute.simd_lanes`, several at once: the run is
cut into as many runs of equal length, each with a beginning and an end known in advance, and the
bytes of each go where it lies.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, localcontext
from itertools import accumulate, islice, pairwise
from typing import NamedTuple, TypeAlias

from fibcommon.formats import Field, Format
from fibcommon.sizes import value_digits
from fibserver.compute.arithmetic import (
    EXACT,
    Number,
    fibonacci_pair,
    fibonacci_pair_by_squares,
    pairs_apart,
)
from fibserver.compute.simd_lanes import Lanes

__all__ = ["RenderingError", "Write", "render"]

CHUNK_BYTES = 64 * 1024
"""A chunk stays in the processor's cache from its digits to the copy into shared memory: in
one piece of 4 MiB the same work was measured to take several times as long."""

LANES_BYTES = 512 * 1024
"""The same for the chunks of all lanes together. With 128 KiB the calls for each chunk made the
first 30,000 numbers take half as long again; 1 MiB would save 5 %, but not every second-level
cache has room for more."""

# How many lanes, by measurement from n = 1,000 to 1,000,000. More of them share the cost of
# numpy's calls, some 10 µs a step, but fill the second-level cache; and the first pair of each
# costs as much as two numbers by `str`. So there are 24 from n = 2,400 on (before, `str` is
# faster), 8 at n = 30,000 (where they take less than half of its time), and 1 from n = 130,000 on.
MOST_LANES = 24
MOST_DIGITS = 55_000
LEAST_DIGITS = 12_000
LEAST_STEPS = 16

Write: TypeAlias = Callable[[bytes, int], object]
"""Takes a chunk of bytes, and where it goes: the offset from the first byte of the run."""


class RenderingError(Exception):
    """What was computed contradicts what was predicted: a fault of the machine or of us."""


def render(format: Format, start: int, stop: int, write: Write) -> "array[int]":
    """Compute elements start to stop-1 and write their bytes.

    Args:
        format: how elements are encoded.
        start: the first element, >= 0.
        stop: the element after the last, > start.
        write: takes the chunks, which leave no gap and do not overlap, in any order.

    Returns:
        For each element, the offset of its end among all elements of the format.

    Raises:
        RenderingError: a size or a number is not what it must be.
    """
    with localcontext(EXACT):
        if Field.MAGNITUDE in format.element:
            return _render_in_turn(format, start, stop, write, int, Field.MAGNITUDE, _magnitude)
        count = _lanes_for(start, stop)
        if count:
            return _render_in_lanes(format, start, stop, write, count)
        return _render_in_turn(format, start, stop, write, Decimal, Field.DIGITS, _digits)


def _lanes_for(start: int, stop: int) -> int:
    """Return how many lanes are best for a run of digits, 0 if one number after another is."""
    digits = value_digits(start)
    count = min(MOST_LANES, max(1, MOST_DIGITS // digits), (stop - start) // LEAST_STEPS)
    return count if count * digits >= LEAST_DIGITS else 0


class _Run:
    """Elements that are written in order, in no more and no fewer bytes than predicted.

    Attributes:
        ends: for each element so far, the offset of its end among all of the format.
    """

    def __init__(
        self, encode: "Encoder", write: Write, elements: tuple[int, int], offsets: tuple[int, int]
    ) -> None:
        """Begin a run.

        Args:
            encode: makes elements of values.
            write: takes chunks, and their offsets among all elements of the format.
            elements: the first element, and the one after the last.
            offsets: where they must begin.
        """
        self.ends = array("Q")
        self._encode = encode
        self._write = write
        self._start, self._stop = elements
        self._offset, self._limit = offsets

    def write(self, values: Sequence["Value"]) -> None:
        """Write the elements of the next values, those after the last element left out."""
        first = self._start + len(self.ends)
        values = values[: self._stop - first]
        if not values:
            return
        chunk, sizes = self._encode(first, values)
        self.ends.extend(islice(accumulate(sizes, initial=self._offset), 1, None))
        if self._offset + len(chunk) > self._limit:
            raise RenderingError(f"{self} go on after byte {self._limit}")
        self._write(chunk, self._offset)
        self._offset += len(chunk)

    def close(self) -> None:
        """Check that the run ends where it must."""
        if self._offset != self._limit:
            raise RenderingError(f"{self} end at byte {self._offset}, not {self._limit}")

    def __str__(self) -> str:
        return f"elements {self._start} to {self._start + len(self.ends) - 1}"


def _runs(format: Format, bounds: list[int], value_field: Field, write: Write) -> list[_Run]:
    """Return the runs between elements; `write` takes offsets from the first of them."""
    encode = _encoder(format, value_field)
    offsets = [format.offset(bound) for bound in bounds]
    if offsets != sorted(offsets):  # so that no run reaches out of the whole
        raise RenderingError(f"offsets of {format.name} elements fall: {offsets}")

    def write_there(chunk: bytes, offset: int) -> None:
        write(chunk, offset - offsets[0])

    pairs = zip(pairwise(bounds), pairwise(offsets), strict=True)
    return [_Run(encode, write_there, *pair) for pair in pairs]


def _render_in_turn(
    format: Format,
    start: int,
    stop: int,
    write: Write,
    number: type[Number],
    value_field: Field,
    value_bytes: Callable[[Number], bytes],
) -> "array[int]":
    (run,) = _runs(format, [start, stop], value_field, write)
    current, following = fibonacci_pair_by_squares(start, number)
    step = max(1, CHUNK_BYTES // format.size(start))
    for first in range(start, stop, step):
        values = []
        for _ in range(first, min(first + step, stop)):
            values.append(value_bytes(current))
            current, following = following, current + following
        run.write(values)
    run.close()
    if (following - current, current) != fibonacci_pair(stop - 1, number):
        raise RenderingError(f"the additions from F({start}) end in a wrong F({stop - 1})")
    return run.ends


def _render_in_lanes(
    format: Format, start: int, stop: int, write: Write, count: int
) -> "array[int]":
    length = -(-(stop - start) // count)
    firsts = range(start, stop, length)
    end = firsts[-1] + length  # up to `length` - 1 numbers too many, for lanes of equal length
    runs = _runs(format, [*firsts, stop], Field.DIGITS, write)
    most_digits = value_digits(end + 1)
    steps_at_once = max(1, LANES_BYTES // (len(runs) * most_digits))
    first_pair = fibonacci_pair_by_squares(start, Decimal)
    try:
        pairs = list(pairs_apart(first_pair, length, len(runs)))
        lanes = Lanes(pairs, most_digits, steps_at_once)
        for done in range(0, length, steps_at_once):
            numbers = lanes.advance(min(steps_at_once, length - done))
            for run, values in zip(runs, numbers, strict=True):
                run.write(values)
        for run in runs:
            run.close()
        is_proved = lanes.meet(fibonacci_pair(end, Decimal))
    except OverflowError as error:
        raise RenderingError(f"the numbers from F({start}) on are too large: {error}") from error
    if not is_proved:
        raise RenderingError(f"the additions from F({start}) to F({end}) contradict each other")
    ends = array("Q")
    for run in runs:
        ends.extend(run.ends)
    return ends


def _digits(value: Decimal) -> bytes:
    return str(value).encode("ascii")


def _magnitude(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


Value: TypeAlias = bytes | memoryview
"""A number, encoded."""

Encoder: TypeAlias = Callable[[int, Sequence[Value]], tuple[bytes, list[int]]]
"""From the first index and the values of a chunk to its bytes and the size of each element."""


class _FieldCode(NamedTuple):
    """How a field before the value is written: a %-code, and what of several elements it takes."""

    code: str
    arguments: Callable[[range, Sequence[Value]], Iterable[object]]


_FIELD_CODES = {
    Field.INDEX: _FieldCode("%d", lambda indices, values: indices),
    Field.LENGTH: _FieldCode("%d", lambda indices, values: map(len, values)),
    Field.LENGTH_U32: _FieldCode(
        "%b", lambda indices, values: (len(value).to_bytes(4, "little") for value in values)
    ),
}


def _encoder(format: Format, value_field: Field) -> Encoder:
    position = format.element.index(value_field)
    after = _literal(*format.element[position + 1 :])
    heads = _heads(format.element[:position])

    def encode(first: int, values: Sequence[Value]) -> tuple[bytes, list[int]]:
        pieces: list[Value] = [after] * (3 * len(values))
        pieces[0::3] = before = heads(range(first, first + len(values)), values)
        pieces[1::3] = values
        fixed_size = len(after)
        sizes = [
            len(head) + len(value) + fixed_size for head, value in zip(before, values, strict=True)
        ]
        return b"".join(pieces), sizes

    return encode


def _heads(element: tuple[str | Field, ...]) -> Callable[[range, Sequence[Value]], list[bytes]]:
    """Return what gives the pieces before the value, joined, of several elements."""
    fields = [_FIELD_CODES[piece] for piece in element if isinstance(piece, Field)]
    if not fields:
        literal = _literal(*element)
        return lambda indices, values: [literal] * len(values)
    template = "".join(
        _FIELD_CODES[piece].code if isinstance(piece, Field) else piece.replace("%", "%%")
        for piece in element
    ).encode("ascii")

    def heads(indices: range, values: Sequence[Value]) -> list[bytes]:
        columns = [field.arguments(indices, values) for field in fields]
        return [template % arguments for arguments in zip(*columns, strict=True)]

    return heads


def _literal(*pieces: str | Field) -> bytes:
    """Return literal pieces as bytes; a field cannot stand behind the value."""
    return "".join(piece for piece in pieces if isinstance(piece, str)).encode("ascii")
