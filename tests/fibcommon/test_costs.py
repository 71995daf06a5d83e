"""Tests for fibcommon.costs."""

import pytest

from fibcommon.costs import EXPENSIVE_SECONDS, predicted_seconds
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
