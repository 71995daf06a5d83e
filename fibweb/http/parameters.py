"""Strict parsing of parameters in the path and the query string.

Each number has one valid spelling, so that each response has one URL. Nothing is percent-decoded,
because no valid name or number needs percent-encoding.
"""

import re
from collections.abc import Container

__all__ = ["parse_index", "parse_query"]

# Without a sign, leading zeros or non-ASCII digits.
_INDEX = re.compile(r"0|[1-9][0-9]*")

MAX_DIGITS = 19
"""More digits than the largest `max_index` of a fibserver has."""

SHOWN_CHARACTERS = 64


def parse_index(name: str, text: str) -> int:
    """Parse an index or a count.

    Args:
        name: Name of the parameter, for error messages.
        text: Value as received.

    Raises:
        ValueError: The text is not a plain decimal number, or is beyond all limits.
    """
    if not _INDEX.fullmatch(text):
        raise ValueError(
            f"{name} must be a non-negative decimal integer, not {text[:SHOWN_CHARACTERS]!r}"
        )
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{name} has {len(text)} digits, beyond any limit")
    return int(text)


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
