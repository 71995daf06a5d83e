"""Client side of RESP, the Redis serialization protocol: encodes requests, parses replies.

Replies are read from any `Source` of lines and counted bytes, so no socket is needed in tests.
"""

from typing import Protocol, TypeAlias

from fibclient.connections.other_services import DEFAULT_PORT_HINT, service_of
from fibclient.errors import NotFibserver, RequestRefused, ServerMisbehaved

__all__ = [
    "Reply",
    "Source",
    "encode_request",
    "invalid_beginning",
    "read_bulk_header",
    "read_bulk_trailer",
    "read_reply",
]

Reply: TypeAlias = "bytes | int | str | list[Reply] | None"

MAX_REPLY_BYTES = 1024 * 1024
"""Limit of a whole reply, nested ones included; hundreds of times what fibserver sends to PING,
AUTH, INFO and FIB.SIZE. Slices are exempt: their exact size is known."""

REPLY_OVERHEAD_BYTES = 64
"""Memory counted for each reply besides its bytes: an empty array of four bytes takes as much."""

MAX_DEPTH = 8
"""Limit of nesting, far above that of any server's reply, which protects the stack."""


class Source(Protocol):
    """Source of replies."""

    def read_line(self) -> bytes:
        """Return the bytes up to the next CRLF, and skip it."""

    def read_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes."""


def encode_request(*args: str | int) -> bytes:
    """Return a request, encoded as an array of bulk strings.

    Args:
        args: Name of the command, and its arguments.
    """
    encoded = [str(arg).encode() for arg in args]
    bulks = b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in encoded])
    return b"*%d\r\n%b" % (len(encoded), bulks)


class _Allowance:
    """Memory that a reply may still take, in bytes."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_REPLY_BYTES

    def require(self, size: int) -> None:
        if size > self._left:
            raise ServerMisbehaved(f"invalid reply: larger than {MAX_REPLY_BYTES} bytes")

    def spend(self, size: int) -> None:
        self.require(size)
        self._left -= size


def read_reply(source: Source) -> Reply:
    """Read one reply: bytes for a bulk string, str for a simple string, or an int, list or None.

    Args:
        source: Source of the reply; its exceptions pass through.

    Raises:
        RequestRefused: It is an error reply, which was read completely.
        ServerMisbehaved: It is not a RESP2 reply, or too large; the source is unusable.
    """
    return _read(source, _Allowance(), 0)


def _read(source: Source, allowance: _Allowance, depth: int) -> Reply:
    line = source.read_line()
    allowance.spend(len(line) + REPLY_OVERHEAD_BYTES)
    kind = line[:1]
    if kind == b"+":
        return line[1:].decode("utf-8", "replace")
    if kind not in (b":", b"$", b"*"):
        if depth:
            # The rest of the array would be taken for the next reply.
            raise ServerMisbehaved(f"invalid reply: {line[:32]!r} in an array")
        raise _exception_for(line)
    number = _integer(line)
    if kind == b":":
        return number
    if number < 0:
        return None
    if kind == b"$":
        allowance.spend(number)  # before any of it is read
        value = source.read_exactly(number)
        read_bulk_trailer(source)
        return value
    if depth == MAX_DEPTH:
        raise ServerMisbehaved(f"invalid reply: arrays more than {MAX_DEPTH} deep")
    # Only a check: each member spends its own share when it is read.
    allowance.require(number * REPLY_OVERHEAD_BYTES)
    return [_read(source, allowance, depth + 1) for _ in range(number)]


def read_bulk_header(source: Source, size: int) -> None:
    """Read the header of a bulk string that must have `size` bytes.

    Raises:
        RequestRefused: It is an error reply, which was read completely.
        ServerMisbehaved: It is anything else.
    """
    line = source.read_line()
    if line == b"$%d" % size:
        return
    if line[:1] != b"$":
        raise _exception_for(line)
    raise ServerMisbehaved(f"invalid reply: {line[:32]!r} instead of a string of {size} bytes")


def read_bulk_trailer(source: Source) -> None:
    """Read the CRLF after a bulk string.

    Raises:
        ServerMisbehaved: It is not CRLF.
    """
    ending = source.read_exactly(2)
    if ending != b"\r\n":
        raise ServerMisbehaved(f"invalid reply: bulk string followed by {ending!r}, not CRLF")


def _exception_for(line: bytes) -> RequestRefused | ServerMisbehaved:
    """Return the exception for a line that is an error reply, or no reply at all."""
    if line[:1] == b"-":
        return RequestRefused(line[1:].decode("utf-8", "replace"))
    return invalid_beginning(line)


def invalid_beginning(data: bytes) -> ServerMisbehaved:
    """Return the exception for bytes that cannot begin a reply.

    Args:
        data: The first bytes, which may identify another service.
    """
    message = f"invalid reply: {data[:32]!r}"
    service = service_of(data)
    if not service:
        return ServerMisbehaved(message)
    return NotFibserver(f"{message}; this is {service}: {DEFAULT_PORT_HINT}")


def _integer(line: bytes) -> int:
    digits = line[1:]
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 20:
        raise ServerMisbehaved(f"invalid reply: {line[:32]!r} is not an integer")
    return int(digits)
