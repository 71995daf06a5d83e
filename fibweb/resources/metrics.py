"""Metrics for Prometheus: what the figures of all processes are called there, and `/metrics`.

Nothing is counted here. `docs/metrics.md` lists the same names.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import NamedTuple

import falcon
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

from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import BUCKET_SECONDS

__all__ = ["MetricsResource", "buckets_of"]


class _Description(NamedTuple):
    """How a figure is told of: its name there, what it means, and what its labels are."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


_REQUEST_LABELS = ("route", "code", "format", "handling")

_COUNTERS = {
    "requests": _Description("requests", "Requests answered.", _REQUEST_LABELS),
    "bytes": _Description("body_bytes", "Bytes of bodies sent.", _REQUEST_LABELS),
    "cache_hits": _Description("cache_hits", "Answers with numbers that were in memory."),
    "cache_extensions": _Description("cache_extensions", "How often the cache grew."),
    "cache_misses": _Description(
        "cache_misses", "Answers with numbers that a fibserver was asked for."
    ),
    "retries": _Description("retries", "Requests to fibservers that were tried again."),
    "hedges": _Description(
        "hedges", "Requests sent to a second fibserver because the first did not answer soon."
    ),
    "server_requests": _Description(
        "server_requests", "Requests to a fibserver, by how they ended.", ("server", "outcome")
    ),
    "server_set_asides": _Description(
        "server_set_asides", "How often a fibserver was set aside.", ("server",)
    ),
    "server_connections_opened": _Description(
        "server_connections_opened", "Connections to fibservers that were opened."
    ),
    "rejections": _Description(
        "rejections", "Requests and connections refused for overload, by reason.", ("reason",)
    ),
    "fetches_cancelled": _Description(
        "fetches_cancelled", "Requests to fibservers given up because nobody waited any more."
    ),
    "connections_cut_off": _Description(
        "connections_cut_off", "Connections closed to make room, by reason.", ("reason",)
    ),
    "pieces_dropped": _Description(
        "pieces_dropped", "Pieces of answers taken from slow readers, to be fetched again."
    ),
    "cpu_seconds": _Description("process_cpu_seconds", "Processor time of all processes."),
}

_GAUGES = {
    "processes": _Description("processes", "Processes that serve."),
    "connections": _Description("connections", "Clients connected."),
    "queue_depth": _Description(
        "queue_depth", "Requests that wait for their turn to ask a fibserver."
    ),
    "in_flight": _Description("requests_in_flight", "Requests under way."),
    "fetches_running": _Description("fetches_running", "Requests to fibservers under way."),
    "held_bytes": _Description("output_bytes", "Bytes of answers that clients have not taken."),
    "cache_bytes": _Description("cache_bytes", "Bytes of numbers in the caches."),
    "server_up": _Description(
        "server_up", "How many processes send requests to a fibserver.", ("server",)
    ),
    "server_in_flight": _Description(
        "server_in_flight", "Requests to a fibserver under way.", ("server",)
    ),
    "server_connections_in_use": _Description(
        "server_connections_in_use", "Connections to fibservers lent to requests."
    ),
    "server_calls_waiting": _Description(
        "server_calls_waiting", "Requests that wait for a connection to a fibserver."
    ),
    "memory_bytes": _Description("process_memory_bytes", "Memory of all processes."),
}


class MetricsResource:
    """`/metrics`."""

    def __init__(self, gather: Callable[[], MetricValues]) -> None:
        """Describe the resource.

        Args:
            gather: returns the figures of all processes.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_FiguresCollector(gather))

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer all metrics."""
        response.content_type = CONTENT_TYPE_PLAIN_0_0_4
        response.cache_control = ["no-store"]
        response.data = generate_latest(self._registry)


class _FiguresCollector(Collector):
    """All metrics of one fibweb."""

    def __init__(self, gather: Callable[[], MetricValues]) -> None:
        self._gather = gather

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        figures = self._gather()
        yield InfoMetricFamily("fibweb_build", "The service.", {"version": version("fibservice")})
        yield from _families(CounterMetricFamily, _COUNTERS, figures.counters)
        yield from _families(GaugeMetricFamily, _GAUGES, figures.gauges)
        yield _durations(figures.counters)


def _families(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    descriptions: Mapping[str, _Description],
    values: Samples,
) -> Iterator[Metric]:
    for figure, (name, help, labels) in descriptions.items():
        family = kind(f"fibweb_{name}", help, labels=labels)
        for (its_name, *its_labels), value in values.items():
            if its_name == figure:
                family.add_metric(its_labels, value)
        yield family


def _durations(counters: Samples) -> Metric:
    family = HistogramMetricFamily(
        "fibweb_request_duration_seconds",
        "From the arrival of a request to the last byte of its answer.",
        labels=["handling"],
    )
    bounds = [f"{seconds:g}" for seconds in BUCKET_SECONDS] + ["+Inf"]
    for (name, *labels), seconds in counters.items():
        if name == "seconds":
            buckets = accumulate(buckets_of(counters, labels[0]))
            family.add_metric(labels, list(zip(bounds, buckets, strict=True)), seconds)
    return family


def buckets_of(counters: Samples, handling: str) -> list[float]:
    """Return how many requests of a handling each latency bucket has."""
    return [
        counters["latency", handling, str(number)] for number in range(len(BUCKET_SECONDS) + 1)
    ]
