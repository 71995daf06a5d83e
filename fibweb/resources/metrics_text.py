"""Prometheus metrics in text form: names, help texts and labels.

`fibweb.stats` collects the values. `docs/metrics.md` lists the same names.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from fibcommon import __version__
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import BUCKET_SECONDS, buckets_of

__all__ = ["CONTENT_TYPE_PLAIN_0_0_4", "metrics_text"]


class _Description(NamedTuple):
    """Name, help text and label names of a metric."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


_REQUEST_LABELS = ("route", "code", "format", "handling")

_COUNTERS = {
    "requests": _Description("requests", "Requests answered.", _REQUEST_LABELS),
    "bytes": _Description("body_bytes", "Bytes of response bodies sent.", _REQUEST_LABELS),
    "cache_hits": _Description("cache_hits", "Responses with numbers from memory."),
    "cache_extensions": _Description("cache_extensions", "How often the cache was extended."),
    "cache_misses": _Description(
        "cache_misses", "Responses with numbers fetched from a fibserver."
    ),
    "retries": _Description("retries", "Retried requests to fibservers."),
    "hedges": _Description(
        "hedges", "Requests sent to a second fibserver because the first was slow."
    ),
    "server_requests": _Description(
        "server_requests", "Requests to a fibserver, by outcome.", ("server", "outcome")
    ),
    "server_times_down": _Description(
        "server_times_down", "How often a fibserver was marked down.", ("server",)
    ),
    "server_connections_opened": _Description(
        "server_connections_opened", "Connections opened to fibservers."
    ),
    "rejections": _Description(
        "rejections", "Requests and connections rejected, by reason.", ("reason",)
    ),
    "fetches_cancelled": _Description(
        "fetches_cancelled", "Requests to fibservers cancelled because all clients had gone."
    ),
    "connections_cut_off": _Description(
        "connections_cut_off", "Connections closed to make room, by reason.", ("reason",)
    ),
    "pieces_dropped": _Description(
        "pieces_dropped", "Fetched pieces dropped because their readers were slow."
    ),
    "cpu_seconds": _Description("process_cpu_seconds", "CPU seconds used by all processes."),
}

_GAUGES = {
    "processes": _Description("processes", "Serving processes."),
    "connections": _Description("connections", "Open client connections."),
    "queue_depth": _Description("queue_depth", "Requests queued for a fetch from a fibserver."),
    "in_flight": _Description("requests_in_flight", "Requests in flight."),
    "fetches_running": _Description("fetches_running", "Fetches from fibservers in progress."),
    "held_bytes": _Description("output_bytes", "Response bytes that clients have not read."),
    "cache_bytes": _Description("cache_bytes", "Bytes of numbers in the caches."),
    "server_up": _Description(
        "server_up", "Processes that have a fibserver marked up.", ("server",)
    ),
    "server_in_flight": _Description(
        "server_in_flight", "Requests to a fibserver in flight.", ("server",)
    ),
    "server_connections_in_use": _Description(
        "server_connections_in_use", "Connections to fibservers in use."
    ),
    "server_calls_waiting": _Description(
        "server_calls_waiting", "Requests waiting for a connection to a fibserver."
    ),
    "memory_bytes": _Description("process_memory_bytes", "Private memory of all processes."),
}


def metrics_text(gather: Callable[[], MetricValues]) -> bytes:
    """Return all metrics.

    Args:
        gather: Returns the values of all processes.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ValuesCollector(gather))
    return generate_latest(registry)


class _ValuesCollector(Collector):
    """Collector of all metrics of one fibweb."""

    def __init__(self, gather: Callable[[], MetricValues]) -> None:
        self._gather = gather

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        values = self._gather()
        yield InfoMetricFamily("fibweb_build", "The service.", {"version": __version__})
        yield from _families(CounterMetricFamily, _COUNTERS, values.counters)
        yield from _families(GaugeMetricFamily, _GAUGES, values.gauges)
        yield _durations(values.counters)


def _families(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    descriptions: Mapping[str, _Description],
    values: Samples,
) -> Iterator[Metric]:
    for key, (name, help, labels) in descriptions.items():
        family = kind(f"fibweb_{name}", help, labels=labels)
        for (value_key, *label_values), value in values.items():
            if value_key == key:
                family.add_metric(label_values, value)
        yield family


def _durations(counters: Samples) -> Metric:
    family = HistogramMetricFamily(
        "fibweb_request_duration_seconds",
        "Time from the arrival of a request to the last byte of its response.",
        labels=["handling"],
    )
    bounds = [f"{seconds:g}" for seconds in BUCKET_SECONDS] + ["+Inf"]
    for (name, *labels), seconds in counters.items():
        if name == "seconds":
            buckets = accumulate(buckets_of(counters, labels[0]))
            family.add_metric(labels, list(zip(bounds, buckets, strict=True)), seconds)
    return family
