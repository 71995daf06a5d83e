"""Quantiles of counted values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.quantiles import quantile


@pytest.mark.parametrize(("share", "value"), [(0, 2), (0.25, 3), (0.5, 4), (0.75, 24), (1, 32)])
def test_values_are_interpolated(share: float, value: float) -> None:
    """Values are interpolated within a bucket; empty buckets are ignored."""
    assert quantile([(0, 2, 0), (2, 4, 2), (4, 16, 0), (16, 32, 2), (32, 64, 0)], share) == value


def test_quantile_without_values() -> None:
    """Without values, the quantile is 0."""
    assert quantile([], 0.5) == quantile([(1, 2, 0)], 0.5) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_do_not_cross(counts: list[int], share: float, other: float) -> None:
    """Quantiles increase with the share, and stay within the bounds of the buckets."""
    buckets = [(float(number), number + 1.0, count) for number, count in enumerate(counts)]
    low, high = sorted([share, other])
    assert 0 <= quantile(buckets, low) <= quantile(buckets, high) <= len(counts)
