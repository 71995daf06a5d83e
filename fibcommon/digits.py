"""Digits of Fibonacci numbers: how many a number has, the first ones and the last ones.

The number of digits and the first digits come from the logarithm of F(n)
(`fibcommon.logarithms`), the last digits from residues. So none of them needs F(n), which has
2·10^99 digits for n = 10^100.
"""

from collections.abc import Iterator
from functools import cache
from itertools import repeat
from typing import NamedTuple

from fibcommon.bounds import DIGIT_COUNT, INDEX, Bounds, list_bounds
from fibcommon.logarithms import growth_line, power_of_ten
from fibcommon.modular import fibonacci_pair
from fibcommon.sizes import value_digits

__all__ = [
    "GUARD_DIGITS",
    "Digits",
    "digits",
    "first_digits",
    "last_digits",
    "list_count",
    "listed_digits",
    "prepare",
]

_MAX_COMPUTED_INDEX = 10_000
"""Up to here F(n) itself is computed. It has 2,090 digits, more than are asked for."""

_GUARD_BITS = 64

GUARD_DIGITS = 12
"""Additional digits of the first two numbers of a list: hardly any later one is undecided."""


class Digits(NamedTuple):
    """What is known of the decimal digits of F(n).

    Attributes:
        digit_count: Number of digits.
        first: The first digits, the most significant one first.
        last: The last digits, the least significant one last; leading zeros are kept.
    """

    digit_count: int
    first: str
    last: str


def digits(n: int, first: int = 0, last: int = 0) -> Digits:
    """Return the number of decimal digits of F(n), and some of them.

    Args:
        n: Index, 0 <= n < 10^1000.
        first: How many of the first digits, 0 to 1000.
        last: How many of the last digits, 0 to 1000.

    Raises:
        OutOfBounds: An argument is outside its range.
    """
    INDEX.check("n", n)
    DIGIT_COUNT.check("first", first)
    DIGIT_COUNT.check("last", last)
    return Digits(value_digits(n), first_digits(n, first), last_digits(n, last))


def listed_digits(start: int, count: int, first: int = 0, last: int = 0) -> list[Digits]:
    """Return the same as `digits` for consecutive numbers, in a few microseconds for each.

    The digits of the first two are computed. Those of the others follow by addition.

    Args:
        start: Index of the first number, 0 <= start < 10^1000.
        count: How many numbers, within `list_count`.
        first: How many of the first digits of each, 0 to 1000.
        last: How many of the last digits of each, 0 to 1000.

    Raises:
        OutOfBounds: An argument, or the last index, is outside its range.
    """
    DIGIT_COUNT.check("first", first)
    DIGIT_COUNT.check("last", last)
    list_count(start, first, last).check("count", count)
    if count == 0:
        return []
    INDEX.check("the last index", start + count - 1)
    lengths = list(map(value_digits, range(start, start + count)))
    firsts = _listed_first_digits(start, first) if first else repeat("")
    lasts = _listed_last_digits(start, last) if last else repeat("")
    return [
        Digits(length, head, tail[-length:])
        for length, head, tail in zip(lengths, firsts, lasts, strict=False)
    ]


def list_count(start: int, first: int, last: int) -> Bounds:
    """Return of how many numbers from F(start) on the digits are listed at once.

    Args:
        start: Index of the first number, 0 <= start < 10^1000.
        first: How many of the first digits of each.
        last: How many of the last digits of each.

    Raises:
        OutOfBounds: `start` is outside its range.
    """
    INDEX.check("n", start)
    return list_bounds(len(str(value_digits(start))), first, last)


def _listed_first_digits(n: int, count: int) -> Iterator[str]:
    """Yield the first digits of F(n), F(n+1), …; `count` is positive."""
    # The first digits of two numbers are lower bounds of F(n) and F(n+1) in units of a power of
    # ten, off by less than 1 if there are further digits. Sums of bounds are bounds of the sums,
    # and their errors stay the same in proportion.
    shown = count + GUARD_DIGITS
    low, next_low = (int(_first_digits(k, shown)) for k in (n, n + 1))
    hidden, next_hidden = (max(value_digits(k) - shown, 0) for k in (n, n + 1))
    scale = 10 ** (next_hidden - hidden)
    next_low *= scale
    error, next_error = min(hidden, 1), min(next_hidden, 1) * scale
    while True:
        text = str(low)
        guard = text[count:]
        is_decided = not error or int(guard) + error < 10 ** len(guard)
        yield text[:count] if is_decided else first_digits(n, count)
        low, next_low = next_low, low + next_low
        error, next_error = next_error, error + next_error
        n += 1


def _listed_last_digits(n: int, count: int) -> Iterator[str]:
    """Yield the last digits of F(n), F(n+1), …, with leading zeros; `count` is positive."""
    modulus = 10**count
    this, following = _residues(n, count)
    while True:
        yield str(this).zfill(count)
        this, following = following, (this + following) % modulus


@cache
def prepare() -> None:
    """Compute the logarithms for all n and counts, so that no later call has to.

    The first call in a process takes 15 ms, later ones do nothing.
    """
    first_digits(INDEX.maximum, DIGIT_COUNT.maximum)


def first_digits(n: int, count: int) -> str:
    """Return the first digits of F(n), or all of them if it has fewer.

    10 to the power of the fraction of log₁₀(φ^n/√5) has the digits of φ^n/√5, which differs from
    F(n) by less than φ^-n. It is computed with bounds of its error; if they do not agree in all
    digits, because the following digits are all 0 or all 9, the precision is doubled.

    Args:
        n: Index, 0 <= n < 10^1000.
        count: Number of digits, 0 to 1000.

    Raises:
        OutOfBounds: An argument is outside its range.
    """
    INDEX.check("n", n)
    DIGIT_COUNT.check("count", count)
    return _first_digits(n, count) if count else ""


def _first_digits(n: int, count: int) -> str:
    """Return the same as `first_digits`, for counts from 1 on that may be larger."""
    if n <= _MAX_COMPUTED_INDEX:
        # F(n) is its own residue modulo a larger number.
        return str(fibonacci_pair(n, 1 << (n + 1))[0])[:count]
    unit = 10 ** (count - 1)
    bits = unit.bit_length() + _GUARD_BITS
    while True:
        growth = growth_line(10, n.bit_length() + bits + 2)
        fraction = growth.scaled(n) & ((1 << growth.scale_bits) - 1)
        power = power_of_ten(fraction >> (growth.scale_bits - bits), bits)
        # The fraction is off by less than 2 units, which the slope of 10^x, below 23.1,
        # multiplies. F(n) differs from φ^n/√5 by less than its 2^n-th part.
        error = 64 + (16 << max(bits - n, 0))
        low, high = ((power + side) * unit >> bits for side in (-error, error))
        if low == high:
            return str(low)
        bits *= 2


def last_digits(n: int, count: int) -> str:
    """Return the last digits of F(n) with their leading zeros, or all of it if it has fewer.

    Args:
        n: Index, 0 <= n < 10^1000.
        count: Number of digits, 0 to 1000.

    Raises:
        OutOfBounds: An argument is outside its range.
    """
    INDEX.check("n", n)
    DIGIT_COUNT.check("count", count)
    if count == 0:
        return ""
    return str(_residues(n, count)[0]).zfill(min(count, value_digits(n)))


def _residues(n: int, count: int) -> tuple[int, int]:
    """Return F(n) and F(n+1) modulo 10^count.

    F(n) repeats modulo 2^k after 3·2^(k-1) numbers, and modulo 5^k after 4·5^k (D. D. Wall,
    Fibonacci series modulo m, American Mathematical Monthly 67, 1960). So n is reduced first, and
    both residues are joined by the Chinese remainder theorem.

    Args:
        n: Index, >= 0.
        count: Number of digits, >= 1.
    """
    two, five = 2**count, 5**count
    inverse = pow(five, -1, two)
    by_two = fibonacci_pair(n % (3 * two // 2), two)
    by_five = fibonacci_pair(n % (4 * five), five)
    this, following = (
        low + (other - low) * inverse % two * five
        for other, low in zip(by_two, by_five, strict=True)
    )
    return this, following
