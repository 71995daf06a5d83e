"""Figures of a serving process: its requests, its client library, its use of the machine.

What only the HTTP server measures is added by whoever has one.
"""

import resource
from functools import reduce

import psutil

from fibclient import FibClient
from fibweb.stats.metric_values import MetricValues, Samples
from fibweb.stats.request_metrics import RequestMetrics
from fibweb.stats.shared_stats import SharedStats

__all__ = ["gather", "process_figures"]


def process_figures(
    counts: RequestMetrics, client: FibClient, process: psutil.Process
) -> MetricValues:
    """Return the figures of this process.

    Args:
        counts: the requests that it has answered.
        client: asks the fibservers.
        process: this one.
    """
    statistics = client.stats()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    memory = process.memory_info()
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
        ("memory_bytes",): memory.rss - memory.shared,
    }
    for each in statistics.endpoints:
        counters["server_requests", each.address, "succeeded"] = each.succeeded
        counters["server_requests", each.address, "failed"] = each.failed
        counters["server_set_asides", each.address] = each.set_asides
        gauges["server_up", each.address] = int(each.state == "up")
        gauges["server_in_flight", each.address] = each.in_flight
    return MetricValues(counters, gauges)


def gather(board: SharedStats) -> MetricValues:
    """Return the figures of all processes."""
    return reduce(MetricValues.plus, map(MetricValues.decode, board.read_all()))
