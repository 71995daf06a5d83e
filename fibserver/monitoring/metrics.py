"""Prometheus metrics, built from the data of INFO at each scrape.

Nothing is counted here, so metrics cost a request nothing. `docs/metrics.md` lists the names.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fibcommon import __version__
from fibserver.core.client_limits import Eviction
from fibserver.core.statistics import BUCKETS
from fibserver.monitoring.server_info import (
    VALUES,
    ServerInfo,
    acceptor_memory_bytes,
    recent_usage,
    worker_memory_bytes,
)

__all__ = ["metrics_registry"]

_BOUNDS = [f"{(1 << number) / 1e6:g}" for number in range(BUCKETS - 1)] + ["+Inf"]
"""Upper bounds of the latency buckets, in seconds."""


def metrics_registry(get_info: Callable[[], ServerInfo]) -> CollectorRegistry:
    """Return a registry that calls `get_info` at each scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServerCollector(get_info))
    return registry


class _ServerCollector(Collector):
    """Collector of all metrics of one server."""

    def __init__(self, get_info: Callable[[], ServerInfo]) -> None:
        self._get_info = get_info
        # Read once: alerts count changes of it as restarts, and the clock may be adjusted.
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their current values."""
        info = self._get_info()
        yield InfoMetricFamily(
            "fibserver_build", "Version of the server.", {"version": __version__}
        )
        yield _gauge(
            "start_time_seconds", "Start time of the server, in Unix time.", self._started
        )
        for value in VALUES:
            family = _counter if value.kind == "counter" else _gauge
            yield family(value.metric, value.help, value.read(info))
        yield from _requests(info)
        yield from _evictions(info)
        yield from _memory(info)
        yield from _queue(info)
        yield from _snapshot(info)
        yield from _processes(info)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"fibserver_{name}", help, value=value)


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fibserver_{name}", help, value=value)


def _requests(info: ServerInfo) -> Iterator[Metric]:
    statistics = info.statistics
    commands = list(statistics.commands.values())
    requests = CounterMetricFamily(
        "fibserver_requests",
        "Requests answered, by command and code: OK, or the first word of the error.",
        labels=["command", "code"],
    )
    durations = HistogramMetricFamily(
        "fibserver_request_duration_seconds",
        "Time from a request's arrival to the first byte of its reply.",
        labels=["command"],
    )
    executions = HistogramMetricFamily(
        "fibserver_execution_duration_seconds",
        "Time from the start of a request's execution to the first byte of its reply.",
        labels=["command"],
    )
    for command in commands:
        requests.add_metric([command.name, "OK"], command.calls - command.failed_calls)
        for code, count in command.errors.items():
            requests.add_metric([command.name, code], count)
        durations.add_metric([command.name], _buckets(command.waits), command.waiting_seconds)
        executions.add_metric([command.name], _buckets(command.latencies), command.seconds)
    errors = CounterMetricFamily(
        "fibserver_error_replies",
        "Error replies by code, including those to malformed and unknown requests.",
        labels=["code"],
    )
    for code, count in statistics.errors.items():
        errors.add_metric([code], count)
    yield requests
    yield durations
    yield executions
    yield errors
    yield _counter(
        "slow_requests", "Requests whose execution took more than 10 ms.", info.slow_requests
    )


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, map(float, accumulate(counts)), strict=True))


def _evictions(info: ServerInfo) -> Iterator[Metric]:
    evicted = CounterMetricFamily(
        "fibserver_clients_evicted",
        "Clients disconnected to free resources for others, by reason.",
        labels=["reason"],
    )
    for reason in Eviction:
        evicted.add_metric([reason], info.statistics.evictions[reason])
    yield evicted


def _memory(info: ServerInfo) -> Iterator[Metric]:
    arrays = list(info.engine.arrays)
    resident = GaugeMetricFamily(
        "fibserver_resident_bytes", "Bytes of resident numbers.", labels=["format"]
    )
    elements = GaugeMetricFamily(
        "fibserver_resident_elements", "Resident numbers.", labels=["format"]
    )
    streamed = CounterMetricFamily(
        "fibserver_streamed_bytes",
        "Bytes sent from far blocks.",
        labels=["format"],
    )
    for array in arrays:
        resident.add_metric([array.format.name], array.growth.published_bytes)
        elements.add_metric([array.format.name], array.growth.published)
        streamed.add_metric([array.format.name], array.streamed_bytes)
    yield resident
    yield elements
    yield streamed


def _queue(info: ServerInfo) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "fibserver_queued_replies",
        "Slice replies that wait for a worker, by the predicted cost of their next block.",
        labels=["cost"],
    )
    queued.add_metric(["cheap"], info.engine.queue.cheap_sources)
    queued.add_metric(["expensive"], info.engine.queue.expensive_sources)
    yield queued
    yield _gauge(
        "queued_seconds",
        "Predicted time until the queued and current expensive blocks are computed.",
        info.engine.queued_seconds,
    )


def _snapshot(info: ServerInfo) -> Iterator[Metric]:
    persistence = info.engine.persistence
    if persistence is None:
        return
    if persistence.last_save is not None:
        yield _gauge(
            "snapshot_age_seconds",
            "Time since a block was last saved.",
            info.now - persistence.last_save,
        )
    blocks, size_bytes = persistence.size
    yield _gauge("snapshot_blocks", "Blocks in the snapshot.", blocks)
    yield _gauge("snapshot_bytes", "Size of the snapshot.", size_bytes)
    yield _gauge("snapshot_unsaved_blocks", "Blocks to save.", persistence.unsaved_blocks)
    yield _gauge(
        "snapshot_failing",
        "1 if the last attempt to save a block failed, else 0.",
        persistence.is_failing,
    )


def _processes(info: ServerInfo) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "fibserver_process_memory_bytes",
        "Proportional set size of the processes, without shared memory.",
        labels=["process"],
    )
    cpu = CounterMetricFamily(
        "fibserver_process_cpu_seconds",
        "CPU time of the live processes.",
        labels=["process"],
    )
    workers = info.engine.pool.workers
    memory.add_metric(["acceptor"], acceptor_memory_bytes(info.engine))
    memory.add_metric(["workers"], sum(map(worker_memory_bytes, workers)))
    cpu.add_metric(["acceptor"], recent_usage(os.getpid()).cpu_seconds)
    cpu.add_metric(["workers"], _total(recent_usage(worker.pid).cpu_seconds for worker in workers))
    yield memory
    yield cpu


def _total(values: Iterable[float]) -> float:
    return float(sum(values))
