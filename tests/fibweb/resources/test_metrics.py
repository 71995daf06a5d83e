"""Tests for `/metrics`."""

import re
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.fibweb_process import get, metrics
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

ServeWeb = Callable[..., RunningServer]

HANDLINGS = ("threaded", "inline", "cached")

DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_request_is_counted_once(
    server: RunningServer, serve_web: ServeWeb, processes: str
) -> None:
    """Every request is counted once, whichever processes served it and the scrape."""
    web = serve_web("--servers", server.address, "--processes", processes)
    for _ in range(20):
        get(web, "/fib/10")
        get(web, "/fib/10", {"Accept": "text/csv"})
        get(web, "/fib?start=900000&count=1&format=text")
        with pytest.raises(urllib.error.HTTPError):
            get(web, "/fib/-1")
    expected = {
        "requests_total 200 json {} /fib/{{n}}": 20,
        "requests_total 200 csv {} /fib/{{n}}": 20,
        "requests_total 200 text {} /fib": 20,
        "requests_total 400 problem {} /fib/{{n}}": 20,
        "body_bytes_total 200 json {} /fib/{{n}}": 20 * 65,
    }

    def totals() -> dict[str, float]:
        samples = metrics(web)
        return {
            name: sum(samples.get(f"fibweb_{name.format(handling)}", 0) for handling in HANDLINGS)
            for name in expected
        }

    # Another process publishes its latest counts with its next tick.
    wait_until(lambda: totals() == expected, str(expected))
    samples = metrics(web)
    answered = sum(
        samples[f"fibweb_request_duration_seconds_count {handling}"] for handling in HANDLINGS
    )
    assert answered >= 80
    assert samples["fibweb_request_duration_seconds_sum cached"] > 0
    assert samples["fibweb_processes"] == int(processes)
    assert samples["fibweb_cache_extensions_total"] >= 2
    # Each process fetches the beginning in both formats, and each far number.
    assert samples["fibweb_cache_misses_total"] >= 22
    assert samples["fibweb_cache_hits_total"] + samples["fibweb_cache_misses_total"] == 60
    assert samples["fibweb_cache_bytes"] > 0
    assert samples[f"fibweb_server_requests_total succeeded {server.address}"] >= 3
    assert samples[f"fibweb_server_up {server.address}"] >= 1
    assert samples["fibweb_connections"] >= 1
    assert samples["fibweb_process_memory_bytes"] > 1e6
    assert samples["fibweb_process_cpu_seconds_total"] > 0


def test_counters_never_fall(server: RunningServer, serve_web: ServeWeb) -> None:
    """No counter decreases between scrapes, whichever processes serve them."""
    web = serve_web("--servers", server.address, "--processes", "2")
    before: dict[str, float] = {}
    for _ in range(40):
        get(web, "/fib/10")
        now = metrics(web)
        counters = [name for name in now if re.search(r"_total|_count|_sum|_bucket", name)]
        assert all(now[name] >= before.get(name, 0) for name in counters)
        before = {name: now[name] for name in counters}


def test_metrics_show_unavailable_fibserver(serve_web: ServeWeb) -> None:
    """The metrics show a fibserver that does not reply."""
    web = serve_web("--servers", "127.0.0.1:1", FIBWEB_TIMEOUT="0.2")
    with pytest.raises(urllib.error.HTTPError):
        get(web, "/fib/10")
    samples = metrics(web)
    assert samples["fibweb_server_up 127.0.0.1:1"] == 0
    assert samples["fibweb_server_requests_total failed 127.0.0.1:1"] >= 1
    assert samples["fibweb_requests_total 503 problem threaded /fib/{n}"] == 1


def test_every_fibweb_metric_is_documented(server: RunningServer, serve_web: ServeWeb) -> None:
    """docs/metrics.md lists exactly the existing metrics and labels."""
    web = serve_web("--servers", server.address)
    get(web, "/fib/10")
    get(web, "/metrics")
    there = {}
    for family in text_string_to_metric_families(get(web, "/metrics").decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        there[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    rows = re.findall(r"^\| `(fibweb_\w+)`[^|]*\|([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE)
    assert there == {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
