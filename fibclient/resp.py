"""The client's half of the Redis serialization protocol: requests out, replies in.

It reads from any binary file, so it can be tested without a socket.
"""

from typing import BinaryIO, TypeAlias

from fibclient.errors import RequestRefused, ServerMisbehaved

__all__ = ["Reply", "encode_request", "read_reply"]

Reply: TypeAlias = "bytes | int | str | list[Reply] | None"

MAX_LINE_BYTES = 64 * 1024


def encode_request(*words: str | int) -> bytes:
    """Return a request: the command's name and its arguments."""
    encoded = [str(word).encode() for word in words]
    bulks = b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])
    return b"*%d\r\n%b" % (len(encoded), bulks)


def read_reply(source: BinaryIO) -> Reply:
    """Read one reply: bytes for a bulk string, str for a status, or an int, list or None.

    Raises:
        RequestRefused: it is an error reply; the whole of it was read.
        ServerMisbehaved: it is no RESP2 reply; what follows makes no sense either.
        EOFError: the source ends within it.
        OSError: as the source raises.
    """
    line = source.readline(MAX_LINE_BYTES)
    if not line:
        raise EOFError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        raise EOFError("the server closed the connection within a line")
    if not line.endswith(b"\r\n"):
        raise ServerMisbehaved(f"no reply begins with {line[:32]!r}")
    if kind == b"+":
        return rest.decode("utf-8", "replace")
    if kind == b"-":
        raise RequestRefused(rest.decode("utf-8", "replace"))
    if kind in b":$*":
        return _read_counted(source, kind, _integer(rest))
    raise ServerMisbehaved(f"no reply begins with {line[:32]!r}")


def _read_counted(source: BinaryIO, kind: bytes, number: int) -> Reply:
    if kind == b":":
        return number
    if number < 0:
        return None
    if kind == b"*":
        return [read_reply(source) for _ in range(number)]
    value = source.read(number)
    ending = source.read(2)
    if len(ending) < 2:
        raise EOFError(f"the server closed the connection within {number} bytes")
    if ending != b"\r\n":
        raise ServerMisbehaved(f"{number} bytes are followed by {ending!r}, not CRLF")
    return value


def _integer(digits: bytes) -> int:
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 20:
        raise ServerMisbehaved(f"not a number: {digits[:32]!r}")
    return int(digits)
