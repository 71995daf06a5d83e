"""Replies: what a command answers, and its bytes on the wire in RESP2 and RESP3.

Most replies are small values, encoded at once. The answers that this server exists for are
not: a `Slice` says which elements to send and with what framing around them, and the
connection takes their bytes straight from shared memory.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from fibcommon.formats import Format

__all__ = [
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
    """Text that travels as a simple string (`+OK`): for status words, which clients tell apart
    from bulk strings."""

    __slots__ = ()


Value: TypeAlias = "int | str | bytes | Sequence[Value] | Mapping[str, Value] | Histogram | None"
Histogram: TypeAlias = Mapping[int, int]


class Slice(NamedTuple):
    """Elements start to stop-1 of a format, between a header and a trailer.

    Attributes:
        header: the bytes before the elements; none before a single element of `array`, which is
            a reply by itself.
        format: how the elements are encoded.
        start: the first element.
        stop: the element after the last, > start.
        size: how many bytes of elements follow the header; a last separator is not sent.
        trailer: the bytes after the elements.
    """

    header: bytes
    format: Format
    start: int
    stop: int
    size: int
    trailer: bytes


Reply: TypeAlias = bytes | Slice


class CommandError(Exception):
    """A command that is refused; the connection goes on.

    Attributes:
        code: the first word of the error reply.
        was_run: Whether the command was started, and counts as a call that failed.
    """

    def __init__(self, message: str, code: str = "ERR") -> None:
        """Create an error.

        Args:
            message: what was wrong, with the value, and what would be right.
            code: the first word of the error reply.
        """
        super().__init__(message)
        self.code = code
        self.was_run = False


def encode(value: Value, protocol: int = RESP2) -> bytes:
    """Return the bytes of a value; maps are flat arrays in RESP2."""
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
    """Return the line that says how many values of an array follow."""
    return b"*%d\r\n" % count


def map_header(count: int, protocol: int) -> bytes:
    """Return the line that says how many pairs of a map follow."""
    return b"%%%d\r\n" % count if protocol == RESP3 else array_header(2 * count)


def encode_error(message: str, code: str = "ERR") -> bytes:
    """Return an error reply; a line break in the message cannot end it early."""
    line = f"{code} {message}".replace("\r", " ").replace("\n", " ")
    return b"-%b\r\n" % line.encode()
