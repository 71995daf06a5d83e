"""Ranges of the numbers that the functions for single Fibonacci numbers accept.

The ranges bound the time and the memory of one call. Within them every result is exact.
"""

from typing import NamedTuple

__all__ = [
    "DIGIT_COUNT",
    "INDEX",
    "LENGTH",
    "MODULUS",
    "VALUE",
    "Bounds",
    "OutOfBounds",
    "list_bounds",
    "not_a_number",
    "shortened",
]


class OutOfBounds(ValueError):
    """A number that a function does not accept.

    Attributes:
        name: Name of the number.
        bounds: The accepted range.
        is_too_large: Whether the number is above the range, not below.
    """

    def __init__(self, name: str, value: int, bounds: "Bounds") -> None:
        super().__init__(f"{name} must be {bounds.description}, not {shortened(value)}")
        self.name = name
        self.bounds = bounds
        self.is_too_large = value > bounds.minimum


class Bounds(NamedTuple):
    """A range of integers.

    Attributes:
        minimum: The smallest one.
        maximum: The largest one.
        description: The range in words, as they follow "must be".
    """

    minimum: int
    maximum: int
    description: str

    def check(self, name: str, value: int) -> None:
        """Raise OutOfBounds if a number is outside the range.

        Args:
            name: Name of the number, for the message.
            value: The number.
        """
        if not self.minimum <= value <= self.maximum:
            raise OutOfBounds(name, value, self)


INDEX = Bounds(0, 10**1000 - 1, "at least 0 and below 10^1000")
"""Index n of F(n)."""

MODULUS = Bounds(1, 10**1000 - 1, "at least 1 and below 10^1000")
"""Modulus m of F(n) mod m."""

DIGIT_COUNT = Bounds(0, 1000, "between 0 and 1000")
"""How many of the first or last digits of F(n)."""

VALUE = Bounds(0, 10**4000 - 1, "at least 0 and have at most 4000 digits")
"""A number that may be a Fibonacci number, or the sum of several."""

LENGTH = Bounds(
    1,
    10**1000 - 1,
    "at least 1 and at most the number of digits of F(10^1000 - 1), about 2.09*10^999",
)
"""Number of decimal digits of some F(n). That of the largest index is smaller."""

_MAX_LISTED_NUMBERS = 1000
_MAX_LISTED_DIGITS = 60_000


def list_bounds(length_digits: int, first: int, last: int) -> Bounds:
    """Return of how many consecutive Fibonacci numbers the digits are listed at once.

    Args:
        length_digits: Digits of the number of digits of each.
        first: How many of the first digits of each.
        last: How many of the last digits of each.
    """
    maximum = min(_MAX_LISTED_NUMBERS, _MAX_LISTED_DIGITS // (length_digits + first + last))
    return Bounds(
        0, maximum, f"between 0 and {maximum} for {first} first and {last} last digits of each"
    )


_MAX_SHOWN_DIGITS = 40


def not_a_number(name: str, shown: str) -> str:
    """Return the message about a text that is no whole number from 0 on.

    Args:
        name: Name of the number.
        shown: The text in quotes, not too long for a message.
    """
    if shown in ("''", ""):
        return f"{name} is empty: give a whole number from 0 on"
    return f"{name} is {shown}: give a whole number from 0 on, in digits only"


def shortened(value: int) -> str:
    """Return a number for a message; of a long one, the beginning and the number of digits."""
    if abs(value) < 10**_MAX_SHOWN_DIGITS:
        return str(value)
    if abs(value).bit_length() > 14_000:  # about 4,200 digits; Python converts 4,300
        return "a number of more than 4200 digits"
    digits = str(abs(value))
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:20]}... of {len(digits)} digits"
