"""Strict parsing of parameters in the path and the query string.

Each number has one valid spelling, so that each response has one URL. Nothing is percent-decoded,
because no valid name or number needs percent-encoding.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from fibcommon.bounds import Bounds, not_a_number

__all__ = [
    "PARAMETERS",
    "SHOWN_CHARACTERS",
    "IndexTooLong",
    "MissingParameter",
    "NotANumber",
    "UnknownParameter",
    "check_spelling",
    "parse_index",
    "parse_number",
    "parse_query",
]

PARAMETERS = frozenset(
    {"count", "digits", "download", "first", "format", "from", "last", "mod", "start"}
)
"""Names of all query parameters. No response depends on the values of others."""

# Without a sign, leading zeros or non-ASCII digits.
_INDEX = re.compile(r"0|[1-9][0-9]*")

MAX_DIGITS = 19
"""More digits than the largest `max_index` of a fibserver has."""

MAX_CONVERTED_DIGITS = 4300
"""Python converts no more. All bounds have fewer digits."""

SHOWN_CHARACTERS = 64
"""Length to which a text from a request is cut in a message."""

SIMILARITY = 0.8
"""Ratio of `difflib` from which on a name is taken for a misspelled one, such as `formt`."""

MAX_COMPARED_NAMES = 8
MAX_COMPARED_CHARACTERS = 16
"""Bounds of the unknown names that are compared, which takes about 20 µs each."""


class NotANumber(ValueError):
    """A parameter is no whole number from 0 on in its only valid spelling, or is missing.

    Attributes:
        example: Path that the client probably meant, or empty.
    """

    def __init__(self, message: str, example: str = "") -> None:
        super().__init__(message)
        self.example = example


class MissingParameter(ValueError):
    """A required query parameter is missing."""

    def __init__(self, name: str, what: str, misplaced: str, route: str) -> None:
        """Create the error.

        Args:
            name: Name of the parameter.
            what: What it is, in words.
            misplaced: Name of a number that belongs into a path, but is in some queries.
            route: That path without the number.
        """
        super().__init__(f"{name} is missing")
        self._name = name
        self._what = what
        self._misplaced = misplaced
        self._route = route

    def explained(self, query: str) -> NotANumber:
        """Return the error with a remedy for the query string that was sent."""
        pairs = (pair.partition("=") for pair in query.split("&"))
        value = next((value for name, _, value in pairs if name == self._misplaced), None)
        if value is None:
            return NotANumber(f"{self}: give {self._what}")
        is_usable = len(value) <= MAX_DIGITS and _INDEX.fullmatch(value)
        return NotANumber(
            f"{self}, and {self._misplaced} is not a parameter here: give {self._name}, or put "
            f"{self._misplaced} into the path",
            f"{self._route}/{value}" if is_usable else "",
        )


class IndexTooLong(ValueError):
    """An index or a count with more digits than any that fibservers accept."""


class UnknownParameter(ValueError):
    """A query parameter that is unknown, but almost has the name of a known one.

    Attributes:
        name: Its name.
        suggestion: The name of the known parameter.
    """

    def __init__(self, name: str, suggestion: str) -> None:
        super().__init__(f"unknown parameter {name!r}: {suggestion} was probably meant")
        self.name = name
        self.suggestion = suggestion


def parse_index(name: str, text: str) -> int:
    """Parse an index or a count.

    Args:
        name: Name of the parameter, for error messages.
        text: Value as received.

    Raises:
        NotANumber: The text is not a plain decimal number.
        IndexTooLong: The number is beyond all limits.
    """
    _check_digits(name, text)
    if len(text) > MAX_DIGITS:
        raise IndexTooLong(f"{name} has {len(text)} digits, beyond any limit")
    return int(text)


def parse_number(name: str, text: str, bounds: Bounds) -> int:
    """Parse a number that may be far larger than any index of a fibserver.

    Args:
        name: Name of the parameter, for error messages.
        text: Value as received.
        bounds: Range of the number.

    Raises:
        NotANumber: The text is not a plain decimal number.
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
        NotANumber: The request target has a percent-encoded character in the number.
    """
    target = str(environ.get("REQUEST_URI") or environ.get("RAW_URI", ""))
    # The last two segments are the route and the number. A prefix before them may be
    # percent-encoded.
    if "%" in target and "%" in "/".join(target.partition("?")[0].rsplit("/", 2)[1:]):
        raise NotANumber(f"{name} is percent-encoded in the path: send its digits as they are")


def _check_digits(name: str, text: str) -> None:
    if not _INDEX.fullmatch(text):
        shown = repr(text[:SHOWN_CHARACTERS])
        if text.isascii() and text.isdigit():
            raise NotANumber(f"{name} is {shown}: omit the leading zeros")
        raise NotANumber(not_a_number(name, shown))


def parse_query(text: str, known: frozenset[str]) -> dict[str, str]:
    """Return the known parameters of a query string; others are ignored.

    A name that is almost a known one is an error, unless many unknown ones precede it.

    Args:
        text: Such as `start=5&count=3`. A parameter without `=` has an empty value.
        known: Names of the known parameters.

    Raises:
        ValueError: A known parameter occurs more than once.
        UnknownParameter: A parameter is probably misspelled.
    """
    found: dict[str, str] = {}
    unknown = []
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if name in known:
            if name in found:
                raise ValueError(f"{name} is given more than once: give it once")
            found[name] = value
        elif name and len(name) <= MAX_COMPARED_CHARACTERS:
            unknown.append(name)
    for name in unknown[:MAX_COMPARED_NAMES]:
        if similar := _most_similar(name, known):
            raise UnknownParameter(name, similar)
    return found


@lru_cache(maxsize=1024)
def _most_similar(name: str, known: frozenset[str]) -> str | None:
    """Return the known name that another is probably meant for; cached, as it takes 20 µs."""
    similar = get_close_matches(name, sorted(known), 1, SIMILARITY)
    # Of short names such as `mdo`, a swap of two letters leaves less in common than that.
    swapped = [other for other in sorted(known) if sorted(other) == sorted(name)]
    return next(iter([*similar, *swapped]), None)
