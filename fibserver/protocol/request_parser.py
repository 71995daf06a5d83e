"""Request parser for RESP arrays of bulk strings and inline commands.

The parser is a pure function from bytes to a request. Every length is checked against its limit
before memory is allocated for it. The framing is that of the Redis serialization protocol
(redis.io, "Redis serialization protocol specification").

Only CRLF ends a line in a RESP array, and every CRLF is verified, so a wrong length cannot shift
the frame unnoticed. Numbers in headers must be canonical decimals, as in Redis. A line of an HTTP
request closes the connection without a reply: otherwise a web page could make a browser send
commands in the body of a request. So does a TLS handshake, which might contain no line end and
leave its client waiting for a reply.
"""

import re
from typing import NamedTuple

__all__ = [
    "MAX_ARGUMENTS",
    "MAX_REQUEST_BYTES",
    "OtherProtocolError",
    "ProtocolError",
    "RespRequest",
    "parse_request",
    "printable",
]

MAX_ARGUMENTS = 16
"""Maximum of arguments, which no command exceeds; it bounds the memory of a request."""

MAX_REQUEST_BYTES = 4096
"""Maximum size of a request with its framing; valid ones are much shorter."""

QUOTED_BYTES = 128
"""Maximum length of a client's text in an error message, after escaping."""


class ProtocolError(Exception):
    """Malformed request; the connection is closed after an error reply."""


class OtherProtocolError(ProtocolError):
    """HTTP or TLS instead of RESP; the connection is closed without a reply."""


class RespRequest(NamedTuple):
    """One request.

    Attributes:
        arguments: The command name and its arguments; empty for a blank request, which gets no
            reply.
        end: Offset after the request in the parsed bytes.
    """

    arguments: list[bytes]
    end: int


def parse_request(data: bytes, start: int = 0) -> RespRequest | None:
    """Parse the request that begins at `start`.

    Returns:
        The request, or None if it is incomplete.

    Raises:
        ProtocolError: The request is malformed or exceeds a limit.
    """
    try:
        return _parse(data, start)
    except ProtocolError:
        # The error must not depend on how much data follows, so parse again with only as many
        # bytes as are needed to detect it.
        first_bytes = data[start : start + MAX_REQUEST_BYTES + 1]
    return _parse(first_bytes, 0)


def _parse(data: bytes, start: int) -> RespRequest | None:
    if data[start : start + 1] == b"*":
        request = _parse_array(data, start)
    elif data.startswith(_TLS_HANDSHAKE, start):
        raise OtherProtocolError("received a TLS handshake, but this server uses RESP without TLS")
    else:
        request = _parse_inline(data, start)
    end = len(data) if request is None else request.end
    if end - start > MAX_REQUEST_BYTES:
        raise ProtocolError(f"too big request, at most {MAX_REQUEST_BYTES} bytes")
    return request


# All valid header lines within the limits and their values: a lookup is the fastest parser and
# accepts nothing else.
_COUNTS = {b"*%d" % count: count for count in range(-1, MAX_ARGUMENTS + 1)}
_LENGTHS = {b"$%d" % length: length for length in range(MAX_REQUEST_BYTES + 1)}
_MAX_HEADER = 16


def _parse_array(data: bytes, start: int) -> RespRequest | None:
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
    return RespRequest(arguments, position)


def _check_header(data: bytes, start: int, line_end: int, what: str, limit: int) -> None:
    """Raise `ProtocolError` if more data cannot make an invalid header line valid."""
    longest_end = start + _MAX_HEADER
    if line_end >= 0 or len(data) > longest_end:
        end = min(line_end, longest_end) if line_end >= 0 else longest_end
        raise ProtocolError(f"invalid {what}: {printable(data[start + 1 : end])}, at most {limit}")


_TLS_HANDSHAKE = b"\x16\x03"
"""First two bytes of a TLS connection (RFC 8446, 5.1)."""

_HTTP = re.compile(rb"(?:post|host:)(?: |$)|[^ ]+ [^ ]+ http/[0-9.]+$", re.IGNORECASE)


def _parse_inline(data: bytes, start: int) -> RespRequest | None:
    line_end = data.find(b"\n", start, start + MAX_REQUEST_BYTES + 1)
    if line_end < 0:
        return None
    line = data[start:line_end].removesuffix(b"\r")
    if _HTTP.match(line):
        raise OtherProtocolError(
            f"received HTTP, but this server uses RESP; fibweb serves HTTP: {printable(line)}"
        )
    arguments = _split_inline(line)
    if len(arguments) > MAX_ARGUMENTS:
        raise ProtocolError(f"too many arguments: {len(arguments)}, at most {MAX_ARGUMENTS}")
    return RespRequest(arguments, line_end + 1)


# A word of an inline command is unquoted text that may end with one "double-quoted" or
# 'single-quoted' part; the word must end after a closing quote.
_WORD = re.compile(
    rb"""\s*+ (?P<word> [^\s"']* (?: "(?:[^"\\]|\\.)*"(?=\s|$) | '(?:\\'|[^'])*+'(?=\s|$) )? )"""
    rb"""(?=\s|$)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def _split_inline(line: bytes) -> list[bytes]:
    """Split a line into words by Redis's rules for quotes and escapes."""
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
    """Return a client's text for a message: quoted, on one line and not too long."""
    shown = text[:QUOTED_BYTES].decode("ascii", "backslashreplace")[:QUOTED_BYTES]
    return "'" + "".join(c if c.isprintable() else " " for c in shown) + "'"
