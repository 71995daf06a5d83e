"""Strict parser of replies, which accepts only what clients may rely on.

It shares no code with the product. Numbers must be canonical, every CRLF in its place, errors
short ASCII lines with a known code. Maps and `_` are RESP3, and `$-1` is RESP2; the version in use
follows from the replies to HELLO and RESET.
"""

import re
from typing import NamedTuple

__all__ = ["MAX_ERROR_BYTES", "MalformedReplyError", "Replies", "parse_replies"]

MAX_ERROR_BYTES = 700

_ERROR = re.compile(
    rb"-(?:ERR|LIMIT|BUSY|NOSPACE|NOAUTH|WRONGPASS|SHUTDOWN|NOPROTO|EXECABORT) [ -~]+\r\n"
)
_SIMPLE = re.compile(rb"\+[ -~]+\r\n")
_INTEGER = re.compile(rb":(?:0|-?[1-9][0-9]*)\r\n")
_LENGTH = re.compile(rb"[$*%](0|[1-9][0-9]*)\r\n")
_PROTOCOL_ERROR = b"-ERR Protocol error: "
_HELLO_2 = b"*14\r\n$6\r\nserver\r\n"
_HELLO_3 = b"%7\r\n$6\r\nserver\r\n"
_DOLLAR, _MINUS, _PLUS, _STAR, _PERCENT, _COLON, _UNDERSCORE = b"$-+*%:_"


class MalformedReplyError(Exception):
    """The bytes are not a sequence of replies."""


class _TruncatedError(Exception):
    """The bytes end within a reply."""


class Replies(NamedTuple):
    """Parsed replies.

    Attributes:
        total: Number of replies, without nested ones and an incomplete one.
        largest: Size in bytes of the largest.
        protocol_errors: Number of protocol errors.
        ends_with_protocol_error: Whether the last reply is one.
        is_whole: Whether the bytes end at the end of a reply.
    """

    total: int
    largest: int
    protocol_errors: int
    ends_with_protocol_error: bool
    is_whole: bool


_known: dict[tuple[bytes, bool], bytes] = {}
"""Aggregates that were found valid, by their first bytes: most come again, and comparing is far
faster than parsing. HELLO is not among them, since it changes how the rest is parsed."""

_MAX_KNOWN = 500
_HEAD_BYTES = 48


class _Parser:
    """Bytes, and the protocol version in use."""

    __slots__ = ("data", "is_resp3")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.is_resp3 = False

    def skip(self, position: int) -> int:
        """Return the end of the reply that starts at `position`."""
        data = self.data
        kind = data[position]
        if kind == _MINUS:
            return self._line(_ERROR, position)
        if kind == _DOLLAR:
            return self._bulk(position)
        if kind == _PLUS:
            if data.startswith(b"+RESET\r\n", position):
                self.is_resp3 = False
            return self._line(_SIMPLE, position)
        if kind == _COLON:
            return self._line(_INTEGER, position)
        if kind == _UNDERSCORE and self.is_resp3:
            return self._literal(b"_\r\n", position)
        if kind in (_STAR, _PERCENT):
            return self._aggregate(position)
        raise MalformedReplyError(f"no reply starts with {data[position : position + 20]!r}")

    def _line(self, pattern: re.Pattern[bytes], position: int) -> int:
        match = pattern.match(self.data, position)
        if match is None:
            if b"\n" in self.data[position:]:
                line = self.data[position : position + 200]
                raise MalformedReplyError(f"bad line {line!r}")
            raise _TruncatedError
        end = match.end()
        if end - position > MAX_ERROR_BYTES:
            raise MalformedReplyError(f"a line of {end - position} bytes")
        return end

    def _literal(self, literal: bytes, position: int) -> int:
        data = self.data
        end = position + len(literal)
        if not data.startswith(literal, position):
            if literal.startswith(data[position:]):
                raise _TruncatedError
            raise MalformedReplyError(f"{data[position:end]!r} is not {literal!r}")
        return end

    def _length(self, position: int) -> tuple[int, int]:
        match = _LENGTH.match(self.data, position)
        if match is None:
            if b"\n" in self.data[position:]:
                raise MalformedReplyError(f"bad length {self.data[position : position + 30]!r}")
            raise _TruncatedError
        return int(match[1]), match.end()

    def _bulk(self, position: int) -> int:
        data = self.data
        if data.startswith(b"$-", position) and not self.is_resp3:
            return self._literal(b"$-1\r\n", position)
        size, start = self._length(position)
        return self._literal(b"\r\n", start + size)

    def _aggregate(self, position: int) -> int:
        data, is_resp3 = self.data, self.is_resp3
        key = data[position : position + _HEAD_BYTES], is_resp3
        known = _known.get(key)
        if known is not None and data.startswith(known, position):
            return position + len(known)
        end = self._new_aggregate(position)
        if self.is_resp3 is is_resp3 and not key[0].startswith((_HELLO_2, _HELLO_3)):
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[key] = data[position:end]
        return end

    def _new_aggregate(self, position: int) -> int:
        data = self.data
        if data.startswith(_HELLO_3, position):
            self.is_resp3 = True
        elif data.startswith(_HELLO_2, position):
            self.is_resp3 = False
        is_map = data[position] == _PERCENT
        if is_map and not self.is_resp3:
            if _HELLO_3.startswith(data[position:]):
                raise _TruncatedError
            raise MalformedReplyError("a map in RESP2")
        count, position = self._length(position)
        end = len(data)
        for _ in range(2 * count if is_map else count):
            if position >= end:
                raise _TruncatedError
            position = self.skip(position)
        return position


def parse_replies(data: bytes) -> Replies:
    """Parse all replies in some bytes.

    Raises:
        MalformedReplyError: The bytes are not a sequence of replies.
    """
    parser = _Parser(data)
    count = largest = errors = position = 0
    is_error = False
    end = len(data)
    try:
        while position < end:
            start = position
            position = parser.skip(start)
            count += 1
            if position - start > largest:
                largest = position - start
            is_error = data.startswith(_PROTOCOL_ERROR, start)
            errors += is_error
    except _TruncatedError:
        return Replies(count, largest, errors, False, False)
    return Replies(count, largest, errors, is_error, True)
