"""Corrected addresses for requests with a slip, such as `/fib/10/`, `/Fib/10` or `/fib?N=10`.

A suggestion consists only of names of routes, parameters and formats and of digits, so no request
can make it lead to another site, or carry markup.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from fibweb.http.representations import MEDIA_TYPES

__all__ = ["suggest_address"]

MAX_CHARACTERS = 8192
"""Longer requests get no suggestion; `/index/{x}` takes 4,000 digits."""

MAX_PARAMETERS = 8
"""Bound of the parameters that are compared with known ones, about 50 µs each."""

MAX_PREFIX_SEGMENTS = 3
"""Segments before the name of a route, such as `/api/v1`."""

MAX_NAME_CHARACTERS = 20
SIMILARITY = 0.6
"""Ratio of `difflib` from which on a name is suggested, such as `number` for `numbr`."""

MAX_EXPONENT = 15
"""With a factor of three digits, numbers have 18 at most."""

# Possessive, so that no request makes it slow.
_PLAIN = re.compile(r"\+?([0-9]++)(?:\.0*+)?")
_POWER = re.compile(r"(?:([0-9]{1,3})(?:e\+?|\*10(?:\^|\*\*))|10(?:\^|\*\*))([0-9]{1,2})")
_SEPARATORS = re.compile(r"[\s_,']+")
_SUFFIX = re.compile(r"(.+)\.([a-z]+)")

_ALIASES = {
    "fibonacci": "fib",
    "sequence": "fib",
    "api": "docs",
    "documentation": "docs",
    "help": "docs",
    "redoc": "docs",
    "reference": "docs",
    "swagger": "docs",
    "swagger.json": "openapi.json",
    "health": "healthz",
    "live": "healthz",
    "ready": "readyz",
}
"""Names that similar services use for the same things."""

_FORMAT_ALIASES = {"txt": "text", "plain": "text", "bin": "binary", "jsonl": "ndjson"}


class _Route(NamedTuple):
    """A route that returns numbers.

    Attributes:
        argument: Name of the number at the end of the path.
        max_digits: Largest number of its digits.
        parameters: Query parameters, which may be combined with the path.
        aliases: Other names of query parameters, or of `argument`.
        example: A valid address, for requests without a recognizable number.
    """

    argument: str
    max_digits: int
    parameters: tuple[str, ...]
    aliases: Mapping[str, str]
    example: str


_ROUTES = {
    "fib": _Route(
        "n",
        19,
        ("digits", "format", "download"),
        {"from": "start", "offset": "start", "limit": "count"},
        "/fib/10",
    ),
    "number": _Route("n", 1000, ("mod", "from", "count", "format", "download"), {}, "/number/100"),
    "digits": _Route("n", 1000, ("first", "last"), {}, "/digits/1000"),
    "index": _Route("x", 4000, (), {"n": "x"}, "/index/832040"),
}

_QUERY_ONLY = {"fib": ("start", "count"), "index": ("digits",)}
"""Query parameters of the routes of the same names without a number in the path."""

_DEFAULT_COUNT = "10"


def suggest_address(path: str, query: str, names: Collection[str]) -> str | None:
    """Return the address that a request was probably meant for.

    Args:
        path: Path of the request below the prefix, as sent.
        query: Query of the request, as sent.
        names: Routes in use, by the first segment of their paths.

    Returns:
        A path and perhaps a query; None if nothing is similar, or if that is the address of the
        request itself.
    """
    if len(path) + len(query) > MAX_CHARACTERS:
        return None
    segments = [text for part in unquote(path).split("/") if (text := part.strip())]
    name, rest = _route(segments, names)
    if name is None:
        return None
    route = _ROUTES.get(name)
    address = f"/{name}" if route is None else _number_address(name, route, rest, query)
    return None if address == (f"{path}?{query}" if query else path) else address


def _route(segments: list[str], names: Collection[str]) -> tuple[str | None, list[str]]:
    """Return the name of the route, None if no one is similar, and the segments after it."""
    for number, segment in enumerate(segments[: MAX_PREFIX_SEGMENTS + 1]):
        if (name := segment.lower()) in names:
            return name, segments[number + 1 :]
    if not segments:
        return None, []
    first, *rest = segments
    if not rest and "fib" in names and _number(first, _ROUTES["fib"].max_digits):
        return "fib", segments
    return _closest(first, names, _ALIASES), rest


def _number_address(name: str, route: _Route, rest: list[str], query: str) -> str:
    """Return an address of a route with numbers."""
    query_only = _QUERY_ONLY.get(name, ())
    known = (route.argument, *query_only, *route.parameters)
    found = dict(_parameters(query, known, route))  # of equal names, the first in the query
    text = rest[0].lower() if len(rest) == 1 else ""
    if suffix := _SUFFIX.fullmatch(text):
        format = _format(suffix[2])
        if format is not None and "format" in known:
            text = suffix[1]
            found.setdefault("format", format)
    number = _number(text, route.max_digits) or found.get(route.argument)
    if number is not None:
        return _address(f"/{name}/{number}", found, route.parameters)
    if not rest and name == "fib" and "start" in found:
        found.setdefault("count", _DEFAULT_COUNT)
    if not rest and query_only and query_only[-1] in found:
        return _address(f"/{name}", found, (*query_only, *route.parameters))
    return route.example


def _address(path: str, found: Mapping[str, str], parameters: Collection[str]) -> str:
    pairs = [
        name + (f"={found[name]}" if found[name] else "") for name in parameters if name in found
    ]
    return path + ("?" + "&".join(pairs) if pairs else "")


def _parameters(query: str, known: Collection[str], route: _Route) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the recognizable parameters of a query, in reverse order."""
    pairs = parse_qsl(query, keep_blank_values=True)[:MAX_PARAMETERS]
    for text, value in reversed(pairs):
        name = _closest(text, known, route.aliases)
        if name is None:
            continue
        read: Callable[[str], str | None] = _READERS.get(name, _parameter_number)
        if (right := read(value)) is not None:
            yield name, right


def _parameter_number(text: str) -> str | None:
    return _number(text, _ROUTES["number"].max_digits)


def _number(text: str, max_digits: int) -> str | None:
    """Return the only valid spelling of a number, or None if the text is none."""
    compact = _SEPARATORS.sub("", text.lower())
    if power := _POWER.fullmatch(compact):
        factor, exponent = power[1] or "1", int(power[2])
        return str(int(factor) * 10**exponent) if exponent <= MAX_EXPONENT else None
    plain = _PLAIN.fullmatch(compact)
    if plain is None:
        return None
    digits = plain[1].lstrip("0") or "0"
    return digits if len(digits) <= max_digits else None


def _format(text: str) -> str | None:
    return _closest(text, MEDIA_TYPES, _FORMAT_ALIASES)


def _flag(_: str) -> str:
    return ""


_READERS: dict[str, Callable[[str], str | None]] = {"format": _format, "download": _flag}
"""Readers of parameters that are no numbers."""


def _closest(text: str, names: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """Return the name that a text probably means, or None."""
    lower = text.lower()
    if lower in names:
        return lower
    if (name := aliases.get(lower)) in names:
        return name
    if len(lower) > MAX_NAME_CHARACTERS:
        return None
    return next(iter(get_close_matches(lower, sorted(names), 1, SIMILARITY)), None)
