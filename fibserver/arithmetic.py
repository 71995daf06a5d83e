"""Fibonacci numbers by doubling, exactly, in `decimal` or in `int`.

Two doublings from different identities live here: one starts a block, the other checks its
end, so that neither a wrong step of the one nor a wrong addition between goes unnoticed.

`decimal` is for numbers that become text: libmpdec keeps them in base 10^19, so adding and
rendering are linear in the number of digits, and multiplying is a number-theoretic transform.
`int` is for numbers that become bytes. Both take the same code.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import TypeVar

__all__ = ["EXACT", "fibonacci_pair", "fibonacci_pair_by_squares"]

Number = TypeVar("Number", int, Decimal)

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""The decimal context of all arithmetic here: a result that had to be rounded is an error."""


def fibonacci_pair(n: int, number: type[Number]) -> tuple[Number, Number]:
    """Return F(n) and F(n+1) by fast doubling.

    F(2k) = F(k)·(2·F(k+1) - F(k)) and F(2k+1) = F(k)² + F(k+1)² (E. W. Dijkstra, EWD 654).

    Args:
        n: the index, >= 0.
        number: `int`, or `Decimal` with `EXACT` as the current context.
    """
    current, following = number(0), number(1)
    for bit in format(n, "b"):
        even = current * (following + following - current)
        odd = current * current + following * following
        current, following = (odd, even + odd) if bit == "1" else (even, odd)
    return current, following


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
