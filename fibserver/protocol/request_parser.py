"""Parsing requests: RESP arrays of bulk strings, and inline commands.

A pure function from bytes to a request; it holds no state and knows no socket. Every length
is checked against its limit before anything is allocated for it. The framing is that of the
Redis serialization protocol (redis.io, "Redis serialization protocol specification").

Treacherous points, and what is done about them. Only CRLF ends a line in a RESP array, and
every CRLF is verified, so a wrong length cannot shift the frame unnoticed. Numbers in headers
are canonical decimal, as Redis demands. A line of an HTTP request is recognised and refused
without a reply: a browser tricked into sending one must not get commands in by its body. So is
TLS, whose client would wait for a reply, and get none before a line has ended.
"""

import re
from typing import NamedTuple

__all__ = [
    "MAX_ARGUMENTS",
    "MAX_REQUEST_BYTES",
    "OtherProtocolError",
    "ProtocolError",
    "Request",
    "parse_request",
    "printable",
]

MAX_ARGUMENTS = 16
"""No command takes more; what a client may make the server hold is bounded by it."""

MAX_REQUEST_BYTES = 4096
"""The longest request, framing included: the longest that is useful is far shorter."""

QUOTED_BYTES = 128
"""How much of a client's text an error message repeats, escapes for what is not ASCII included."""


class ProtocolError(Exception):
    """The bytes are no request; after the one reply that says so the connection ends."""


class OtherProtocolError(ProtocolError):
    """The bytes are of HTTP or TLS; the connection is to be closed without a reply."""


class Request(NamedTuple):
    """One request.

    Attributes:
        arguments: the command's name and its arguments; empty for a blank request, which is
            skipped without a reply.
        end: where the request ends in the bytes that were parsed.
    """

    arguments: list[bytes]
    end: int


def parse_request(data: bytes, start: int = 0) -> Request | None:
    """Parse the request that begins at `start`.

    Returns:
        The request, or None if its end has not arrived yet.

    Raises:
        ProtocolError: it is malformed or exceeds a limit; the message says how.
    """
    try:
        return _parse(data, start)
    except ProtocolError:
        # The error must not depend on how much of what follows has come already, so look again
        # at no more than it takes to know that there is one.
        first_bytes = data[start : start + MAX_REQUEST_BYTES + 1]
    return _parse(first_bytes, 0)


def _parse(data: bytes, start: int) -> Request | None:
    if data[start : start + 1] == b"*":
        request = _parse_array(data, start)
    elif data.startswith(_TLS_HANDSHAKE, start):
        raise OtherProtocolError("this is TLS, and the server speaks RESP without it")
    else:
        request = _parse_inline(data, start)
    end = len(data) if request is None else request.end
    if end - start > MAX_REQUEST_BYTES:
        raise ProtocolError(f"too big request, at most {MAX_REQUEST_BYTES} bytes")
    return request


# Every header line that is valid and within its limit, and what it means: a look-up is
# both the fastest parser and the strictest.
_COUNTS = {b"*%d" % count: count for count in range(-1, MAX_ARGUMENTS + 1)}
_LENGTHS = {b"$%d" % length: length for length in range(MAX_REQUEST_BYTES + 1)}
_LONGEST_HEADER = 16


def _parse_array(data: bytes, start: int) -> Request | None:
    line_end = data.find(b"\r\n", start)
    count = _COUNTS.get(data[start:line_end]) if line_end >= 0 else None
    if count is None:
        _check_header(data, start, line_end, "multibulk length", MAX_ARGUMENTS)
        return None
    position = line_end + 2
    arguments: list[bytes] = []
    for _ in range(count):
        line_end = data.find(b"\r\n", position)
        length = _LENGTHS.get(data[position:line_end]) if line_end >= 0 else None
        if length is None:
            if data[position : position + 1] not in (b"$", b""):
                got = printable(data[position : position + 1])
                raise ProtocolError(f"expected '$', got {got}")
            _check_header(data, position, line_end, "bulk length", MAX_REQUEST_BYTES)
            return None
        value_end = line_end + 2 + length
        position = value_end + 2
        if data[value_end:position] != b"\r\n":
            if b"\r\n".startswith(data[value_end:position]):
                return None
            raise ProtocolError("expected CRLF after a bulk string")
        arguments.append(data[line_end + 2 : value_end])
    return Request(arguments, position)


def _check_header(data: bytes, start: int, line_end: int, what: str, limit: int) -> None:
    """Raise if a header line that is not valid cannot become valid by more data."""
    longest_end = start + _LONGEST_HEADER
    if line_end >= 0 or len(data) > longest_end:
        end = min(line_end, longest_end) if line_end >= 0 else longest_end
        raise ProtocolError(f"invalid {what}: {printable(data[start + 1 : end])}, at most {limit}")


_TLS_HANDSHAKE = b"\x16\x03"
"""The first bytes of TLS (RFC 8446, 5.1)."""

_HTTP = re.compile(rb"(?:post|host:)(?: |$)|[^ ]+ [^ ]+ http/[0-9.]+$", re.IGNORECASE)


def _parse_inline(data: bytes, start: int) -> Request | None:
    line_end = data.find(b"\n", start, start + MAX_REQUEST_BYTES + 1)
    if line_end < 0:
        return None
    line = data[start:line_end].removesuffix(b"\r")
    if _HTTP.match(line):
        raise OtherProtocolError(f"this is no HTTP server: {printable(line)}")
    arguments = _split_inline(line)
    if len(arguments) > MAX_ARGUMENTS:
        raise ProtocolError(f"too many arguments: {len(arguments)}, at most {MAX_ARGUMENTS}")
    return Request(arguments, line_end + 1)


# A word of an inline command is made of plain, "double-quoted" and 'single-quoted' stretches;
# after a closing quote the word must end.
_WORD = re.compile(
    rb"""\s*+ (?P<word> [^\s"']* (?: "(?:[^"\\]|\\.)*"(?=\s|$) | '(?:\\'|[^'])*+'(?=\s|$) )? )"""
    rb"""(?=\s|$)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def _split_inline(line: bytes) -> list[bytes]:
    """Split a line into words, with Redis's quotes and escapes."""
    words = []
    position = 0
    line = line.strip()
    while position < len(line):
        match = _WORD.match(line, position)
        if match is None:
            raise ProtocolError("unbalanced quotes in request")
        words.append(_unquote(match["word"]))
        position = match.end()
    return words


def _unquote(word: bytes) -> bytes:
    if word.endswith(b'"'):
        plain, _, quoted = word[:-1].partition(b'"')
        return plain + _ESCAPE.sub(_unescape, quoted)
    if word.endswith(b"'"):
        plain, _, quoted = word[:-1].partition(b"'")
        return plain + quoted.replace(b"\\'", b"'")
    return word


def _unescape(match: re.Match[bytes]) -> bytes:
    hexadecimal, character = match.groups()
    if hexadecimal is not None:
        return bytes.fromhex(hexadecimal.decode("ascii"))
    return _ESCAPED.get(character, character)


def printable(text: bytes) -> str:
    """Return a client's text as it may stand in a message: short, on one line, in quotes."""
    shown = text[:QUOTED_BYTES].decode("ascii", "backslashreplace")[:QUOTED_BYTES]
    return "'" + "".join(c if c.isprintable() else " " for c in shown) + "'"
