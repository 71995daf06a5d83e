"""From a number back to indices: which Fibonacci number it is, or of which ones it is the sum."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from fibcommon import sizes
from fibcommon.bounds import INDEX, LENGTH, VALUE, OutOfBounds
from fibcommon.modular import fibonacci_pair

__all__ = ["Position", "first_index_with_digits", "position", "zeckendorf"]

_LOG_GOLDEN_RATIO = math.log2((1 + math.sqrt(5)) / 2)
_LOG_ROOT_FIVE = math.log2(5) / 2


_BLOCK = 256
"""Number of indices that are found with small integers; even."""


def _fibonacci_numbers(count: int) -> list[int]:
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-2] + numbers[-1])
    return numbers


_NUMBERS = _fibonacci_numbers(_BLOCK + 2)
_DESCENDING = list(enumerate(_NUMBERS))[:1:-1]
_BLOCK_BEFORE, _BLOCK_THIS, _BLOCK_FOLLOWING = _NUMBERS[_BLOCK - 1 :]


class Position(NamedTuple):
    """Where a number is among the Fibonacci numbers.

    Attributes:
        indices: Indices of the number, (1, 2) for 1; empty if it is not a Fibonacci number.
        below: Index of the largest Fibonacci number that is smaller, None for 0.
        above: Index of the smallest Fibonacci number that is larger.
    """

    indices: tuple[int, ...]
    below: int | None
    above: int


def position(value: int) -> Position:
    """Return the index of a Fibonacci number, and those of its neighbours.

    Of the two indices of the Fibonacci number 1, `below` is 2 and `above` is 1.

    Args:
        value: Any number of at most 4,000 digits, >= 0.

    Raises:
        OutOfBounds: The number is negative, or has more digits.
    """
    VALUE.check("the number", value)
    if value < 2:
        return Position((1, 2), 0, 3) if value else Position((0,), None, 1)
    n, this, _ = _last_not_above(value)
    if this < value:
        return Position((), n, n + 1)
    return Position((n,), n - 1, n + 1)


def zeckendorf(value: int) -> Iterator[int]:
    """Yield the indices of the Zeckendorf sum of a number, the largest index first.

    Every number is the sum of Fibonacci numbers of which no two are neighbours, in one way (E.
    Zeckendorf, Bulletin de la Société Royale des Sciences de Liège 41, 1972). The largest one that
    fits is always part of it. Indices are at least 2; the sum of 0 is empty.

    A number of 4,000 digits has about 5,300 indices, which take 2 ms together
    (`fibcommon.costs.zeckendorf_seconds`). They are computed in steps of less than 0.2 ms.

    Args:
        value: Any number of at most 4,000 digits, >= 0.

    Raises:
        OutOfBounds: The number is negative, or has more digits.
    """
    VALUE.check("the number", value)
    return _zeckendorf(value)


def _zeckendorf(value: int) -> Iterator[int]:
    """Yield the indices in blocks, from the largest, so that most steps need only small integers.

    With F(m+i) = F(m)·F(i+1) + F(m-1)·F(i), the part of the sum with indices above m+1 is
    F(m)·S(r) + F(m-1)·r, where r is the part with all indices smaller by m, and S(r) that with
    all indices larger by one than those of r. It is the largest number of this form that fits.
    """
    m = _last_not_above(value)[0] // _BLOCK * _BLOCK if value else 0
    this, following = fibonacci_pair(m, 1 << (m + 2))  # a power that F(m+1) does not reach
    before = following - this
    while m > 0:
        # F(m)·S(r) + F(m-1)·r is about r·φ^m, and φ^m about F(m-1) + F(m+1).
        part = value // (2 * before + this) + 1
        while (raised := this * _shifted(part) + before * part) > value:
            part -= 1
        for index in _greedy_indices(part):
            yield m + index
        value -= raised
        this, before = (
            this * _BLOCK_BEFORE - before * _BLOCK_THIS,
            before * _BLOCK_FOLLOWING - this * _BLOCK_THIS,
        )
        m -= _BLOCK
    yield from _greedy_indices(value)


def _shifted(value: int) -> int:
    """Return the number whose Zeckendorf sum has all indices larger by one.

    As F(n+1) - φ·F(n) = (1-φ)^n, it differs from φ·value by more than -1/φ² and at most 1/φ, so
    it is floor(φ·(value+1)) - 1.
    """
    following = value + 1
    return (following + math.isqrt(5 * following * following)) // 2 - 1


def _greedy_indices(value: int) -> Iterator[int]:
    """Yield the indices of the Zeckendorf sum of a number below F(_BLOCK+2)."""
    for index, number in _DESCENDING:
        if number <= value:
            value -= number
            yield index


def first_index_with_digits(digits: int) -> int:
    """Return the smallest n whose F(n) has a number of decimal digits.

    Args:
        digits: Number of digits, at least 1, and at most that of F(10^1000 - 1).

    Raises:
        OutOfBounds: There is no such n below 10^1000.
    """
    LENGTH.check("the number of digits", digits)
    n = sizes.first_index_with_digits(digits)
    if n > INDEX.maximum:
        raise OutOfBounds("the number of digits", digits, LENGTH)
    return n


def _last_not_above(value: int) -> tuple[int, int, int]:
    """Return the largest n with F(n) <= value, F(n) and F(n+1), for value >= 1."""
    # F(n) is φ^n/√5 with a relative error of φ^-2n, and math.log2 is right to 15 digits for an
    # integer of any size. So the estimate is off by one at most.
    n = max(int((math.log2(value) + _LOG_ROOT_FIVE) / _LOG_GOLDEN_RATIO), 1)
    this, following = fibonacci_pair(n, 1 << (n + 2))
    while this > value:
        n, this, following = n - 1, following - this, this
    while following <= value:
        n, this, following = n + 1, following, this + following
    return n, this, following
