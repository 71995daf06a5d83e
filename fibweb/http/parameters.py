"""What a request says in its path and query string, read strictly: one spelling for each number.

Every other spelling is an error rather than a second URL for the same answer, and nothing is
decoded: no number or name has a character that would need it.
"""

import re
from collections.abc import Container

__all__ = ["parse_index", "parse_query"]

# No sign, no padding, no other script's digits.
_INDEX = re.compile(r"0|[1-9][0-9]*")

MAX_DIGITS = 19
"""Longer than any limit that a fibserver can be given."""

SHOWN_CHARACTERS = 64


def parse_index(name: str, text: str) -> int:
    """Return an index or a count.

    Args:
        name: what an error calls it.
        text: as it came.

    Raises:
        ValueError: it is no plain decimal number, or beyond all limits.
    """
    if not _INDEX.fullmatch(text):
        raise ValueError(
            f"{name} must be a non-negative decimal integer, not {text[:SHOWN_CHARACTERS]!r}"
        )
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{name} has {len(text)} digits, beyond any limit")
    return int(text)


def parse_query(text: str, known: Container[str]) -> dict[str, str]:
    """Return the parameters of a query string that are known; others are ignored.

    Args:
        text: such as `start=5&count=3`; a parameter without `=` has an empty value.
        known: their names.

    Raises:
        ValueError: one is there twice.
    """
    found: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name in known:
            if name in found:
                raise ValueError(f"{name} is given more than once")
            found[name] = value
    return found
