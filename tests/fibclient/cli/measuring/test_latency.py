"""Latency histograms and percentiles."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.cli.measuring.latency import Latencies, parse_histograms
from fibclient.connections.resp import Reply

SECONDS = st.lists(st.floats(1e-6, 1e4), min_size=1)
PERCENTS = [0, 1, 50, 90, 99, 99.9, 100]


def counted(seconds: list[float]) -> Latencies:
    """Return the histogram of some latencies."""
    latencies = Latencies()
    for latency in seconds:
        latencies.record(latency)
    return latencies


@given(SECONDS)
def test_percentiles_are_right_to_a_percent(seconds: list[float]) -> None:
    """Percentiles are those of the latencies, accurate to about 1 %."""
    latencies = counted(seconds)
    for percent in PERCENTS:
        rank = max(1, ceil(percent / 100 * len(seconds)))
        assert latencies.percentile(percent) == pytest.approx(sorted(seconds)[rank - 1], rel=0.011)
    assert latencies.count == len(seconds)
    assert latencies.longest_seconds == max(seconds)


@given(SECONDS, SECONDS)
def test_counts_of_threads_are_added(one: list[float], other: list[float]) -> None:
    """The sum of two histograms equals one of all latencies."""
    added, whole = counted(one), counted(one + other)
    added.add(counted(other))
    for percent in PERCENTS:
        assert added.percentile(percent) == whole.percentile(percent)
    assert (added.count, added.longest_seconds) == (whole.count, whole.longest_seconds)


def test_percentiles_without_latencies_are_0() -> None:
    """Without latencies, percentiles are 0; latencies of 0 count as a microsecond."""
    assert Latencies().percentile(99) == 0
    assert counted([0.0]).percentile(50) == 0
    assert counted([0.0, 1e-9, 1.0]).percentile(50) < 1.1e-6


def test_cumulative_counts_become_counts() -> None:
    """Cumulative counts become counts per bucket."""
    reply: Reply = [
        b"fib.first",
        [b"calls", 7, b"histogram_usec", [8, 2, 16, 5, 1024, 7]],
        b"ping",
        [b"calls", 1, b"histogram_usec", [1, 1]],
    ]
    assert parse_histograms(reply) == {"fib.first": {8: 2, 16: 3, 1024: 2}, "ping": {1: 1}}


@pytest.mark.parametrize(
    "reply", [None, b"", 7, [], [b"ping"], [b"ping", 3], [b"ping", [b"calls", 3]], [[], []]]
)
def test_reply_without_histogram_gives_no_counts(reply: Reply) -> None:
    """A reply that is not a histogram gives no counts."""
    assert not any(parse_histograms(reply).values())
