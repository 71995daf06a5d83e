"""Tests for metric values: sums and encoding."""

from hypothesis import given
from hypothesis import strategies as st

from fibweb.stats.metric_values import MetricValues

KEYS = st.lists(st.text(max_size=5), min_size=1, max_size=3).map(tuple)
VALUES = st.dictionaries(KEYS, st.integers(0, 2**53), max_size=5)
FIGURES = st.builds(MetricValues, VALUES, VALUES)


@given(FIGURES)
def test_metric_values_round_trip(figures: MetricValues) -> None:
    """Decoded values equal the encoded ones, zeros included."""
    assert MetricValues.decode(figures.encode()) == figures


@given(FIGURES, FIGURES)
def test_sum_of_metric_values_has_all_keys(some: MetricValues, others: MetricValues) -> None:
    """The sum has all keys of both, counters and gauges separately."""
    for part, one, other in zip(some.plus(others), some, others, strict=True):
        assert part == {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


def test_no_bytes_decode_to_no_values() -> None:
    """No bytes are decoded to no values."""
    assert MetricValues.decode(b"") == MetricValues({}, {})
