"""Tests for fibcommon.costs."""

import pytest

from fibcommon.costs import (
    EXPENSIVE_SECONDS,
    LOOP_SECONDS,
    digits_seconds,
    listed_digits_seconds,
    modular_seconds,
    predicted_seconds,
    zeckendorf_seconds,
)
from fibcommon.formats import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_costs_grow_with_the_work(name: str) -> None:
    """A larger first index costs more, and so does a longer slice."""
    format = FORMATS[name]
    starts = [0, 10, 1_000, 100_000, 1_000_000, 10_000_000, 10**12]
    costs = [predicted_seconds(format, n, n + 1) for n in starts]
    assert costs == sorted(set(costs))
    assert predicted_seconds(format, 0, 1_000) < predicted_seconds(format, 0, 2_000)


@pytest.mark.parametrize("name", FORMATS)
def test_giants_are_expensive_and_small_numbers_are_not(name: str) -> None:
    """The threshold separates slices that take tens of milliseconds from shorter ones."""
    format = FORMATS[name]
    assert predicted_seconds(format, 5_000, 5_001) < EXPENSIVE_SECONDS / 10
    assert predicted_seconds(format, 300_000, 300_001) < EXPENSIVE_SECONDS
    assert predicted_seconds(format, 1_000_000, 1_000_001) > EXPENSIVE_SECONDS


def test_numbers_of_any_size_have_a_cost() -> None:
    """An index beyond all limits does not overflow."""
    for format in FORMATS.values():
        assert predicted_seconds(format, 2**127, 2**127 + 1) < float("inf")


def test_residues_cost_more_with_a_larger_index_or_modulus() -> None:
    """A residue costs microseconds to a fraction of a second within the bounds."""
    sizes = [10**power for power in (3, 10, 30, 100, 300, 999)]
    for modulus in sizes:
        costs = [modular_seconds(n, modulus) for n in sizes]
        assert costs == sorted(costs)
    costs = [modular_seconds(10**999, modulus) for modulus in sizes]
    assert costs == sorted(costs)
    assert modular_seconds(10**9, 10**9) < 1e-4
    assert EXPENSIVE_SECONDS < modular_seconds(10**1000 - 1, 10**1000 - 1) < 1


def test_digits_cost_more_the_more_there_are() -> None:
    """Fifty digits at either end are cheap for any n; the last thousand for a huge one are not."""
    n = 10**1000 - 1
    counts = (0, 10, 50, 100, 300, 1000)
    for costs in (
        [digits_seconds(n, k, 0) for k in counts],
        [digits_seconds(n, 0, k) for k in counts],
    ):
        assert costs == sorted(costs)
    assert digits_seconds(n, 50, 50) < 1e-3
    assert digits_seconds(10**7, 1000, 1000) < 4e-3
    assert EXPENSIVE_SECONDS < digits_seconds(n, 0, 1000) < 0.5


def test_lists_cost_more_the_longer_they_are() -> None:
    """The ends of a page of numbers are cheap; those of a thousand take a loop too long."""
    for n in (10**7, 10**1000 - 1000):
        costs = [listed_digits_seconds(n, count, 45, 45) for count in (0, 1, 10, 100, 600)]
        assert costs == sorted(set(costs))
    assert listed_digits_seconds(10**7, 50, 60, 60) < LOOP_SECONDS
    assert listed_digits_seconds(10**7, 1000, 20, 20) > LOOP_SECONDS
    assert listed_digits_seconds(10**1000 - 30, 20, 1000, 1000) < 0.5


def test_zeckendorf_sums_cost_more_for_larger_numbers() -> None:
    """The indices of a number of 4,000 digits take milliseconds."""
    costs = [zeckendorf_seconds(10**power) for power in (0, 10, 100, 1000, 4000)]
    assert costs == sorted(costs)
    assert 1e-3 < costs[-1] < 1e-2
