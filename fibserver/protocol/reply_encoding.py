"""Replies of commands, and their encoding in RESP2 and RESP3.

Most replies are small values that are encoded at once. Fibonacci numbers are not: a `Slice`
names the elements to send and the framing around them, and the connection sends their bytes
directly from shared memory. A `Calculation` takes too long for the acceptor: a worker does it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from fibcommon.formats import Format

__all__ = [
    "Calculation",
    "CommandError",
    "Reply",
    "Simple",
    "Slice",
    "Value",
    "array_header",
    "encode",
    "encode_error",
    "map_header",
]

RESP2, RESP3 = 2, 3


class Simple(str):
    """Text that is encoded as a simple string (`+OK`), as clients expect it for a status."""

    __slots__ = ()


Value: TypeAlias = "int | str | bytes | Sequence[Value] | Mapping[str, Value] | Histogram | None"
Histogram: TypeAlias = Mapping[int, int]


class Slice(NamedTuple):
    """Elements start to stop-1 of a format, between a header and a trailer.

    Attributes:
        header: Bytes before the elements; empty for one element of the format `array`, which is
            itself a complete reply.
        format: Format of the elements.
        start: First element.
        stop: Element after the last, > start.
        size: Bytes to send of the elements; of whole ones, without the separator after the last.
        trailer: Bytes after the elements.
        skip: Bytes of the first element that are not sent.
    """

    header: bytes
    format: Format
    start: int
    stop: int
    size: int
    trailer: bytes
    skip: int = 0


class Calculation(NamedTuple):
    """A small value that a worker calculates.

    Attributes:
        expression: What to calculate (`fibserver.compute.expressions`).
        cost_seconds: Predicted time.
        encode: Returns the reply that contains the value.
    """

    expression: bytes
    cost_seconds: float
    encode: Callable[[bytes], bytes]


Reply: TypeAlias = bytes | Slice | Calculation


class CommandError(Exception):
    """Error reply of a command; the connection stays open unless the session `is_quitting`.

    Attributes:
        code: First word of the error reply.
        was_run: Whether the command was run, so that it counts as a failed call.
    """

    def __init__(self, message: str, code: str = "ERR") -> None:
        """Create an error.

        Args:
            message: The problem, with the value and what was expected.
            code: First word of the error reply.
        """
        super().__init__(message)
        self.code = code
        self.was_run = False


def encode(value: Value, protocol: int = RESP2) -> bytes:
    """Encode a value; RESP2 encodes a map as a flat array."""
    if value is None:
        return b"_\r\n" if protocol == RESP3 else b"$-1\r\n"
    if isinstance(value, Simple):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, Mapping):
        header = map_header(len(value), protocol)
        items = [item for pair in value.items() for item in pair]
    else:
        header, items = array_header(len(value)), list(value)
    return header + b"".join([encode(item, protocol) for item in items])


def array_header(count: int) -> bytes:
    """Return the header line of an array with `count` values."""
    return b"*%d\r\n" % count


def map_header(count: int, protocol: int) -> bytes:
    """Return the header line of a map with `count` pairs."""
    return b"%%%d\r\n" % count if protocol == RESP3 else array_header(2 * count)


def encode_error(message: str, code: str = "ERR") -> bytes:
    """Return an error reply; line breaks in the message become spaces."""
    line = f"{code} {message}".replace("\r", " ").replace("\n", " ")
    return b"-%b\r\n" % line.encode()
