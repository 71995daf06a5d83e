"""The way back from numbers to indices."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fibcommon.bounds import OutOfBounds
from fibcommon.indices import Position, first_index_with_digits, position, zeckendorf
from fibcommon.sizes import value_digits
from tests.support.expected import fibonacci

FIBONACCI = fibonacci(0, 19_200)
MAX_INDEX = 19_141
"""The last n whose F(n) has 4,000 digits."""

values = st.integers(0, 10**30) | st.integers(0, 10**4000 - 1)


def test_positions_of_small_numbers() -> None:
    """Every number up to 10,000 is a Fibonacci number, or between two of them."""
    for value in range(10_000):
        indices = tuple(n for n, number in enumerate(FIBONACCI[:30]) if number == value)
        below = max((n for n, number in enumerate(FIBONACCI[:30]) if number < value), default=None)
        above = min(n for n, number in enumerate(FIBONACCI[:30]) if number > value)
        assert position(value) == Position(indices, below, above), value


def test_positions_of_all_fibonacci_numbers() -> None:
    """Each Fibonacci number has its index, and the numbers next to it lie beside it."""
    for n in (*range(6, 500), *range(500, MAX_INDEX, 101), MAX_INDEX):
        number = FIBONACCI[n]
        assert position(number) == Position((n,), n - 1, n + 1)
        assert position(number - 1) == Position((), n - 1, n)
        assert position(number + 1) == Position((), n, n + 1)


def test_special_positions() -> None:
    """0 has nothing below, and 1 is two Fibonacci numbers."""
    assert position(0) == Position((0,), None, 1)
    assert position(1) == Position((1, 2), 0, 3)
    assert position(832_040) == Position((30,), 29, 31)
    assert position(10**4000 - 1) == Position((), MAX_INDEX, MAX_INDEX + 1)


def check_zeckendorf(value: int) -> None:
    """Check that the indices are those of the only sum without neighbours."""
    indices = list(zeckendorf(value))
    assert sum(FIBONACCI[n] for n in indices) == value
    assert all(larger - smaller >= 2 for larger, smaller in pairwise(indices))
    assert not indices or indices[-1] >= 2


def test_zeckendorf_sums_of_small_numbers() -> None:
    """Small numbers have the published sums (OEIS A035516)."""
    assert [list(zeckendorf(value)) for value in range(5)] == [[], [2], [3], [4], [4, 2]]
    assert list(zeckendorf(100)) == [11, 6, 4]
    for value in range(10_000):
        check_zeckendorf(value)


@pytest.mark.parametrize("n", [*range(2, 30), *range(250, 262), 511, 512, 513, 1024, MAX_INDEX])
def test_zeckendorf_sums_next_to_fibonacci_numbers(n: int) -> None:
    """A Fibonacci number is its own sum; the one below it has every other index."""
    assert list(zeckendorf(FIBONACCI[n])) == [n]
    assert list(zeckendorf(FIBONACCI[n] - 1)) == list(range(n - 1, 1, -2))


@settings(deadline=None)
@given(value=values)
@example(value=10**4000 - 1)
def test_zeckendorf_sums(value: int) -> None:
    """Any number has its sum."""
    check_zeckendorf(value)


@settings(deadline=None)
@given(gaps=st.lists(st.integers(2, 300) | st.integers(2, 3), max_size=60))
def test_zeckendorf_of_a_sum(gaps: list[int]) -> None:
    """The indices of a given sum are found again, whatever the gaps between them."""
    indices = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    value = sum(FIBONACCI[n] for n in indices)
    assert list(zeckendorf(value)) == indices[::-1]


def test_first_index_with_few_digits() -> None:
    """The first index of each number of digits is that of the first number which has them."""
    expected: dict[int, int] = {}
    for n, number in enumerate(FIBONACCI[:4783]):
        expected.setdefault(len(str(number)), n)
    assert expected[1000] == 4782
    assert {count: first_index_with_digits(count) for count in expected} == expected


MAX_DIGITS = value_digits(10**1000 - 1)


@settings(deadline=None)
@given(
    digits=st.integers(2, MAX_DIGITS) | st.integers(1, 999).map(lambda power: 10**power),
)
@example(digits=MAX_DIGITS)
def test_first_index_with_digits(digits: int) -> None:
    """The number at the index has that many digits, and the one before has fewer."""
    n = first_index_with_digits(digits)
    assert (value_digits(n - 1), value_digits(n)) == (digits - 1, digits)


@pytest.mark.parametrize("value", [-1, 10**4000], ids=["negative", "too large"])
def test_values_out_of_bounds(value: int) -> None:
    """Negative numbers, and those with more digits, are errors at the call."""
    with pytest.raises(OutOfBounds, match="the number must be at least 0 and have at most 4000"):
        position(value)
    with pytest.raises(OutOfBounds, match="the number must be at least 0 and have at most 4000"):
        zeckendorf(value)


@pytest.mark.parametrize(
    "digits", [-1, 0, MAX_DIGITS + 1, 10**1000], ids=["negative", "none", "more", "many more"]
)
def test_digits_out_of_bounds(digits: int) -> None:
    """A number of digits that no accepted index has is an error."""
    with pytest.raises(OutOfBounds, match="the number of digits must be at least 1 and at most"):
        first_index_with_digits(digits)
