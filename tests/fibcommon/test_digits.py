"""Digits of single numbers, compared with the numbers themselves where they can be computed."""

import random
from decimal import Context, Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fibcommon.bounds import OutOfBounds
from fibcommon.digits import Digits, digits, first_digits, last_digits, listed_digits
from fibcommon.logarithms import growth_line
from fibcommon.sizes import value_digits
from tests.support.expected import digits as decimals
from tests.support.expected import fibonacci_text
from tests.support.near_powers_of_ten import first_ambiguous

WALKED = 20_001


def test_first_numbers() -> None:
    """Up to 20,000 all is right, for short and long pieces and for whole numbers."""
    for n, text in enumerate(decimals(0, WALKED)):
        count = 1000 if n % 97 == 0 else n % 37
        assert digits(n, count, count) == Digits(
            len(text), text[:count], text[-count:] * (count > 0)
        )


@pytest.mark.parametrize("n", [10_000, 10_001, *random.Random(55).sample(range(10**7), 6), 10**7])
def test_large_numbers(n: int) -> None:
    """The digits of random numbers of up to two million digits are right."""
    text = fibonacci_text(n)
    for count in (1, 19, 50, 1000):
        assert digits(n, count, count) == Digits(len(text), text[:count], text[-count:])


def test_googol() -> None:
    """F(10^100) has a number of digits with a hundred digits."""
    count, first, last = digits(10**100, 20, 20)
    assert str(count).startswith("20898764024997873376")
    assert len(str(count)) == 100
    assert first == "62449911286460687648"
    # 10^100 and 10^20 leave the same remainder when divided by 15·10^19, the period.
    assert last == last_digits(10**100 % (15 * 10**19), 20) == "59183788299560546875"


@settings(deadline=None, max_examples=50)
@given(n=st.integers(10_000, 10**100))
def test_first_digits_agree_with_decimal(n: int) -> None:
    """The first digits are those that the logarithms of `decimal` lead to."""
    context = Context(prec=250)
    root_five = context.sqrt(Decimal(5))
    log_ratio = context.log10(context.divide(context.add(root_five, 1), 2))
    logarithm = context.subtract(context.multiply(n, log_ratio), context.log10(root_five))
    fraction = context.remainder(logarithm, Decimal(1))
    power = context.power(Decimal(10), fraction)
    assert first_digits(n, 60) == str(power).replace(".", "")[:60]


huge = st.integers(0, 10**1000 - 1) | st.integers(0, 1000).map(lambda e: 10**e - 1)


@settings(deadline=None, max_examples=50)
@given(n=huge, count=st.integers(0, 1000))
def test_fewer_first_digits_are_a_prefix(n: int, count: int) -> None:
    """The first digits do not depend on how many there are."""
    assert first_digits(n, count) == first_digits(n, 1000)[:count]


@settings(deadline=None, max_examples=50)
@given(n=huge, count=st.integers(1, 150))
@example(n=15 * 10**149, count=150)
@example(n=15 * 10**149 - 1, count=150)
def test_fewer_last_digits_are_a_suffix(n: int, count: int) -> None:
    """The last digits do not depend on how many there are, and leading zeros are among them."""
    assert last_digits(n, count) == last_digits(n, 150)[-count:]
    assert len(last_digits(n, count)) == min(count, value_digits(n))


@pytest.mark.parametrize(("count", "period"), [(1, 60), (2, 300), (3, 1500), (4, 15_000)])
def test_last_digits_repeat(count: int, period: int) -> None:
    """The last digits repeat as published (OEIS A096363)."""
    start = 10**900
    for n in random.Random(8).sample(range(start, start + period), 50):
        assert last_digits(n, count) == last_digits(n + period, count)
    assert last_digits(period * 10**20, count) == "0" * count


@pytest.mark.parametrize("bits", [10, 20, 30, 40, 60, 80, 100, 150, 200])
def test_close_to_a_power_of_ten(bits: int) -> None:
    """Where the digits after the first ones are all 0 or all 9, the precision grows."""
    line = growth_line(10, 1024)
    n = first_ambiguous(line, 2, 1 << (line.scale_bits - bits))
    repeated = int(bits * 0.3) - 2
    long = first_digits(n, 1000)
    assert long[1:repeated] in ("0" * (repeated - 1), "9" * (repeated - 1))
    for count in range(1, 80):
        assert first_digits(n, count) == long[:count]
    # Next to 10^k the number of digits is that of the first digits: k+1 from 10^k on, k below.
    scaled, one = line.scaled(n), 1 << line.scale_bits
    nearest = (scaled + one // 2) // one
    assert value_digits(n) == nearest + (long[0] == "1")


@pytest.mark.parametrize("count", [1, 5, 45, 1000])
def test_lists(count: int) -> None:
    """The digits of consecutive numbers are right, where all are shown and where few are."""
    total = min(1000, 60_000 // (2 * count + 5))
    for start in (0, 1, 40, 4700, 9_990, 19_000):
        texts = decimals(start, start + total)
        assert listed_digits(start, total, count, count) == [
            Digits(len(text), text[:count], text[-count:]) for text in texts
        ]


@settings(deadline=None, max_examples=40)
@given(start=huge, first=st.integers(0, 40), last=st.integers(0, 40))
@example(start=10**1000 - 5, first=12, last=12)
def test_listed_numbers_have_the_digits_of_single_ones(start: int, first: int, last: int) -> None:
    """Each number of a list has the digits that it has alone."""
    count = min(5, 10**1000 - start)
    assert listed_digits(start, count, first, last) == [
        digits(n, first, last) for n in range(start, start + count)
    ]


@pytest.mark.parametrize("bits", [40, 60, 80, 200])
@pytest.mark.parametrize("offset", [0, 1, 2, 7])
def test_lists_close_to_a_power_of_ten(bits: int, offset: int) -> None:
    """Where the bounds of a sum do not decide a digit, the digits are those of the number."""
    line = growth_line(10, 1024)
    start = first_ambiguous(line, 20, 1 << (line.scale_bits - bits)) - offset
    for count in (1, 3, 10, 30):
        assert [found.first for found in listed_digits(start, 10, count)] == [
            first_digits(n, count) for n in range(start, start + 10)
        ]


def test_lists_end_at_the_largest_index() -> None:
    """A list goes up to the largest index, and not beyond."""
    last = 10**1000 - 1
    assert listed_digits(last, 1, 3, 3) == [digits(last, 3, 3)]
    with pytest.raises(OutOfBounds, match="the last index must be at least 0 and below"):
        listed_digits(last, 2, 3, 3)
    assert listed_digits(5, 0) == []
    with pytest.raises(OutOfBounds, match="count must be between 0 and 1000 for 5 first and 3"):
        listed_digits(0, 1001, 5, 3)
    with pytest.raises(OutOfBounds, match="count must be between 0 and 29 for 1000 first and"):
        listed_digits(10**7, 30, 1000, 1000)


def test_none() -> None:
    """No digits are a valid number of digits."""
    assert digits(10**1000 - 1)[1:] == ("", "")
    assert digits(0, 5, 5) == Digits(1, "0", "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 0), "n must be at least 0"),
        ((10**1000, 0, 0), r"n must be .* below 10\^1000, not 10000000000000000000... of 1001"),
        ((5, 1001, 0), "first must be between 0 and 1000, not 1001"),
        ((5, 0, -1), "last must be between 0 and 1000, not -1"),
    ],
)
def test_bounds(arguments: tuple[int, int, int], message: str) -> None:
    """Arguments outside their ranges are errors that name them."""
    with pytest.raises(OutOfBounds, match=message):
        digits(*arguments)
    with pytest.raises(OutOfBounds, match="count"):
        first_digits(5, 1001)
    with pytest.raises(OutOfBounds, match="count"):
        last_digits(5, 1001)
