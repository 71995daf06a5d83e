"""Rendering: the bytes of a run of elements, with proof that they are right.

It owns neither memory nor processes: bytes go, a chunk at a time, to a function that the
caller gives. A run that renders to other than its predicted size, or whose last numbers
differ from an independent computation, raises; nothing is ever written past its end.
"""

from array import array
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from itertools import accumulate, islice
from typing import TypeAlias

from fibclient.formats import Field, Format
from fibserver.arithmetic import EXACT, Number, fibonacci_pair, fibonacci_pair_by_squares

__all__ = ["RenderingError", "render"]

# A chunk stays in the processor's cache from its digits to the copy into shared memory: in
# one piece of 4 MiB the same work was measured to take several times as long.
CHUNK_BYTES = 64 * 1024


class RenderingError(Exception):
    """What was computed contradicts what was predicted: a fault of the machine or of us."""


def render(
    format: Format, start: int, stop: int, write: Callable[[bytes], object]
) -> "array[int]":
    """Compute elements start to stop-1 and write their bytes in order.

    Args:
        format: how elements are encoded.
        start: the first element, >= 0.
        stop: the element after the last, > start.
        write: takes the next chunk of bytes.

    Returns:
        For each element, the offset of its end among all elements of the format.

    Raises:
        RenderingError: the size or the last two numbers are not what they must be.
    """
    with localcontext(EXACT):
        if Field.MAGNITUDE in format.element:
            return _render(format, start, stop, write, int, Field.MAGNITUDE, _magnitude)
        return _render(format, start, stop, write, Decimal, Field.DIGITS, _digits)


def _render(
    format: Format,
    start: int,
    stop: int,
    write: Callable[[bytes], object],
    number: type[Number],
    value_field: Field,
    value_bytes: Callable[[Number], bytes],
) -> "array[int]":
    encode = _encoder(format, value_field)
    offset, limit = format.offset(start), format.offset(stop)
    ends = array("Q")
    current, following = fibonacci_pair_by_squares(start, number)
    step = max(1, CHUNK_BYTES // format.size(start))
    for first in range(start, stop, step):
        chunk_stop = min(first + step, stop)
        values = []
        for _ in range(first, chunk_stop):
            values.append(value_bytes(current))
            current, following = following, current + following
        chunk, sizes = encode(first, values)
        ends.extend(islice(accumulate(sizes, initial=offset), 1, None))
        offset += len(chunk)
        if offset > limit:
            break
        write(chunk)
    if offset != limit:
        raise RenderingError(
            f"{format.name} elements {start} to {stop - 1} end at byte {offset}, not {limit}"
        )
    if (following - current, current) != fibonacci_pair(stop - 1, number):
        raise RenderingError(f"the additions from F({start}) end in a wrong F({stop - 1})")
    return ends


def _digits(value: Decimal) -> bytes:
    return str(value).encode("ascii")


def _magnitude(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


Encoder: TypeAlias = Callable[[int, list[bytes]], tuple[bytes, Iterable[int]]]
"""From the first index and the values of a chunk to its bytes and the size of each element."""

_FIELD_BYTES: dict[Field, Callable[[int, bytes], bytes]] = {
    Field.INDEX: lambda n, value: b"%d" % n,
    Field.LENGTH: lambda n, value: b"%d" % len(value),
    Field.LENGTH_U32: lambda n, value: len(value).to_bytes(4, "little"),
}


def _encoder(format: Format, value_field: Field) -> Encoder:
    position = format.element.index(value_field)
    before, after = format.element[:position], _literal(*format.element[position + 1 :])
    if not any(isinstance(piece, Field) for piece in before):
        return _plain_encoder(_literal(*before), after)

    def encode(first: int, values: list[bytes]) -> tuple[bytes, Iterable[int]]:
        elements = [
            b"".join([*(_piece(piece, n, value) for piece in before), value, after])
            for n, value in enumerate(values, first)
        ]
        return b"".join(elements), map(len, elements)

    return encode


def _plain_encoder(before: bytes, after: bytes) -> Encoder:
    """Return the encoder of elements that differ in their values alone: one join does it."""
    between = after + before

    def encode(first: int, values: list[bytes]) -> tuple[bytes, Iterable[int]]:
        chunk = b"".join([before, between.join(values), after])
        return chunk, [len(value) + len(between) for value in values]

    return encode


def _piece(piece: str | Field, n: int, value: bytes) -> bytes:
    return _FIELD_BYTES[piece](n, value) if isinstance(piece, Field) else piece.encode("ascii")


def _literal(*pieces: str | Field) -> bytes:
    """Return literal pieces as bytes; a field cannot stand behind the value."""
    return "".join(piece for piece in pieces if isinstance(piece, str)).encode("ascii")
