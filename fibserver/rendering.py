"""Rendering: the bytes of a run of elements, with proof that they are right.

It owns neither memory nor processes: bytes go, a chunk at a time, to a function that the
caller gives. A run that renders to other than its predicted size, or whose last numbers
differ from an independent computation, raises; nothing is ever written past its end.
"""

from array import array
from collections.abc import Callable
from decimal import Decimal, localcontext

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
    position = format.element.index(value_field)
    prefix = _prefix(format.element[:position])
    suffix = b"".join(map(_literal, format.element[position + 1 :]))

    offset = flushed = format.offset(start)
    limit = format.offset(stop)
    ends = array("Q")
    parts: list[bytes] = []
    current, following = fibonacci_pair_by_squares(start, number)
    for n in range(start, stop):
        value = value_bytes(current)
        before = prefix(n, value)
        parts += (before, value, suffix)
        offset += len(before) + len(value) + len(suffix)
        ends.append(offset)
        if offset - flushed >= CHUNK_BYTES and offset <= limit:
            write(b"".join(parts))
            parts.clear()
            flushed = offset
        current, following = following, current + following
    if offset != limit:
        raise RenderingError(
            f"{format.name} elements {start} to {stop - 1} end at byte {offset}, not {limit}"
        )
    if (following - current, current) != fibonacci_pair(stop - 1, number):
        raise RenderingError(f"the additions from F({start}) end in a wrong F({stop - 1})")
    write(b"".join(parts))
    return ends


def _digits(value: Decimal) -> bytes:
    return str(value).encode("ascii")


def _magnitude(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


def _literal(piece: str | Field) -> bytes:
    if isinstance(piece, Field):
        raise TypeError(f"{piece} behind the value of an element")
    return piece.encode("ascii")


_FIELD_BYTES: dict[Field, Callable[[int, bytes], bytes]] = {
    Field.INDEX: lambda n, value: b"%d" % n,
    Field.LENGTH: lambda n, value: b"%d" % len(value),
    Field.LENGTH_U32: lambda n, value: len(value).to_bytes(4, "little"),
}


def _prefix(pieces: tuple[str | Field, ...]) -> Callable[[int, bytes], bytes]:
    """Return the function that makes what stands before the value of an element."""
    if not any(isinstance(piece, Field) for piece in pieces):
        constant = b"".join(map(_literal, pieces))
        return lambda n, value: constant

    def literal(piece: str) -> Callable[[int, bytes], bytes]:
        encoded = piece.encode("ascii")
        return lambda n, value: encoded

    makers = [
        _FIELD_BYTES[piece] if isinstance(piece, Field) else literal(piece) for piece in pieces
    ]
    return lambda n, value: b"".join([make(n, value) for make in makers])
