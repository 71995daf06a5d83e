"""The client's half of the Redis serialization protocol: requests out, replies in.

It reads from anything that gives lines and counted bytes, so it can be tested without a
socket.
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
"""For a whole reply, with what is nested in it; answers have a bound of their own, their exact
size. Hundreds of times what a fibserver says to PING, AUTH, INFO and FIB.SIZE."""

REPLY_OVERHEAD_BYTES = 64
"""What each reply counts for besides its bytes: an empty array has four, and takes this much."""

MAX_DEPTH = 8
"""Far deeper than any reply of a server; a peer must not exhaust the stack."""


class Source(Protocol):
    """Where replies come from."""

    def line(self) -> bytes:
        """Return the bytes up to the next CRLF, and pass over it."""

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes."""


def encode_request(*words: str | int) -> bytes:
    """Return a request: the command's name and its arguments."""
    encoded = [str(word).encode() for word in words]
    bulks = b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])
    return b"*%d\r\n%b" % (len(encoded), bulks)


class _Allowance:
    """What a reply may still take up, in bytes."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_REPLY_BYTES

    def require(self, size: int) -> None:
        if size > self._left:
            raise ServerMisbehaved(f"a reply is larger than {MAX_REPLY_BYTES} bytes")

    def spend(self, size: int) -> None:
        self.require(size)
        self._left -= size


def read_reply(source: Source) -> Reply:
    """Read one reply: bytes for a bulk string, str for a status, or an int, list or None.

    Args:
        source: where it comes from; what it raises passes through.

    Raises:
        RequestRefused: it is an error reply; the whole of it was read.
        ServerMisbehaved: it is no RESP2 reply, or too large; what follows makes no sense either.
    """
    return _read(source, _Allowance(), 0)


def _read(source: Source, allowance: _Allowance, depth: int) -> Reply:
    line = source.line()
    allowance.spend(len(line) + REPLY_OVERHEAD_BYTES)
    kind = line[:1]
    if kind == b"+":
        return line[1:].decode("utf-8", "replace")
    if kind not in (b":", b"$", b"*"):
        if depth:
            # What stands behind it in the array is still to come, and nobody would read it.
            raise ServerMisbehaved(f"an array holds {line[:32]!r}")
        raise _refusal(line)
    number = _integer(line)
    if kind == b":":
        return number
    if number < 0:
        return None
    if kind == b"$":
        allowance.spend(number)  # before any of it is read
        value = source.take(number)
        read_bulk_trailer(source)
        return value
    if depth == MAX_DEPTH:
        raise ServerMisbehaved(f"a reply has arrays more than {MAX_DEPTH} deep")
    # Each of them will spend as much; the list grows as they come.
    allowance.require(number * REPLY_OVERHEAD_BYTES)
    return [_read(source, allowance, depth + 1) for _ in range(number)]


def read_bulk_header(source: Source, size: int) -> None:
    """Read up to the first byte of a bulk string that must have `size` bytes.

    Raises:
        RequestRefused: it is an error reply; the whole of it was read.
        ServerMisbehaved: it is anything else.
    """
    line = source.line()
    if line == b"$%d" % size:
        return
    if line[:1] != b"$":
        raise _refusal(line)
    raise ServerMisbehaved(f"an answer of {size} bytes was announced as {line[:32]!r}")


def read_bulk_trailer(source: Source) -> None:
    """Read what stands behind a bulk string.

    Raises:
        ServerMisbehaved: it is not CRLF.
    """
    ending = source.take(2)
    if ending != b"\r\n":
        raise ServerMisbehaved(f"a bulk string is followed by {ending!r}, not CRLF")


def _refusal(line: bytes) -> RequestRefused | ServerMisbehaved:
    """Return what to raise for a reply that is an error, or is none."""
    if line[:1] == b"-":
        return RequestRefused(line[1:].decode("utf-8", "replace"))
    return invalid_beginning(line)


def invalid_beginning(data: bytes) -> ServerMisbehaved:
    """Return what to raise for bytes that no reply begins with.

    Args:
        data: the first of them; they say which service that is, if it is a common one.
    """
    message = f"no reply begins with {data[:32]!r}"
    service = service_of(data)
    if not service:
        return ServerMisbehaved(message)
    return NotFibserver(f"{message}; that is {service}: {DEFAULT_PORT_HINT}")


def _integer(line: bytes) -> int:
    digits = line[1:]
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 20:
        raise ServerMisbehaved(f"not a number: {line[:32]!r}")
    return int(digits)
