"""Sizes in closed form, compared with counting."""

import random
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, Context, Decimal
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.logarithms import MIN_SCALE_BITS, growth_line
from fibcommon.sizes import (
    floor_sum,
    index_digits,
    index_digits_before,
    length_digits,
    length_digits_before,
    value_digits,
    value_digits_before,
)
from tests.support.expected import fibonacci_text
from tests.support.near_powers_of_ten import first_ambiguous, has_ambiguous_floor

Size = Callable[[int], int]

WALKED = 48_000
"""Largest counted index, a little beyond the first number with 10,000 digits."""

FIRST_WITH_DIGITS = {10: 45, 100: 476, 1000: 4782, 10_000: 47_847, 100_000: 478_495}
"""The smallest n whose F(n) has a given number of digits (OEIS A072354)."""


@cache
def decimal_lengths() -> list[int]:
    """The numbers of decimal digits of F(n), for n up to WALKED, from the numbers themselves."""
    context = Context(prec=MAX_PREC, Emax=MAX_EMAX)
    current, following = Decimal(0), Decimal(1)
    lengths = []
    for _ in range(WALKED):
        lengths.append(current.adjusted() + 1)
        current, following = following, context.add(current, following)
    return lengths


@cache
def byte_lengths() -> list[int]:
    """The numbers of bytes of F(n), for n up to WALKED."""
    current, following = 0, 1
    lengths = []
    for _ in range(WALKED):
        lengths.append((current.bit_length() + 7) // 8)
        current, following = following, current + following
    return lengths


def assert_counts(sizes: list[int], of: Size, before: Size) -> None:
    """Check both functions of a size for every counted n."""
    total = 0
    for n, size in enumerate(sizes):
        assert (of(n), before(n)) == (size, total), n
        total += size


HUGE = 2**300


@settings(deadline=None)
@given(
    count=st.integers(0, 200),
    slope=st.integers(0, 1000) | st.integers(0, HUGE),
    shift=st.integers(-1000, 1000) | st.integers(-HUGE, HUGE),
    modulus=st.integers(1, 1000) | st.integers(1, HUGE),
)
def test_floor_sum(count: int, slope: int, shift: int, modulus: int) -> None:
    """floor_sum is the sum of the floors, for shifts of either sign."""
    expected = sum((slope * k + shift) // modulus for k in range(count))
    assert floor_sum(count, slope, shift, modulus) == expected


def test_numbers_of_digits_equal_counted_ones() -> None:
    """The number of digits of F(n), and the sum over all smaller n, equal the counted ones."""
    assert_counts(decimal_lengths(), value_digits, value_digits_before)


def test_numbers_of_bytes_equal_counted_ones() -> None:
    """The same is true in base 256, where zero has no byte."""
    assert_counts(
        byte_lengths(),
        lambda n: value_digits(n, 256),
        lambda n: value_digits_before(n, 256),
    )


def test_digits_of_length() -> None:
    """The number of digits of the length of F(n) is right."""
    lengths = [len(str(length)) for length in decimal_lengths()]
    assert_counts(lengths, length_digits, length_digits_before)


def test_digits_of_index() -> None:
    """The number of digits of n is right."""
    assert_counts([len(str(n)) for n in range(WALKED)], index_digits, index_digits_before)


@pytest.mark.parametrize("power", range(1, 19))
def test_index_thresholds(power: int) -> None:
    """At a power of ten the index grows by one digit, and the sum with it."""
    n = 10**power
    assert [index_digits(k) for k in (n - 1, n, n + 1)] == [power, power + 1, power + 1]
    sums = [index_digits_before(k) for k in (n - 1, n, n + 1, n + 2)]
    assert [b - a for a, b in pairwise(sums)] == [power, power + 1, power + 1]
    assert sums[1] == sum(9 * 10 ** (k - 1) * k for k in range(1, power + 1)) + 1  # the 0


@pytest.mark.parametrize(("digits", "first"), FIRST_WITH_DIGITS.items())
def test_length_thresholds(digits: int, first: int) -> None:
    """Where the number of digits of F(n) reaches a power of ten, its length grows by one digit."""
    below, above = len(str(digits)) - 1, len(str(digits))
    assert [value_digits(n) for n in (first - 1, first)] == [digits - 1, digits]
    assert [length_digits(n) for n in (first - 1, first)] == [below, above]
    sums = [length_digits_before(n) for n in (first - 1, first, first + 1)]
    assert [sums[1] - sums[0], sums[2] - sums[1]] == [below, above]


@pytest.mark.parametrize(
    ("n", "digits"),
    [
        (100, 21),  # OEIS A068070: the number of digits of F(10^k)
        (1000, 209),
        (10_000, 2090),
        (100_000, 20_899),
        (10**6, 208_988),
        (10**7, 2_089_877),
        (10**8, 20_898_764),
        (20_577, 4300),  # the longest that CPython converts to text by default
        (20_578, 4301),
    ],
)
def test_published_digits(n: int, digits: int) -> None:
    """The number of digits equals the published one."""
    assert value_digits(n) == digits


@settings(deadline=None)
@given(n=st.integers(0, 10**12), base=st.sampled_from([10, 256]))
def test_sums_grow_by_the_size(n: int, base: int) -> None:
    """For huge n, each sum grows by the size of the element."""
    grown = value_digits_before(n + 1, base) - value_digits_before(n, base)
    assert grown == value_digits(n, base)
    assert index_digits_before(n + 1) - index_digits_before(n) == index_digits(n)
    assert length_digits_before(n + 1) - length_digits_before(n) == length_digits(n)


@pytest.mark.parametrize("base", [10, 256])
def test_the_smallest_scale_suffices_for_64_bits(base: int) -> None:
    """No n below 2^64 is so close to a power of the base that the scale leaves a doubt."""
    line = growth_line(base, MIN_SCALE_BITS)
    assert not has_ambiguous_floor(line, 2, 2**64, line.error(2**64))


@pytest.mark.parametrize("base", [10, 256])
def test_sizes_of_any_index(base: int) -> None:
    """Below 10^1000 a scale of 8,192 bits leaves no doubt, and a smaller one gives the same."""
    line = growth_line(base, 8192)
    assert not has_ambiguous_floor(line, 2, 10**1000, line.error(10**1000))
    source = random.Random(base)
    for _ in range(1000):
        n = source.randrange(2, 10 ** source.randrange(1, 1001))
        assert value_digits(n, base) == (line.scaled(n) >> line.scale_bits) + 1


def test_sizes_at_convergents() -> None:
    """The same is true where n·log₁₀ φ is closest to an integer, and next to it."""
    line = growth_line(10, 8192)
    numerator, denominator = 1 << line.scale_bits, line.slope
    before, this = 0, 1  # denominators of the convergents of log₁₀ φ
    count = 0
    while this < 10**1000:
        for n in range(max(this - 2, 2), this + 3):
            assert value_digits(n) == (line.scaled(n) >> line.scale_bits) + 1
        quotient, rest = divmod(numerator, denominator)
        numerator, denominator = denominator, rest
        before, this = this, quotient * this + before
        count += 1
    assert count > 1000


@pytest.mark.parametrize("bits", [5, 10, 15, 20, 40, 64, 100, 200])
def test_sizes_closest_to_powers_of_ten(bits: int) -> None:
    """The same is true for the first F(n) that is closer to a power of ten than a bound."""
    line = growth_line(10, 1024)
    n = first_ambiguous(line, 2, 1 << (line.scale_bits - bits))
    assert value_digits(n) == (line.scaled(n) >> line.scale_bits) + 1
    if n < 10**7:
        assert value_digits(n) == len(fibonacci_text(n))


@pytest.mark.parametrize("base", [10, 256])
def test_sizes_where_the_first_scale_leaves_a_doubt(base: int) -> None:
    """A larger scale decides where the smallest one does not, below a power of the base or not."""
    coarse, fine = growth_line(base, MIN_SCALE_BITS), growth_line(base, 1024)
    wrong = 0
    for start in range(2**191, 2**191 + 10 * 2**80, 2**80):
        n = first_ambiguous(coarse, start, coarse.error(start))
        exact = fine.scaled(n) >> fine.scale_bits
        wrong += (coarse.scaled(n) - coarse.error(n)) >> coarse.scale_bits != exact
        assert value_digits(n, base) == exact + 1
    assert 0 < wrong < 10
