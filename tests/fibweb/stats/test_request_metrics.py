"""Tests for request counters and latency histograms."""

import pytest

from fibcommon.quantiles import quantile
from fibweb.stats.access_record import AccessRecord
from fibweb.stats.request_metrics import (
    BUCKET_SECONDS,
    MAX_CELLS,
    RequestMetrics,
    bucket_bounds,
    format_of,
    route_of,
)

PATHS = {"/", "/fib", "/healthz"}


def access_record(
    target: str = "/fib/10",
    status: int = 200,
    media_type: str = "application/json",
    seconds: float = 0.0015,
    handling: str = "inline",
) -> AccessRecord:
    """Return an access record."""
    return AccessRecord("GET", target, status, 100, seconds, "::1", "", "id", handling, media_type)


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/fib/10", "/fib/{n}"),
        ("/fib/10?format=csv", "/fib/{n}"),
        ("/fib/", "/fib/{n}"),
        ("/fib/a/b", "/fib/{n}"),
        ("/fib", "/fib"),
        ("/fib?count=3", "/fib"),
        ("/number/7", "/number/{n}"),
        ("/digits/7?first=5", "/digits/{n}"),
        ("/index/7", "/index/{x}"),
        ("/", "/"),
        ("/?x=/fib/1", "/"),
        ("/healthz", "/healthz"),
        ("/page/main-0123456789abcdef.js", "/page/{name}"),
        ("/healthz/", "other"),
        ("/number", "other"),
        ("*", "other"),
        ("-", "other"),
        ("", "other"),
        ("http://x/fib/10", "other"),
    ],
)
def test_route_label_depends_on_path(target: str, route: str) -> None:
    """The route depends only on the path."""
    assert route_of(target, PATHS) == route


@pytest.mark.parametrize(
    ("media_type", "format"),
    [
        ("application/json", "json"),
        ("text/plain; charset=utf-8", "text"),
        ("text/csv; charset=utf-8; header=absent", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/octet-stream", "binary"),
        ("application/problem+json", "problem"),
        ("text/html; charset=utf-8", "other"),
        ("", "none"),
    ],
)
def test_format_label_depends_on_media_type(media_type: str, format: str) -> None:
    """The format depends on the media type."""
    assert format_of(media_type) == format


def test_route_below_path_prefix() -> None:
    """The path prefix is removed before the route is determined."""
    counts = RequestMetrics(PATHS, "/f")
    for target in ("/f/fib/1", "/fib/1", "/f/healthz", "/fx/healthz", "/f/f/fib/1"):
        counts.record(access_record(target))
    found = {key[1]: value for key, value in counts.counters().items() if key[0] == "requests"}
    assert found == {"/fib/{n}": 2, "/healthz": 1, "other": 2}


def test_requests_are_counted_by_their_labels() -> None:
    """Requests and bytes are counted by their labels, latencies by handling and bucket."""
    counts = RequestMetrics(PATHS)
    for target in ("/fib/1", "/fib/2", "/fib/1"):
        counts.record(access_record(target))
    counts.record(access_record("/nowhere", 404, "application/problem+json", 3.0, "threaded"))
    counters = counts.counters()
    assert counters["requests", "/fib/{n}", "200", "json", "inline"] == 3
    assert counters["bytes", "/fib/{n}", "200", "json", "inline"] == 300
    assert counters["requests", "other", "404", "problem", "threaded"] == 1
    assert counters["seconds", "inline"] == pytest.approx(0.0045)
    assert counters["latency", "inline", str(BUCKET_SECONDS.index(0.002))] == 3
    assert counters["latency", "threaded", str(BUCKET_SECONDS.index(5))] == 1
    assert sum(value for key, value in counters.items() if key[0] == "latency") == 4


def test_cache_hits_and_misses_are_counted() -> None:
    """A response with numbers is a hit, or a miss if it was fetched; others are neither."""
    counts = RequestMetrics(PATHS)
    for handling in ("cached", "inline", "threaded"):
        counts.record(access_record(handling=handling))
        counts.record(access_record("/fib?count=1", 206, handling=handling))
        counts.record(access_record(status=304, handling=handling))
        counts.record(access_record(status=400, handling=handling))
        counts.record(access_record("/healthz", handling=handling))
    counters = counts.counters()
    assert counters["cache_hits",] == 4
    assert counters["cache_misses",] == 2


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (1e-6, 0), (1.1e-6, 1), (50.0, 23), (1e9, 24)]
)
def test_duration_buckets_include_their_bounds(seconds: float, bucket: int) -> None:
    """A bucket counts latencies up to its bound; the last one counts the rest."""
    counts = RequestMetrics(PATHS)
    counts.record(access_record(seconds=seconds))
    assert counts.counters()["latency", "inline", str(bucket)] == 1


def test_memory_is_bounded() -> None:
    """The number of counters does not grow with the targets, and all requests are counted."""
    counts = RequestMetrics(PATHS)
    for number in range(3 * MAX_CELLS):
        counts.record(access_record(f"/fib/{number}"))
        counts.record(access_record(f"/{number}", 404, "application/problem+json"))
        assert len(counts._cells) <= MAX_CELLS
    counters = counts.counters()
    assert counters["requests", "/fib/{n}", "200", "json", "inline"] == 3 * MAX_CELLS
    assert counters["requests", "other", "404", "problem", "inline"] == 3 * MAX_CELLS
    assert len([key for key in counters if key[0] == "requests"]) == 2


def test_intervals_of_latency_buckets() -> None:
    """Each bucket begins where the previous one ends; the last one counts as the largest bound."""
    buckets = list(bucket_bounds([1.0] * (len(BUCKET_SECONDS) + 1)))
    assert buckets[0] == (0, BUCKET_SECONDS[0], 1)
    assert buckets[3] == (BUCKET_SECONDS[2], BUCKET_SECONDS[3], 1)
    assert buckets[-1] == (BUCKET_SECONDS[-1], BUCKET_SECONDS[-1], 1)
    assert quantile(buckets, 1) == BUCKET_SECONDS[-1]
