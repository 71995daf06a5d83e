"""Tests of products by Fourier transforms against Python's integers."""

from decimal import localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibserver.compute import fourier_numbers
from fibserver.compute.arithmetic import EXACT
from fibserver.compute.fourier_numbers import BinaryNumber, DecimalNumber, InexactProduct

every_kind = pytest.mark.parametrize("words", [DecimalNumber, BinaryNumber])

numbers = st.integers(0, 2**300) | st.integers(0, 2**13_000)
"""Also numbers without large words, which random bits would hardly give."""

repeated = st.builds(
    lambda digit, count, base: digit * (base**count - 1) // (base - 1),
    *(st.sampled_from([1, 4999, 5000, 9999]), st.integers(1, 900), st.just(10**4)),
)


def exact(value: Any) -> int:
    """Return a number as `int`."""
    with localcontext(EXACT):
        return int(value.result())


@every_kind
@given(numbers | repeated, numbers | repeated)
def test_arithmetic(words: Any, one: int, two: int) -> None:
    """Sums, differences and products are those of integers, in any combination."""
    a, b = words(one), words(two)
    assert exact(a) == one
    assert exact(a + b) == one + two
    assert exact(a * b) == one * two
    assert exact(a * a) == one * one
    assert exact(a + b - a) == two
    assert exact(words(4) * a + a * b) == 4 * one + one * two
    assert exact((a + b) * (a + b) - a * a) == (one + two) ** 2 - one * one
    assert (exact(a), exact(b)) == (one, two)


@every_kind
@given(st.integers(1, 2**3000), st.integers(0, 200))
def test_carries_and_borrows(words: Any, value: int, shift: int) -> None:
    """A carry or a borrow passes through any number of words."""
    power = words.base**shift
    assert exact(words(value * power) - words(1)) == value * power - 1
    assert exact(words(value * power - 1) + words(1)) == value * power


@every_kind
def test_inexact_product_raises(monkeypatch: pytest.MonkeyPatch, words: Any) -> None:
    """A product whose rounding errors are too large raises instead of being wrong."""
    value = words(3**5000)
    assert exact(value * value) == 3**10_000
    monkeypatch.setattr(fourier_numbers, "MAX_ERROR", 1e-12)
    with pytest.raises(InexactProduct, match="by"):
        value * value


@every_kind
def test_worst_case_of_rounding_errors(words: Any) -> None:
    """Even if all words are the largest ones, the errors stay far below the limit."""
    count = 20_000
    value = words(0)._new(np.full(count, float(words.base // 2 - 1)))
    number = (words.base // 2 - 1) * ((words.base**count - 1) // (words.base - 1))
    assert exact(value * value) == number * number


@given(st.integers(1, 5_000_000))
def test_transform_size(minimum: int) -> None:
    """The size is even, at most a quarter too large, and has only small prime factors."""
    size = fourier_numbers._transform_size(minimum)
    assert minimum <= size <= 1.25 * minimum + 2
    assert size % 2 == 0
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1
