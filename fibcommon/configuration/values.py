"""Kinds of values that settings have: how each is parsed, and which values it accepts.

A value is of one of TOML's types if it comes from a file, and a text otherwise.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from fibcommon.addresses import parse_address

__all__ = [
    "ABSOLUTE_PATH",
    "ADDRESSES",
    "BOOLEAN",
    "PATH",
    "TCP_ADDRESS",
    "InvalidItems",
    "Kind",
    "as_text",
    "comma_separated",
    "one_of",
    "optional",
    "seconds",
    "size",
    "text",
    "whole",
]

MAX_SIZE = "1TiB"
YEAR_SECONDS = 365 * 86_400

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+) *(?:([kmgt])(i?))?(?:b|bytes?)?", re.ASCII | re.IGNORECASE)
_TRUE = {"true", "yes", "on", "1", "t", "y"}
_FALSE = {"false", "no", "off", "0", "f", "n"}

Number = TypeVar("Number", int, float)


class Kind(NamedTuple):
    """Type of a setting: how to parse a value, and which values are accepted.

    Attributes:
        parse: Returns the parsed value; raises ValueError if it is invalid.
        allowed: The accepted values, in words.
    """

    parse: Callable[[object], Any]
    allowed: str


class InvalidItems(ValueError):
    """Items of a list are invalid.

    Attributes:
        items: The invalid ones.
    """

    def __init__(self, items: list[object]) -> None:
        super().__init__(items)
        self.items = items


def as_text(value: object) -> str:
    """Return a value as text, which can be parsed again; that of None is empty."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case list() | tuple():
            return ",".join(map(as_text, value))
    return str(value)


def whole(minimum: int, maximum: int, auto: Callable[[], int] | None = None) -> Kind:
    """Return the kind of whole numbers within bounds.

    Args:
        minimum: Minimum.
        maximum: Maximum.
        auto: Returns the number for the text `auto`, which is invalid without this function.
    """

    def parse(value: object) -> int:
        if auto and value == "auto":
            return auto()
        return _bounded(int(_typed(value, int, str)), minimum, maximum)

    allowed = f"a whole number from {minimum:,} to {maximum:,}"
    return Kind(parse, f"{allowed}, or auto for one per core" if auto else allowed)


def size(minimum: str) -> Kind:
    """Return the kind of sizes: numbers of bytes, or texts such as `64MiB` or `1.5GB`.

    Args:
        minimum: Minimum, such as `1MiB`.
    """
    bounds = _bytes(minimum), _bytes(MAX_SIZE)

    def parse(value: object) -> int:
        return int(_bounded(_bytes(str(_typed(value, int, str))), *bounds))

    return Kind(parse, f"a size such as 64MiB, from {minimum} to {MAX_SIZE}")


def seconds(*, is_zero_allowed: bool = False) -> Kind:
    """Return the `Kind` of a duration in seconds, at most a year."""
    minimum = 0 if is_zero_allowed else math.ulp(0)  # the smallest positive float

    def parse(value: object) -> float:
        return _bounded(float(_typed(value, int, float, str)), minimum, YEAR_SECONDS)

    words = "from 0" if is_zero_allowed else "above 0"
    return Kind(parse, f"a number of seconds {words} up to {YEAR_SECONDS:,} (a year)")


def one_of(literal: object) -> Kind:
    """Return the `Kind` of the values of a `Literal`."""
    texts = get_args(literal)
    *others, last = texts
    return Kind(lambda value: texts[texts.index(value)], f"{', '.join(others)} or {last}")


def text(check: Callable[[str], object], allowed: str) -> Kind:
    """Return the `Kind` of texts that pass a check.

    Args:
        check: Raises ValueError for a text that is invalid.
        allowed: The accepted texts, in words.
    """

    def parse(value: object) -> str:
        check(_typed(value, str))
        return str(value)

    return Kind(parse, allowed)


def comma_separated(check: Callable[[str], object], allowed: str, minimum: int = 1) -> Kind:
    """Return the `Kind` of lists of texts that pass a check, or texts with commas between them.

    Args:
        check: Raises ValueError for a text that is invalid.
        allowed: The accepted values, in words.
        minimum: Minimum number of texts, 0 or 1.
    """
    item = text(check, allowed)

    def parse(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if value or minimum else []
        items = _typed(value, list, tuple)
        invalid = [each for each in items if not _is_valid(item, each)]
        if invalid:
            raise InvalidItems(invalid)
        _bounded(len(items), minimum, math.inf)
        return tuple(items)

    return Kind(parse, allowed)


def optional(kind: Kind) -> Kind:
    """Return a kind that parses an empty text as None, and anything else as another kind does."""
    return Kind(lambda value: None if value in ("", None) else kind.parse(value), kind.allowed)


def _parse_boolean(value: object) -> bool:
    word = str(value).lower() if isinstance(value, bool | int | str) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _parse_path(value: object) -> Path:
    return Path(_typed(value, str, Path))


def _parse_absolute_path(value: object) -> Path:
    path = _parse_path(value)
    if not path.is_absolute():
        raise ValueError
    return path


def _check_tcp_address(text: str) -> None:
    if parse_address(text).path:
        raise ValueError


ADDRESSES = comma_separated(
    parse_address, "HOST:PORT or unix:/path, or a comma-separated list of these"
)
TCP_ADDRESS = text(_check_tcp_address, "HOST:PORT")
BOOLEAN = Kind(_parse_boolean, "true or false")
PATH = Kind(_parse_path, "the path of a file")
ABSOLUTE_PATH = Kind(_parse_absolute_path, "the absolute path of a directory")


def _typed(value: object, *types: type) -> Any:
    """Return a value if it has one of the types; a bool is not an int."""
    if isinstance(value, bool) or not isinstance(value, types):
        raise ValueError
    return value


def _bounded(number: Number, minimum: float, maximum: float) -> Number:
    if not minimum <= number <= maximum:  # true of NaN as well
        raise ValueError
    return number


def _bytes(size: str) -> float:
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise ValueError
    number, prefix, binary = match.groups()
    power = "kmgt".index(prefix.lower()) + 1 if prefix else 0
    return float(number) * float(1024 if binary else 1000) ** power


def _is_valid(kind: Kind, value: object) -> bool:
    try:
        kind.parse(value)
    except ValueError:
        return False
    return True
