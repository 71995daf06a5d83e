"""Metrics for Prometheus: their names, units and meaning, and their values when they are asked
for.

Nothing is counted here: all comes from what the server keeps for INFO, so a request pays nothing
for metrics. `docs/metrics.md` lists the same names.
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

from fibserver import __version__
from fibserver.core.overload import Eviction
from fibserver.core.statistics import BUCKETS
from fibserver.monitoring.info import (
    ServerInfo,
    acceptor_memory_bytes,
    process_facts,
    shared_memory_available_bytes,
    worker_memory_bytes,
)

__all__ = ["metrics_registry"]

_BOUNDS = [f"{(1 << number) / 1e6:g}" for number in range(BUCKETS - 1)] + ["+Inf"]
"""The upper bounds of the latency buckets, in seconds."""


def metrics_registry(facts: Callable[[], ServerInfo]) -> CollectorRegistry:
    """Return a registry whose metrics come from the facts of the moment."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServerCollector(facts))
    return registry


class _ServerCollector(Collector):
    """All metrics of one server."""

    def __init__(self, facts: Callable[[], ServerInfo]) -> None:
        self._facts = facts
        # Taken once: whoever counts its changes counts restarts, not steps of the clock.
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        facts = self._facts()
        yield InfoMetricFamily("fibserver_build", "The server.", {"version": __version__})
        yield _gauge(
            "start_time_seconds", "When the server was started, in Unix time.", self._started
        )
        yield from _requests(facts)
        yield from _clients(facts)
        yield from _memory(facts)
        yield from _work(facts)
        yield from _snapshot(facts)
        yield from _processes(facts)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"fibserver_{name}", help, value=value)


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fibserver_{name}", help, value=value)


def _requests(facts: ServerInfo) -> Iterator[Metric]:
    statistics = facts.statistics
    commands = list(statistics.commands.values())
    requests = CounterMetricFamily(
        "fibserver_requests",
        "Requests answered, by command and by code: OK, or the first word of the error.",
        labels=["command", "code"],
    )
    durations = HistogramMetricFamily(
        "fibserver_request_duration_seconds",
        "What clients waited: from a request's arrival to the first byte of its reply.",
        labels=["command"],
    )
    executions = HistogramMetricFamily(
        "fibserver_execution_duration_seconds",
        "From the start of a request's execution to the first byte of its reply.",
        labels=["command"],
    )
    for each in commands:
        requests.add_metric([each.name, "OK"], each.calls - each.failed_calls)
        for code, count in each.errors.items():
            requests.add_metric([each.name, code], count)
        durations.add_metric([each.name], _buckets(each.waits), each.waiting_seconds)
        executions.add_metric([each.name], _buckets(each.latencies), each.seconds)
    errors = CounterMetricFamily(
        "fibserver_error_replies",
        "Error replies by code, those to malformed and unknown requests included.",
        labels=["code"],
    )
    for code, count in statistics.errors.items():
        errors.add_metric([code], count)
    yield requests
    yield durations
    yield executions
    yield errors
    yield _counter("received_bytes", "Bytes received from clients.", statistics.bytes_received)
    yield _counter("sent_bytes", "Bytes sent to clients.", statistics.bytes_sent)
    yield _counter(
        "slow_requests", "Requests whose execution took more than 10 ms.", facts.slow_requests
    )


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, map(float, accumulate(counts)), strict=True))


def _clients(facts: ServerInfo) -> Iterator[Metric]:
    statistics = facts.statistics
    yield _gauge("connections", "Clients connected.", facts.connected_clients)
    yield _gauge("connections_max", "Clients that may be connected.", facts.max_clients)
    yield _gauge("connections_waiting", "Clients that wait for workers.", facts.waiting_clients)
    yield _counter(
        "connections_received", "Connections accepted.", statistics.connections_received
    )
    yield _counter(
        "connections_rejected",
        "Connections refused because there were too many.",
        statistics.connections_rejected,
    )
    evicted = CounterMetricFamily(
        "fibserver_clients_evicted",
        "Clients disconnected for the sake of others, by reason.",
        labels=["reason"],
    )
    for why in Eviction:
        evicted.add_metric([why], statistics.evictions[why])
    yield evicted
    yield _gauge(
        "output_bytes", "Memory of replies that wait for clients to read.", facts.output_bytes
    )
    yield _gauge("output_limit_bytes", "What they may take.", facts.max_output_bytes)


def _memory(facts: ServerInfo) -> Iterator[Metric]:
    arrays = list(facts.engine.arrays)
    resident = GaugeMetricFamily(
        "fibserver_resident_bytes", "Bytes of numbers kept in memory.", labels=["format"]
    )
    elements = GaugeMetricFamily(
        "fibserver_resident_elements", "Numbers kept in memory.", labels=["format"]
    )
    streamed = CounterMetricFamily(
        "fibserver_streamed_bytes",
        "Bytes sent that were computed for one answer and not kept.",
        labels=["format"],
    )
    for array in arrays:
        resident.add_metric([array.format.name], array.growth.published_bytes)
        elements.add_metric([array.format.name], array.growth.published)
        streamed.add_metric([array.format.name], array.streamed_bytes)
    yield resident
    yield elements
    yield streamed
    yield _gauge(
        "memory_limit_bytes",
        "What the numbers kept in memory may take.",
        facts.engine.memory_limit,
    )
    yield _gauge(
        "shared_memory_bytes", "Shared memory taken, all told.", facts.engine.shared_bytes
    )
    yield _gauge(
        "shared_memory_available_bytes", "Room left in /dev/shm.", shared_memory_available_bytes()
    )


def _work(facts: ServerInfo) -> Iterator[Metric]:
    statistics, pool = facts.statistics, facts.engine.pool
    queued = GaugeMetricFamily(
        "fibserver_queued_answers",
        "Answers that wait for a worker, by the predicted cost of their next block.",
        labels=["cost"],
    )
    queued.add_metric(["cheap"], facts.engine.queue.cheap_sources)
    queued.add_metric(["dear"], facts.engine.queue.dear_sources)
    yield queued
    yield _gauge(
        "queued_seconds",
        "Predicted time of the workers for the dear blocks that wait or are being computed.",
        facts.engine.queued_seconds,
    )
    yield _counter(
        "answers_rejected",
        "Answers rejected with BUSY because they would have waited too long.",
        facts.engine.answers_rejected,
    )
    yield _counter("blocks_filled", "Blocks computed or loaded.", statistics.blocks_filled)
    yield _counter("blocks_failed", "Blocks given up.", statistics.blocks_failed)
    yield _counter("blocks_retried", "Blocks done again after a worker died.", pool.retried)
    yield _counter(
        "blocks_dropped", "Blocks that left memory for others.", statistics.blocks_dropped
    )
    yield _gauge("blocks_in_flight", "Blocks that workers have in hand.", pool.tasks_in_hand)
    yield _gauge("slots_used", "Short-lived blocks in memory.", facts.engine.scratch.used_slots)
    yield _gauge("workers", "Worker processes alive.", len(pool.workers))
    yield _gauge(
        "workers_busy", "Workers that do something.", sum(each.is_busy for each in pool.workers)
    )
    yield _counter("worker_restarts", "Workers that died and were replaced.", pool.deaths)


def _snapshot(facts: ServerInfo) -> Iterator[Metric]:
    persistence = facts.engine.persistence
    if persistence is None:
        return
    if persistence.last_save is not None:
        yield _gauge(
            "snapshot_age_seconds",
            "Since a block was last saved.",
            facts.now - persistence.last_save,
        )
    yield _gauge("snapshot_blocks", "Blocks in the snapshot.", persistence.saved_blocks)
    yield _gauge(
        "snapshot_unsaved_blocks", "Blocks still to be saved.", persistence.unsaved_blocks
    )
    yield _gauge("snapshot_failing", "1 if the last try to save failed.", persistence.is_failing)


def _processes(facts: ServerInfo) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "fibserver_process_memory_bytes",
        "Memory of the processes by proportional set size, shared memory aside.",
        labels=["process"],
    )
    cpu = CounterMetricFamily(
        "fibserver_process_cpu_seconds",
        "Processor time of the processes that there are.",
        labels=["process"],
    )
    workers = facts.engine.pool.workers
    memory.add_metric(["acceptor"], acceptor_memory_bytes(facts.engine))
    memory.add_metric(["workers"], sum(map(worker_memory_bytes, workers)))
    cpu.add_metric(["acceptor"], process_facts(os.getpid()).cpu_seconds)
    cpu.add_metric(["workers"], _total(process_facts(each.pid).cpu_seconds for each in workers))
    yield memory
    yield cpu


def _total(values: Iterable[float]) -> float:
    return float(sum(values))
