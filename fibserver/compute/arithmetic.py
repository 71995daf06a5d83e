"""Exact Fibonacci numbers by doubling, as `Decimal` or `int`.

There are two doubling algorithms, based on different identities: one computes the start of a
block, the other verifies its end. So neither an error in one of them nor one in the additions
between goes unnoticed. Each takes two squarings per step, which `decimal` computes in two thirds
of the time of two squarings and a product.

`Decimal` is used for numbers that become text: libmpdec stores them in base 10^19, so addition
and conversion to text are linear in the number of digits, and multiplication uses a
number-theoretic transform. `int` is used for numbers that become bytes, by the same code.
"""

from collections.abc import Iterator
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import TypeVar

__all__ = ["EXACT", "fibonacci_pair", "fibonacci_pair_by_squares", "pairs_apart"]

Number = TypeVar("Number", int, Decimal)

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""Decimal context for all arithmetic in this module, which raises if a result is rounded."""


def fibonacci_pair(n: int, number: type[Number]) -> tuple[Number, Number]:
    """Return F(n) and F(n+1), computed from Lucas numbers with two squarings per step.

    L(2k) = L(k)² - 2·(-1)^k (S. Vajda, Fibonacci and Lucas numbers, and the golden section,
    1989, formula 17c), for k and for k+1; 5·F(n) = 2·L(n+1) - L(n).

    Args:
        n: The index, >= 0.
        number: `int`, or `Decimal` with `EXACT` as the current context.
    """
    current, following = number(2), number(1)  # L(0) and L(1)
    two, five = number(2), number(5)
    k_is_odd = False
    for bit in format(n, "b"):
        square, following_square = current * current, following * following
        even = square + two if k_is_odd else square - two  # L(2k)
        above = following_square - two if k_is_odd else following_square + two  # L(2k+2)
        k_is_odd = bit == "1"
        current, following = (above - even, above) if k_is_odd else (even, above - even)
    return (following + following - current) // five, (current + current + following) // five


def fibonacci_pair_by_squares(n: int, number: type[Number]) -> tuple[Number, Number]:
    """Return F(n) and F(n+1), n >= 0, computed with two squarings per step.

    F(2k+1) = 4·F(k)² - F(k-1)² + 2·(-1)^k, F(2k-1) = F(k)² + F(k-1)² and
    F(2k) = F(2k+1) - F(2k-1) (D. Takahashi, A fast algorithm for computing large Fibonacci
    numbers, Information Processing Letters 75, 2000).
    """
    current, previous = number(0), number(1)  # F(0) and F(-1)
    two, four = number(2), number(4)
    k_is_odd = False
    for bit in format(n, "b"):
        square, previous_square = current * current, previous * previous
        above = four * square - previous_square
        above = above - two if k_is_odd else above + two  # F(2k+1)
        below = square + previous_square  # F(2k-1)
        k_is_odd = bit == "1"
        current, previous = (above, above - below) if k_is_odd else (above - below, below)
    return current, current + previous


def pairs_apart(
    pair: tuple[Decimal, Decimal], distance: int, count: int
) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield `count` pairs: F(m) and F(m+1), then F(m+s) and F(m+s+1), and so on.

    F(m+s) = F(s)·F(m+1) + F(s-1)·F(m) (S. Vajda, formula 8). As F(s) is small, a pair costs
    little more than additions. `EXACT` must be the current context.

    Args:
        pair: F(m) and F(m+1).
        distance: s, >= 1.
        count: Number of pairs, >= 1.

    Yields:
        A Fibonacci number and the next one.
    """
    step, above = fibonacci_pair(distance, Decimal)
    below = above - step
    current, following = pair
    yield current, following
    for _ in range(count - 1):
        current, following = (
            step * following + below * current,
            above * following + step * current,
        )
        yield current, following
