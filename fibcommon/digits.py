"""Digits of a single Fibonacci number: how many it has, the first ones and the last ones.

The number of digits and the first digits come from the logarithm of F(n)
(`fibcommon.logarithms`), the last digits from residues. So none of them needs F(n), which has
2·10^99 digits for n = 10^100.
"""

from functools import cache
from typing import NamedTuple

from fibcommon.bounds import DIGIT_COUNT, INDEX
from fibcommon.logarithms import growth_line, power_of_ten
from fibcommon.modular import fibonacci_pair
from fibcommon.sizes import value_digits

__all__ = ["Digits", "digits", "first_digits", "last_digits", "prepare"]

_MAX_COMPUTED_INDEX = 10_000
"""Up to here F(n) itself is computed. It has 2,090 digits, more than are asked for."""

_GUARD_BITS = 64


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
    if count == 0:
        return ""
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

    F(n) repeats modulo 2^k after 3·2^(k-1) numbers, and modulo 5^k after 4·5^k (D. D. Wall,
    Fibonacci series modulo m, American Mathematical Monthly 67, 1960). So n is reduced first, and
    both residues are joined by the Chinese remainder theorem.

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
    two, five = 2**count, 5**count
    by_two = fibonacci_pair(n % (3 * two // 2), two)[0]
    by_five = fibonacci_pair(n % (4 * five), five)[0]
    residue = by_five + (by_two - by_five) * pow(five, -1, two) % two * five
    return str(residue).zfill(min(count, value_digits(n)))
