"""Figures of a serving process: its requests, its client library, its use of the machine.

What only the HTTP server measures is added by whoever has one.
"""

import resource
from functools import reduce

import psutil

from fibclient import FibClient
from fibweb.stats.metric_values import Figures, Values
from fibweb.stats.request_metrics import Counts
from fibweb.stats.shared_stats import NoticeBoard

__all__ = ["gather", "process_figures"]


def process_figures(counts: Counts, client: FibClient, process: psutil.Process) -> Figures:
    """Return the figures of this process.

    Args:
        counts: the requests that it has answered.
        client: asks the fibservers.
        process: this one.
    """
    statistics = client.stats()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    memory = process.memory_info()
    counters: Values = counts.counters() | {
        ("cache_extensions",): statistics.cache.extensions,
        ("retries",): statistics.retries,
        ("hedges",): statistics.hedges,
        ("server_connections_opened",): statistics.connections_opened,
        ("cpu_seconds",): usage.ru_utime + usage.ru_stime,
    }
    gauges: Values = {
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
    return Figures(counters, gauges)


def gather(board: NoticeBoard) -> Figures:
    """Return the figures of all processes."""
    return reduce(Figures.plus, map(Figures.decode, board.read_all()))
