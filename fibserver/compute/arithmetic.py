"""Fibonacci numbers by doubling, exactly, in `decimal` or in `int`.

Two doublings from different identities live here: one starts a block, the other checks its
end, so that neither a wrong step of the one nor a wrong addition between goes unnoticed. Both
need two squarings a step, which `decimal` does in two thirds of the time of a product and two.

`decimal` is for numbers that become text: libmpdec keeps them in base 10^19, so adding and
rendering are linear in the number of digits, and multiplying is a number-theoretic transform.
`int` is for numbers that become bytes. Both take the same code.
"""

from collections.abc import Iterator
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import TypeVar

__all__ = ["EXACT", "fibonacci_pair", "fibonacci_pair_by_squares", "pairs_apart"]

Number = TypeVar("Number", int, Decimal)

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""The decimal context of all arithmetic here: a result that had to be rounded is an error."""


def fibonacci_pair(n: int, number: type[Number]) -> tuple[Number, Number]:
    """Return F(n) and F(n+1) by way of the Lucas numbers, with two squarings a step.

    L(2k) = L(k)² - 2·(-1)^k (S. Vajda, Fibonacci and Lucas numbers, and the golden section,
    1989, formula 17c), for k and for k+1; 5·F(n) = 2·L(n+1) - L(n).

    Args:
        n: the index, >= 0.
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
    """Return F(n) and F(n+1), n >= 0, with two squarings a step and no other product.

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
    """Yield F(m) and F(m+1), the same for m + distance, and so on, `count` pairs in all.

    F(m+s) = F(s)·F(m+1) + F(s-1)·F(m) (S. Vajda, formula 8): as F(s) is small, a pair takes
    little more than additions.

    Args:
        pair: F(m) and F(m+1), with `EXACT` as the current context.
        distance: s, >= 1.
        count: >= 1.
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
