"""Tests of the server's counters and latency histograms."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcommon.quantiles import quantile
from fibserver.core.statistics import BUCKETS, CommandStatistics, Rates, Statistics, bucket_bounds


def recorded(*seconds: float) -> CommandStatistics:
    """Return the statistics of a command whose calls took these times."""
    statistics = CommandStatistics("ping")
    for latency in seconds:
        statistics.record(latency)
    return statistics


def test_statistics_start_at_0() -> None:
    """The statistics of a command that was never called are zero."""
    statistics = CommandStatistics("ping")
    assert (statistics.calls, statistics.rejected_calls, statistics.failed_calls) == (0, 0, 0)
    assert statistics.seconds == 0
    assert statistics.latencies == [0] * BUCKETS


@pytest.mark.parametrize(
    ("microseconds", "bucket"),
    [
        (0, 0),
        (0.9, 0),
        (1, 1),
        (1.9, 1),
        (2, 2),
        (3, 2),
        (4, 3),
        (1023, 10),
        (1024, 11),
        (2**26 - 1, 26),
        (2**26, 27),
        (2**27, 27),
        (3.6e9, 27),
    ],
)
def test_latency_buckets_are_powers_of_two(microseconds: float, bucket: int) -> None:
    """Bucket k counts latencies below 2^k microseconds, the last one all longer ones."""
    latencies = recorded((microseconds + 0.01) / 1e6).latencies
    assert [number for number, count in enumerate(latencies) if count] == [bucket]


def test_calls_recorded_together_have_equal_latency() -> None:
    """Calls that were answered together count with the same latency each."""
    statistics = CommandStatistics("fib.first")
    statistics.record(0.5, calls=3)
    statistics.record(0.25)
    assert statistics.calls == sum(statistics.latencies) == sum(statistics.waits) == 4
    assert statistics.seconds == statistics.waiting_seconds == 1.75


def test_waiting_time_includes_queueing() -> None:
    """A waiting time is the sum of queueing time and execution time."""
    statistics = CommandStatistics("ping")
    statistics.record(0.0007, 0.003, 2)
    statistics.record(0.0007, 3600.0)
    assert {number: count for number, count in enumerate(statistics.latencies) if count} == {10: 3}
    assert {number: count for number, count in enumerate(statistics.waits) if count} == {
        12: 2,
        27: 1,
    }
    assert statistics.seconds == pytest.approx(0.0021)
    assert statistics.waiting_seconds == pytest.approx(3600.0081)


def test_one_entry_for_each_command() -> None:
    """Each command has one statistics object, found by its name in lower case."""
    statistics = Statistics()
    ping = statistics.command("ping")
    assert statistics.command("ping") is ping
    assert ping.name == "ping"
    assert statistics.commands == {"ping": ping}
    assert statistics.command("echo") is not ping


def test_rates_need_half_a_second() -> None:
    """Rates are computed between two samples, which are at least half a second apart."""
    statistics = Statistics()
    statistics.command("ping").record(0.1, calls=100)
    assert statistics.rates == Rates()
    statistics.sample(10.0)
    assert statistics.rates == Rates(), "how long the first calls took is not known"
    statistics.command("ping").record(0.1, calls=10)
    statistics.command("echo").record(0.1, calls=10)
    statistics.bytes_received, statistics.bytes_sent = 1000, 3000
    statistics.sample(12.0)
    assert statistics.rates == Rates(calls=10.0, bytes_received=500.0, bytes_sent=1500.0)
    statistics.command("ping").record(0.1, calls=5)
    statistics.sample(12.1)
    assert statistics.rates.calls == 10.0
    statistics.sample(13.0)
    assert statistics.rates == Rates(calls=5.0)
    statistics.sample(14.0)
    assert statistics.rates == Rates()


def test_quantiles_without_calls_are_0() -> None:
    """Without calls every quantile is 0."""
    assert quantile(bucket_bounds([0] * BUCKETS), 0.99) == 0


@pytest.mark.parametrize(
    ("share", "microseconds"), [(0, 512), (0.25, 640), (0.5, 768), (0.75, 896), (1, 1024)]
)
def test_calls_are_spread_evenly_within_a_bucket(share: float, microseconds: float) -> None:
    """Calls are assumed to be distributed evenly within their bucket."""
    latencies = recorded(*[0.0007] * 100).latencies
    assert quantile(bucket_bounds(latencies), share) == microseconds


def test_calls_below_a_microsecond() -> None:
    """The first bucket is one microsecond wide."""
    latencies = recorded(*[0.0] * 4).latencies
    assert [quantile(bucket_bounds(latencies), share) for share in (0.25, 0.5, 1)] == [
        0.25,
        0.5,
        1,
    ]


def test_quantile_passes_over_empty_buckets() -> None:
    """Empty buckets do not affect a quantile."""
    latencies = recorded(*[0.0000101] * 98, *[1.0] * 2).latencies
    assert 8 <= quantile(bucket_bounds(latencies), 0.5) <= 16
    assert quantile(bucket_bounds(latencies), 0.98) == 16
    assert 2**19 <= quantile(bucket_bounds(latencies), 0.99) <= 2**20


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**26 - 1), min_size=1, max_size=50),
    st.fractions(0, 1).filter(lambda share: share > 0),
)
def test_quantile_is_in_the_bucket_of_the_true_one(
    microseconds: list[int], share: Fraction
) -> None:
    """The estimate lies within the bucket that holds the true quantile."""
    latencies = [0] * BUCKETS
    for latency in microseconds:
        latencies[latency.bit_length()] += 1
    rank = -(-share.numerator * len(microseconds) // share.denominator)
    bucket = sorted(microseconds)[rank - 1].bit_length()
    estimate = quantile(bucket_bounds(latencies), float(share))
    if float(share) * len(microseconds) <= rank:  # else rounding reached the next call
        assert (1 << bucket) >> 1 <= estimate <= max(1, 1 << bucket)
