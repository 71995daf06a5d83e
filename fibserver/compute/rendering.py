"""Rendering of a run of elements as bytes, with verification of the result.

The module owns no memory: it passes the bytes in chunks to a function of the caller. It raises
`RenderingError` if a run does not have its predicted size, or if its last two numbers do not have
the residues of Fibonacci numbers modulo two random primes (`fibcommon.modular`): an error anywhere
in a run changes its last two numbers. No byte is ever written outside the run.

Numbers are computed in one of two ways. Small numbers, those of short runs and those of the format
`binary` are added one by one. All others come from `fibserver.compute.simd_lanes`, several at
once: the run is cut into shorter runs of equal length, one per lane. Where the bytes of each begin
and end is known in advance, so the chunks of all lanes can be written alternately.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, localcontext
from functools import cache
from itertools import accumulate, islice, pairwise
from random import SystemRandom
from typing import NamedTuple, TypeAlias

from fibcommon import modular
from fibcommon.formats import Field, Format
from fibcommon.sizes import value_digits
from fibserver.compute.arithmetic import (
    EXACT,
    Number,
    fibonacci,
    fibonacci_pair,
    pairs_apart,
)
from fibserver.compute.simd_lanes import Lanes

__all__ = ["RenderingError", "Write", "render", "verify_last"]

CHUNK_BYTES = 64 * 1024
"""Size of a chunk. It stays in the processor cache until it is copied into shared memory; with
chunks of 4 MiB the same work took several times as long."""

LANES_BYTES = 512 * 1024
"""Size of the chunks of all lanes together, for the same reason. With 128 KiB the calls per chunk
made the first 30,000 numbers take half as long again; 1 MiB would save 5 %, but exceeds some
second-level caches."""

# The number of lanes, optimized by measurements from n = 1,000 to 1,000,000. Lanes share the cost
# of numpy's calls, about 10 µs per step, but fill the second-level cache, and the first pair of
# each costs as much as two numbers by `str`. So there are 24 from n = 2,400 on (`str` is faster
# below), 8 at n = 30,000 (where they take less than half the time of `str`), and 1 from
# n = 132,000 on. MAX_DIGITS and MIN_DIGITS are the digits of one number per lane, in total.
MAX_LANES = 24
MAX_DIGITS = 55_000
MIN_DIGITS = 12_000
MIN_STEPS = 16

VERIFIED_DIGITS = 1000
"""How many of the last digits of a number `verify_last` verifies, in less than a millisecond."""

Write: TypeAlias = Callable[[bytes, int], object]
"""Writes a chunk of bytes at an offset from the first byte of the run."""


class RenderingError(Exception):
    """Computed or stored elements are not those expected."""


def render(format: Format, start: int, stop: int, write: Write) -> "array[int]":
    """Compute elements start to stop-1 and write their bytes.

    Args:
        format: Format of the elements.
        start: First element, >= 0.
        stop: Element after the last, > start.
        write: Called with each chunk, in any order; chunks have no gaps and do not overlap.

    Returns:
        The end of each element, as an offset from the first element of the format.

    Raises:
        RenderingError: A size or a number is wrong.
    """
    with localcontext(EXACT):
        if Field.MAGNITUDE in format.element:
            return _render_one_by_one(format, start, stop, write, int, Field.MAGNITUDE, _magnitude)
        count = _lanes_for(start, stop)
        if count:
            return _render_in_lanes(format, start, stop, write, count)
        return _render_one_by_one(format, start, stop, write, Decimal, Field.DIGITS, _digits)


def _lanes_for(start: int, stop: int) -> int:
    """Return the fastest number of lanes for a run, 0 if adding one by one is faster."""
    digits = value_digits(start)
    count = min(MAX_LANES, max(1, MAX_DIGITS // digits), (stop - start) // MIN_STEPS)
    return count if count * digits >= MIN_DIGITS else 0


class _Run:
    """A run of elements, written in order and in exactly the predicted number of bytes.

    Attributes:
        ends: The end of each element so far, as an offset from the first of the format.
    """

    def __init__(
        self, encode: "Encoder", write: Write, elements: tuple[int, int], offsets: tuple[int, int]
    ) -> None:
        """Start a run.

        Args:
            encode: Encodes values as elements.
            write: Writes a chunk at an offset from the first element of the format.
            elements: The first element, and the one after the last.
            offsets: The predicted offsets of these two.
        """
        self.ends = array("Q")
        self._encode = encode
        self._write = write
        self._start, self._stop = elements
        self._offset, self._limit = offsets

    def write(self, values: Sequence["Value"]) -> None:
        """Write the elements of the next values; values after the last element are ignored."""
        first = self._start + len(self.ends)
        values = values[: self._stop - first]
        if not values:
            return
        pieces = self._encode(first, values)
        chunk = b"".join(pieces)
        ends = accumulate(map(len, pieces), initial=self._offset)
        self.ends.extend(islice(ends, PIECES, None, PIECES))
        if self._offset + len(chunk) > self._limit:
            raise RenderingError(f"{self} exceed their predicted end at byte {self._limit}")
        self._write(chunk, self._offset)
        self._offset += len(chunk)

    def close(self) -> None:
        """Check that the run has its predicted size."""
        if self._offset != self._limit:
            raise RenderingError(f"{self} end at byte {self._offset}: expected {self._limit}")

    def __str__(self) -> str:
        return f"elements {self._start} to {self._start + len(self.ends) - 1}"


def _runs(format: Format, bounds: list[int], value_field: Field, write: Write) -> list[_Run]:
    """Return the runs between consecutive bounds.

    Args:
        format: Format of the elements.
        bounds: The first element of each run, and the element after the last run.
        value_field: The field that holds the number.
        write: Writes a chunk at an offset from the first bound.
    """
    encode = _encoder(format, value_field)
    offsets = [format.offset(bound) for bound in bounds]
    if offsets != sorted(offsets):  # otherwise a run could exceed the outer bounds
        raise RenderingError(f"offsets of {format.name} elements do not ascend: {offsets}")

    def write_relative(chunk: bytes, offset: int) -> None:
        write(chunk, offset - offsets[0])

    pairs = zip(pairwise(bounds), pairwise(offsets), strict=True)
    return [_Run(encode, write_relative, *pair) for pair in pairs]


def _render_one_by_one(
    format: Format,
    start: int,
    stop: int,
    write: Write,
    number: type[Number],
    value_field: Field,
    value_bytes: Callable[[Number], bytes],
) -> "array[int]":
    (run,) = _runs(format, [start, stop], value_field, write)
    if stop - start == 1:
        value = fibonacci(start, number)
        run.write([value_bytes(value)])
        run.close()
        _verify(start, [value])
        return run.ends
    current, following = fibonacci_pair(start, number)
    step = max(1, CHUNK_BYTES // format.size(start))
    for first in range(start, stop, step):
        values = []
        for _ in range(first, min(first + step, stop)):
            values.append(value_bytes(current))
            current, following = following, current + following
        run.write(values)
    run.close()
    _verify(stop, [current, following])
    return run.ends


def _render_in_lanes(
    format: Format, start: int, stop: int, write: Write, count: int
) -> "array[int]":
    length = -(-(stop - start) // count)
    firsts = range(start, stop, length)
    end = firsts[-1] + length  # up to `length` - 1 after `stop`, so that all lanes are equal
    runs = _runs(format, [*firsts, stop], Field.DIGITS, write)
    max_digits = value_digits(end + 1)
    steps_at_once = max(1, LANES_BYTES // (len(runs) * max_digits))
    first_pair = fibonacci_pair(start, Decimal)
    try:
        pairs = list(pairs_apart(first_pair, length, len(runs)))
        lanes = Lanes(pairs, max_digits, steps_at_once)
        for done in range(0, length, steps_at_once):
            numbers = lanes.advance(min(steps_at_once, length - done))
            for run, values in zip(runs, numbers, strict=True):
                run.write(values)
        for run in runs:
            run.close()
    except OverflowError as error:
        raise RenderingError(f"numbers from F({start}) on are too large: {error}") from error
    if not lanes.are_consistent:
        raise RenderingError(f"additions from F({start}) to F({end}) are inconsistent")
    _verify(end, lanes.last_pair)
    ends = array("Q")
    for run in runs:
        ends.extend(run.ends)
    return ends


def _verify(n: int, values: Sequence[int | Decimal]) -> None:
    """Raise `RenderingError` if values are not F(n), and F(n+1) if there are two."""
    for prime in _primes():
        expected = modular.fibonacci_pair(n, prime)[: len(values)]
        if tuple(modular.residue(value, prime) for value in values) != expected:
            raise RenderingError(f"the computed F({n}) is wrong modulo {prime}")


def verify_last(format: Format, n: int, rendered: memoryview) -> None:
    """Raise `RenderingError` if rendered elements do not end with F(n).

    Of a large number only the last `VERIFIED_DIGITS` are compared (in `binary` the lowest bytes).
    That detects elements of another range or format; the caller's checksum detects damage.

    Args:
        format: Format of the elements.
        n: Index of the last element.
        rendered: The elements.
    """
    is_decimal = Field.DIGITS in format.element
    field, base = (Field.DIGITS, 10) if is_decimal else (Field.MAGNITUDE, 256)
    after = _literal_after(format, field)
    end, size = len(rendered) - len(after), value_digits(n, base)
    count = min(size, VERIFIED_DIGITS)
    begin = end - (count if is_decimal else size)
    data = bytes(rendered[begin : begin + count])
    if rendered[end:] != after or (is_decimal and not data.isdigit()):
        raise RenderingError(f"the rendered F({n}) is damaged")
    value = int(data) if is_decimal else int.from_bytes(data, "little")
    if value != modular.fibonacci_pair(n, base**count)[0]:
        raise RenderingError(f"the rendered F({n}) is wrong modulo {base}^{count}")


@cache
def _primes() -> tuple[int, int]:
    """Return two random primes, drawn by each process at its first use."""
    source = SystemRandom()
    return modular.random_prime(source), modular.random_prime(source)


def _digits(value: Decimal) -> bytes:
    return str(value).encode("ascii")


def _magnitude(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


Value: TypeAlias = bytes | memoryview
"""An encoded number."""

PIECES = 3
"""Parts of an element: what precedes the value, the value, and what follows it."""

Encoder: TypeAlias = Callable[[int, Sequence[Value]], list[Value]]
"""Maps the first index and the values of a chunk to the parts of all elements."""


class _FieldCode(NamedTuple):
    """How to format a field that precedes the value of an element.

    Attributes:
        code: The %-code.
        arguments: Returns what to format for several elements, given their indices and values.
    """

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
    after = _literal_after(format, value_field)
    heads = _heads(format.element[: format.element.index(value_field)])

    def encode(first: int, values: Sequence[Value]) -> list[Value]:
        pieces: list[Value] = [after] * (PIECES * len(values))
        pieces[0::PIECES] = heads(range(first, first + len(values)), values)
        pieces[1::PIECES] = values
        return pieces

    return encode


def _heads(element: tuple[str | Field, ...]) -> Callable[[range, Sequence[Value]], list[bytes]]:
    """Return a function that formats the part before the value of several elements."""
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


def _literal_after(format: Format, value_field: Field) -> bytes:
    """Return the literal pieces after the value of an element."""
    return _literal(*format.element[format.element.index(value_field) + 1 :])


def _literal(*pieces: str | Field) -> bytes:
    """Return the literal pieces as bytes; no format has a field after the value."""
    return "".join(piece for piece in pieces if isinstance(piece, str)).encode("ascii")
