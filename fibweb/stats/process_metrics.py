"""Metric values of a serving process: requests, client library, CPU time and memory.

The HTTP server of fibweb adds its own values elsewhere.
"""

import os
import resource
from functools import reduce

from fibclient import FibClient
from fibcommon.service.process_usage import unshared_bytes
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import RequestMetrics
from fibweb.stats.shared_stats import SharedStats

__all__ = ["gather", "process_values"]


def process_values(counts: RequestMetrics, client: FibClient) -> MetricValues:
    """Return the values of this process.

    Args:
        counts: Metrics of its requests.
        client: Client for the fibservers.
    """
    statistics = client.stats()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counters: Samples = counts.counters() | {
        ("cache_extensions",): statistics.cache.extensions,
        ("retries",): statistics.retries,
        ("hedges",): statistics.hedges,
        ("server_connections_opened",): statistics.connections_opened,
        ("cpu_seconds",): usage.ru_utime + usage.ru_stime,
    }
    gauges: Samples = {
        ("processes",): 1,
        ("cache_bytes",): statistics.cache.size_bytes,
        ("server_connections_in_use",): statistics.in_use,
        ("server_calls_waiting",): statistics.waiting,
        ("memory_bytes",): unshared_bytes(os.getpid()),
    }
    for endpoint in statistics.endpoints:
        address = endpoint.address
        counters["server_requests", address, "succeeded"] = endpoint.succeeded
        counters["server_requests", address, "failed"] = endpoint.failed
        counters["server_times_down", address] = endpoint.times_down
        gauges["server_up", address] = int(endpoint.state == "up")
        gauges["server_in_flight", address] = endpoint.in_flight
    return MetricValues(counters, gauges)


def gather(stats: SharedStats) -> MetricValues:
    """Return the summed values of all processes."""
    return reduce(MetricValues.plus, map(MetricValues.decode, stats.read_all()))
