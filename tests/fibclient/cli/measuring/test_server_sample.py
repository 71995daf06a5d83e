"""Readings of a server, and the rates between two readings."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibclient.cli.measuring.server_sample import (
    InfoFields,
    SampleRates,
    ServerSample,
    info_fields,
    sample_rates,
)
from fibclient.connections.resp import Reply
from fibcommon.info import parse_info
from tests.support.servers import RunningServer, direct_client

INFORMATION = """# Server\r
fibserver_version:1.2.3\r
process_id:17\r
uptime_in_seconds:60\r
\r
# Clients\r
connected_clients:5\r
blocked_clients:2\r
# Memory\r
used_memory_rss:3000\r
used_memory_shared:2000\r
maxmemory:8000\r
used_memory:1500\r
# Stats\r
total_net_output_bytes:100000\r
total_error_replies:4\r
# Workers\r
workers:2\r
workers_busy:1\r
worker_deaths:3\r
# Sequence\r
json:elements=1000,bytes=5,streamed_bytes=0\r
text:elements=0,bytes=0,streamed_bytes=0\r
"""
HISTOGRAMS: Reply = [
    b"fib.first",
    [b"calls", 30, b"histogram_usec", [16, 10, 64, 30]],
    b"ping",
    [b"calls", 10, b"histogram_usec", [16, 10]],
    b"info",
    [b"calls", 500, b"histogram_usec", [1024, 500]],
    b"latency",
    [b"calls", 500, b"histogram_usec", [1024, 500]],
]
READING = ServerSample(
    version="1.2.3",
    uptime_seconds=60,
    process_id=17,
    calls=40,
    errors=4,
    bytes_sent=100_000,
    latencies={16: 20, 64: 20},
    connected_clients=5,
    waiting_clients=2,
    workers=2,
    workers_busy=1,
    worker_deaths=3,
    used_bytes=3000,
    shared_bytes=2000,
    numbers_bytes=1500,
    memory_limit_bytes=8000,
    elements={"json": 1000},
)
LATER = replace(
    READING, calls=140, errors=6, bytes_sent=300_000, latencies={16: 70, 64: 20, 1024: 50}
)


def test_sample_combines_info_and_histograms() -> None:
    """A reading combines INFO and the histograms, without the commands of readings."""
    assert ServerSample.of(INFORMATION, HISTOGRAMS) == READING


def test_missing_fields_are_0() -> None:
    """Missing fields and fields that are not numbers are 0."""
    sample = ServerSample.of("workers:many\r\nused_memory_rss:-1\r\n", None)
    assert sample.version == ""
    assert not any(getattr(sample, field.name) for field in fields(ServerSample))


def test_sample_of_real_server_has_all_fields(server: RunningServer) -> None:
    """A real server reports all fields of a reading."""
    with direct_client(server.address) as client:
        client.first(1000)
        info = "".join(f"{name}:{value}\n" for name, value in client.info("all").items())
    sample = ServerSample.of(info, HISTOGRAMS)
    assert sample.version
    assert min(sample.process_id, sample.workers, sample.connected_clients) > 0
    assert min(sample.bytes_sent, sample.used_bytes, sample.memory_limit_bytes) > 0
    assert "binary" in sample.elements


def test_fields_are_found_in_all_sections() -> None:
    """Fields are found in all sections, and numbers have a default."""
    info = info_fields("# Server\r\na:1\r\n# Other\r\nb:x:y\r\n")
    assert info == {"a": "1", "b": "x:y"}
    assert [info.whole("a"), info.whole("b"), info.whole("c", 7)] == [1, 0, 7]
    assert parse_info("a:1")[""] == InfoFields(a="1")


def test_rates_are_between_two_samples() -> None:
    """Rates and percentiles are those of the difference between two readings."""
    rates = sample_rates(READING, LATER, 2.0)
    assert (rates.requests_per_second, rates.errors_per_second) == (50, 1)
    assert rates.bytes_per_second == 100_000
    assert rates.p50_seconds == pytest.approx(16e-6)
    assert rates.p99_seconds == pytest.approx(1013.76e-6)


def test_rates_without_requests() -> None:
    """Without requests there are no percentiles."""
    assert sample_rates(READING, READING, 1.0) == SampleRates(0, 0, 0, None, None)


@pytest.mark.parametrize(
    "restarted",
    [
        replace(READING, process_id=18),
        replace(READING, uptime_seconds=1),
        replace(READING, calls=3),
        replace(READING, errors=0),
        replace(READING, bytes_sent=10),
        replace(READING, latencies={16: 30, 64: 10}),
    ],
)
def test_counters_start_at_0_after_restart(restarted: ServerSample) -> None:
    """After a restart, counters are assumed to have started at 0."""
    rates = sample_rates(READING, restarted, 1.0)
    assert rates.requests_per_second == restarted.calls
    assert rates.errors_per_second == restarted.errors
    assert rates.bytes_per_second == restarted.bytes_sent


COUNTS = st.integers(0, 100)
READINGS = st.builds(
    replace,
    st.just(READING),
    process_id=st.integers(1, 2),
    uptime_seconds=COUNTS,
    calls=COUNTS,
    errors=COUNTS,
    bytes_sent=COUNTS,
    latencies=st.dictionaries(st.sampled_from([1, 2, 64, 1 << 27]), COUNTS),
)


@given(before=READINGS, after=READINGS)
def test_no_rate_is_negative(before: ServerSample, after: ServerSample) -> None:
    """No rate is negative, whatever the two readings contain."""
    rates = sample_rates(before, after, 0.5)
    assert min(rates.requests_per_second, rates.errors_per_second, rates.bytes_per_second) >= 0
    assert (rates.p50_seconds or 0) <= (rates.p99_seconds or 0)
    assert (rates.p50_seconds or 0) >= 0
