"""Strict parsing of parameters in the path and the query string.

Each number has one valid spelling, so that each response has one URL. Nothing is percent-decoded,
because no valid name or number needs percent-encoding.
"""

import re
from collections.abc import Container, Mapping

from fibcommon.bounds import Bounds

__all__ = ["check_spelling", "parse_index", "parse_number", "parse_query"]

# Without a sign, leading zeros or non-ASCII digits.
_INDEX = re.compile(r"0|[1-9][0-9]*")

MAX_DIGITS = 19
"""More digits than the largest `max_index` of a fibserver has."""

MAX_CONVERTED_DIGITS = 4300
"""Python converts no more. All bounds have fewer digits."""

SHOWN_CHARACTERS = 64


def parse_index(name: str, text: str) -> int:
    """Parse an index or a count.

    Args:
        name: Name of the parameter, for error messages.
        text: Value as received.

    Raises:
        ValueError: The text is not a plain decimal number, or is beyond all limits.
    """
    _check_digits(name, text)
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{name} has {len(text)} digits, beyond any limit")
    return int(text)


def parse_number(name: str, text: str, bounds: Bounds) -> int:
    """Parse a number that may be far larger than any index of a fibserver.

    Args:
        name: Name of the parameter, for error messages.
        text: Value as received.
        bounds: Range of the number.

    Raises:
        ValueError: The text is not a plain decimal number.
        OutOfBounds: The number is outside the range.
    """
    _check_digits(name, text)
    # The first digits of a longer number are out of all bounds already.
    value = int(text[:MAX_CONVERTED_DIGITS])
    bounds.check(name, value)
    return value


def check_spelling(name: str, environ: Mapping[str, object]) -> None:
    """Reject percent-encoded digits, so that each number has one URL.

    Args:
        name: Name of the number that ends the path, for error messages.
        environ: WSGI environ.

    Raises:
        ValueError: The request target has a percent-encoded character in the number.
    """
    target = str(environ.get("REQUEST_URI") or environ.get("RAW_URI", ""))
    # The last two segments are the route and the number. A prefix before them may be
    # percent-encoded.
    if "%" in target and "%" in "/".join(target.partition("?")[0].rsplit("/", 2)[1:]):
        raise ValueError(
            f"{name} must be a non-negative decimal integer, without percent-encoding"
        )


def _check_digits(name: str, text: str) -> None:
    if not _INDEX.fullmatch(text):
        raise ValueError(
            f"{name} must be a non-negative decimal integer, not {text[:SHOWN_CHARACTERS]!r}"
        )


def parse_query(text: str, known: Container[str]) -> dict[str, str]:
    """Return the known parameters of a query string; others are ignored.

    Args:
        text: Such as `start=5&count=3`. A parameter without `=` has an empty value.
        known: Names of the known parameters.

    Raises:
        ValueError: A known parameter occurs more than once.
    """
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name in known:
            if name in found:
                raise ValueError(f"{name} is given more than once")
            found[name] = value
    return found
