"""Exact Fibonacci numbers by doubling, as `Decimal` or `int`.

Each doubling takes two squarings, which `decimal` computes in two thirds of the time of two
squarings and a product. The last one, which takes half of all time, is one product if only one
number is wanted. `fibserver.compute.rendering` checks the results by their residues.

`Decimal` is used for numbers that become text: libmpdec stores them in base 10^19, so addition
and conversion to text are linear in the number of digits, and multiplication uses a
number-theoretic transform. `int` is used for numbers that become bytes. The same code computes
large numbers of both kinds with `fibserver.compute.fourier_numbers`, which is faster.
"""

from collections.abc import Iterator
from contextlib import suppress
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import Any, TypeVar

from fibcommon.costs import MAX_FOURIER_INDEX
from fibserver.compute.fourier_numbers import BinaryNumber, DecimalNumber, InexactProduct

__all__ = ["EXACT", "fibonacci", "fibonacci_pair", "pairs_apart"]

Number = TypeVar("Number", int, Decimal)

Factor = TypeVar("Factor", int, Decimal, DecimalNumber, BinaryNumber)
"""A number that can be added, subtracted and multiplied, and created from a small `int`."""

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""Decimal context for all arithmetic in this module, which raises if a result is rounded."""

FOURIER_INDICES = range(100_000, MAX_FOURIER_INDEX + 1)
"""Indices for which Fourier transforms are faster. Larger numbers would take too much memory."""

FIRST_BITS = 12
"""Leading bits of an index that are processed with `int`, which is fastest for small numbers."""


def fibonacci(n: int, number: type[Number]) -> Number:
    """Return F(n).

    Args:
        n: The index, >= 0.
        number: `int`, or `Decimal` with `EXACT` as the current context.
    """
    if n in FOURIER_INDICES:
        kind: Any = _fourier_type(number)
        with suppress(InexactProduct):  # never seen
            result: Number = _single(n, kind).result()
            return result
    return _single(n, number)


def fibonacci_pair(n: int, number: type[Number]) -> tuple[Number, Number]:
    """Return F(n) and F(n+1).

    Args:
        n: The index, >= 0.
        number: `int`, or `Decimal` with `EXACT` as the current context.
    """
    if n in FOURIER_INDICES:
        kind: Any = _fourier_type(number)
        with suppress(InexactProduct):
            current, previous = (value.result() for value in _pair_below(n, kind))
            return current, current + previous
    current, previous = _pair_below(n, number)
    return current, current + previous


def _fourier_type(number: type[int] | type[Decimal]) -> type[DecimalNumber] | type[BinaryNumber]:
    """Return the class that computes large numbers of a type."""
    return BinaryNumber if number is int else DecimalNumber


def _single(n: int, number: type[Factor]) -> Factor:
    """Return F(n), n >= 0.

    F(2k) = F(k)·L(k) and F(2k+1) = F(k+1)·L(k) - (-1)^k with L(k) = F(k) + 2·F(k-1) (S. Vajda,
    Fibonacci and Lucas numbers, and the golden section, 1989, formulas 13 and 15b).
    """
    k = n // 2
    current, previous = _pair_below(k, number)
    lucas = current + previous + previous
    if n % 2 == 0:
        return current * lucas
    one = number(1)
    product = (current + previous) * lucas
    return product + one if k % 2 else product - one


def _pair_below(n: int, number: type[Factor]) -> tuple[Factor, Factor]:
    """Return F(n) and F(n-1), n >= 0.

    F(2k+1) = 4·F(k)² - F(k-1)² + 2·(-1)^k, F(2k-1) = F(k)² + F(k-1)² and
    F(2k) = F(2k+1) - F(2k-1) (D. Takahashi, A fast algorithm for computing large Fibonacci
    numbers, Information Processing Letters 75, 2000).
    """
    rest = n.bit_length() - FIRST_BITS
    if number is int or rest <= 0:
        k, current, previous = 0, number(0), number(1)  # F(0) and F(-1)
        bits = format(n, "b")
    else:
        k = n >> rest
        current, previous = (number(value) for value in _pair_below(k, int))
        bits = format(n, "b")[FIRST_BITS:]
    two, four = number(2), number(4)
    k_is_odd = k % 2 == 1
    for bit in bits:
        square, previous_square = current * current, previous * previous
        above = four * square - previous_square
        above = above - two if k_is_odd else above + two  # F(2k+1)
        below = square + previous_square  # F(2k-1)
        k_is_odd = bit == "1"
        current, previous = (above, above - below) if k_is_odd else (above - below, below)
    return current, previous


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
