"""Which bytes of an answer a request wants: the header Range (RFC 9110, section 14)."""

import re
from typing import NamedTuple

__all__ = ["ByteRange", "parse"]

_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_MAX_DIGITS = 30
"""Positions of more digits than any answer's size all mean the same."""


class ByteRange(NamedTuple):
    """Bytes begin to end-1; none if the request asked for such as there are not."""

    begin: int
    end: int


def parse(header: str, size: int) -> ByteRange | None:
    """Return the range that a header asks for; None if all is to be answered.

    That is so for a header that makes no sense or has another unit, for several ranges, and for an
    empty answer, none of whose bytes could be named.

    Args:
        header: such as `bytes=0-99`, `bytes=100-` or `bytes=-100`.
        size: of the answer in bytes, >= 0.
    """
    unit, _, text = header.partition("=")
    # A list may have empty elements.
    ranges = [each for each in (part.strip(" \t") for part in text.split(",")) if each]
    if unit.strip(" \t").lower() != "bytes" or len(ranges) != 1 or not size:
        return None
    match = _RANGE.fullmatch(ranges[0])
    if not match or match[0] == "-":
        return None
    first, last = match.groups()
    if not first:
        return ByteRange(max(0, size - _position(last)), size)
    begin = _position(first)
    end = _position(last) + 1 if last else size
    if end <= begin and last:
        return None
    return ByteRange(min(begin, size), min(end, size))


def _position(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
