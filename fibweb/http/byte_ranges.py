"""Byte ranges: the Range header (RFC 9110, section 14)."""

import re
from typing import NamedTuple

__all__ = ["ByteRange", "parse"]

_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_MAX_DIGITS = 30
"""Longer positions are replaced by a large number: they are beyond the end of any response."""


class ByteRange(NamedTuple):
    """Bytes begin to end-1; empty if the requested range cannot be satisfied."""

    begin: int
    end: int


def parse(header: str, size: int) -> ByteRange | None:
    """Return the range that a Range header selects; None if the header is ignored.

    It is ignored if it is invalid, has another unit or several ranges, or the response is empty.

    Args:
        header: Such as `bytes=0-99`, `bytes=100-` or `bytes=-100`.
        size: Size of the response in bytes, >= 0.
    """
    unit, _, text = header.partition("=")
    # A list may have empty elements.
    ranges = [spec for part in text.split(",") if (spec := part.strip(" \t"))]
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
