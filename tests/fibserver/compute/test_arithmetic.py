"""Tests of doubling against additions, products of matrices and published numbers."""

import random
from decimal import Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import pytest

from fibserver.compute import fourier_numbers
from fibserver.compute.arithmetic import EXACT, fibonacci, fibonacci_pair, pairs_apart

F_1000 = (
    "43466557686937456435688527675040625802564660517371780402481729089536555417949051890403879"
    "84007925516929592259308032263477520968962323987332247116164299644090653318793829896964992"
    "8516003704476137795166849228875"
)

every_number = pytest.mark.parametrize("number", [int, Decimal])


def fibonacci_modulo(n: int, modulus: int) -> int:
    """Return F(n) modulo `modulus`: an entry of [[1, 1], [1, 0]]^n, by squaring."""

    def product(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
        (a, b, c, d), (e, f, g, h) = x, y
        entries = a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h
        return tuple(entry % modulus for entry in entries)

    result: tuple[int, ...] = (1, 0, 0, 1)
    base: tuple[int, ...] = (1, 1, 1, 0)
    while n:
        if n % 2:
            result = product(result, base)
        base, n = product(base, base), n // 2
    return result[1]


@every_number
def test_doubling_equals_adding(number: type) -> None:
    """Doubling gives the same pairs as addition from F(0) on."""
    with localcontext(EXACT):
        current, following = number(0), number(1)
        for n in range(2001):
            assert fibonacci_pair(n, number) == (current, following), n
            assert fibonacci(n, number) == current, n
            current, following = following, current + following


@every_number
@pytest.mark.parametrize("n", random.Random(1202).sample(range(300_000), 20))
def test_doubling_of_large_indexes(n: int, number: type[Any]) -> None:
    """Large numbers match F(n) modulo a number."""
    with localcontext(EXACT):
        modulus = 10**18
        values = (*fibonacci_pair(n, number), fibonacci(n, number))
        ends = [int(value % modulus) for value in values]
    this, following = fibonacci_modulo(n, modulus), fibonacci_modulo(n + 1, modulus)
    assert ends == [this, following, this]


@every_number
@pytest.mark.parametrize(
    ("n", "digits"), [(10, "55"), (100, "354224848179261915075"), (1000, F_1000)]
)
def test_published_numbers(number: type, n: int, digits: str) -> None:
    """The results equal published numbers."""
    with localcontext(EXACT):
        assert str(fibonacci(n, number)) == digits


@every_number
def test_exact_arithmetic_if_a_product_is_inexact(
    monkeypatch: pytest.MonkeyPatch, number: type[Any]
) -> None:
    """If the rounding errors of a transform are too large, slower arithmetic gives the result."""
    monkeypatch.setattr(fourier_numbers, "MAX_ERROR", 1e-12)
    with localcontext(EXACT):
        values = (*fibonacci_pair(123_456, number), fibonacci(123_456, number))
        ends = [int(value % 10**18) for value in values]
    this, following = (fibonacci_modulo(n, 10**18) for n in (123_456, 123_457))
    assert ends == [this, following, this]


def test_the_millionth() -> None:
    """F(1,000,000) has the published length, first and last digits."""
    with localcontext(EXACT):
        digits = str(fibonacci(10**6, Decimal))
    assert len(digits) == 208_988
    assert digits.startswith("1953282128")
    assert digits.endswith("8242546875")
    assert int(digits[-10:]) == fibonacci_modulo(10**6, 10**10)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("distance", [1, 2, 3, 40])
def test_pairs_apart(start: int, distance: int) -> None:
    """`pairs_apart` gives the same pairs as doubling."""
    with localcontext(EXACT):
        pairs = list(pairs_apart(fibonacci_pair(start, Decimal), distance, 5))
        firsts = range(start, start + 5 * distance, distance)
        assert pairs == [fibonacci_pair(n, Decimal) for n in firsts]


def test_rounding_is_an_error() -> None:
    """A result that exceeds the precision raises instead of being rounded."""
    narrow = EXACT.copy()
    narrow.prec = 20
    with localcontext(narrow), pytest.raises(Inexact):
        fibonacci(100, Decimal)  # F(100) has 21 digits


def test_invalid_operation_raises() -> None:
    """An invalid operation raises instead of returning NaN."""
    with pytest.raises(InvalidOperation):
        EXACT.subtract(Decimal("Infinity"), Decimal("Infinity"))
