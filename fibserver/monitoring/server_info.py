"""State of the server, as INFO and the metrics report it.

Numbers that both report are defined once, in `VALUES`, with the names that they have in each.
"""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fibcommon.service.process_usage import ProcessUsage, process_usage
from fibserver.core.statistics import Statistics
from fibserver.engine.engine import Engine
from fibserver.workers.pool import WorkerInfo

__all__ = [
    "VALUES",
    "ServerInfo",
    "Value",
    "acceptor_memory_bytes",
    "recent_usage",
    "worker_memory_bytes",
]

REMEMBERED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """State of the server, for INFO and the metrics.

    Attributes:
        now: Monotonic time in seconds.
        uptime_seconds: Time since the start.
        run_id: Random identifier of this run of the server.
        port: First TCP port, 0 if there is none.
        connected_clients: Number of connected clients.
        waiting_clients: Number of clients that wait for workers.
        max_clients: Maximum number of clients.
        output_bytes: Memory of replies that clients have not read yet.
        max_output_bytes: Limit of `output_bytes`.
        statistics: Counters since the start.
        slow_requests: Number of slow requests since the start.
        engine: Engine whose queue, memory and workers are reported.
    """

    now: float
    uptime_seconds: int
    run_id: str
    port: int
    connected_clients: int
    waiting_clients: int
    max_clients: int
    output_bytes: int
    max_output_bytes: int
    statistics: Statistics
    slow_requests: int
    engine: Engine


def recent_usage(pid: int) -> ProcessUsage:
    """Return memory and CPU time of a process, zeros if it has ended.

    Results are cached for up to half a second: reading them takes longer than the rest of INFO.
    """
    return _process_usage(pid, int(time.monotonic() / REMEMBERED_SECONDS))


@functools.lru_cache(maxsize=2048)
def _process_usage(pid: int, _period: int) -> ProcessUsage:
    return process_usage(pid)


def acceptor_memory_bytes(engine: Engine) -> int:
    """Return the proportional set size of this process, without shared memory."""
    memory_bytes = recent_usage(os.getpid()).memory_bytes
    return max(0, memory_bytes - engine.pool.acceptor_overcounted_bytes)


def worker_memory_bytes(worker: WorkerInfo) -> int:
    """Return the proportional set size of a worker, without shared memory."""
    return max(0, recent_usage(worker.pid).memory_bytes - worker.overcounted_bytes)


def _shared_memory_available_bytes() -> int:
    status = os.statvfs("/dev/shm")
    return status.f_bavail * status.f_frsize


class Value(NamedTuple):
    """A number that INFO and the metrics report.

    Attributes:
        section: Section of INFO.
        field: Name in INFO.
        kind: Kind of metric.
        metric: Name of the metric, without `fibserver_` and `_total`.
        help: Help text of the metric.
        read: Returns the number.
    """

    section: str
    field: str
    kind: Literal["counter", "gauge"]
    metric: str
    help: str
    read: Callable[[ServerInfo], int]


VALUES = (
    Value(
        *("clients", "connected_clients", "gauge", "connections"),
        "Connected clients.",
        lambda info: info.connected_clients,
    ),
    Value(
        *("clients", "maxclients", "gauge", "connections_max"),
        "Maximum number of connected clients.",
        lambda info: info.max_clients,
    ),
    Value(
        *("clients", "blocked_clients", "gauge", "connections_waiting"),
        "Clients whose reply waits for workers.",
        lambda info: info.waiting_clients,
    ),
    Value(
        *("clients", "client_output_bytes", "gauge", "output_bytes"),
        "Memory of replies that clients have not read yet.",
        lambda info: info.output_bytes,
    ),
    Value(
        *("clients", "max_client_output_bytes", "gauge", "output_limit_bytes"),
        "Limit of fibserver_output_bytes.",
        lambda info: info.max_output_bytes,
    ),
    Value(
        *("memory", "used_memory_shared", "gauge", "shared_memory_bytes"),
        "Shared memory used, including slots and indexes.",
        lambda info: info.engine.shared_bytes,
    ),
    Value(
        *("memory", "shared_memory_available", "gauge", "shared_memory_available_bytes"),
        "Free space in /dev/shm.",
        lambda info: _shared_memory_available_bytes(),
    ),
    Value(
        *("memory", "maxmemory", "gauge", "memory_limit_bytes"),
        "Limit of the memory of arrays and kept blocks together.",
        lambda info: info.engine.memory.limit_bytes,
    ),
    Value(
        *("memory", "slots_used", "gauge", "slots_used"),
        "Far blocks that replies use.",
        lambda info: info.engine.far_blocks.used_slots,
    ),
    Value(
        *("memory", "kept_blocks", "gauge", "kept_blocks"),
        "Far blocks kept for later requests.",
        lambda info: info.engine.far_blocks.kept_blocks,
    ),
    Value(
        *("memory", "kept_bytes", "gauge", "kept_bytes"),
        "Memory of the kept blocks.",
        lambda info: info.engine.far_blocks.used_bytes,
    ),
    Value(
        *("stats", "total_connections_received", "counter", "connections_received"),
        "Connections accepted.",
        lambda info: info.statistics.connections_received,
    ),
    Value(
        *("stats", "rejected_connections", "counter", "connections_rejected"),
        "Connections rejected because there were too many.",
        lambda info: info.statistics.connections_rejected,
    ),
    Value(
        *("stats", "total_net_input_bytes", "counter", "received_bytes"),
        "Bytes received from clients.",
        lambda info: info.statistics.bytes_received,
    ),
    Value(
        *("stats", "total_net_output_bytes", "counter", "sent_bytes"),
        "Bytes sent to clients.",
        lambda info: info.statistics.bytes_sent,
    ),
    Value(
        *("stats", "evicted_keys", "counter", "blocks_evicted"),
        "Blocks of arrays, and kept blocks that had been used again, evicted for others.",
        lambda info: info.engine.memory.evictions,
    ),
    Value(
        *("stats", "blocks_computed", "counter", "blocks_computed"),
        "Blocks computed.",
        lambda info: info.statistics.blocks_computed,
    ),
    Value(
        *("stats", "blocks_found_in_memory", "counter", "blocks_found_in_memory"),
        "Kept blocks that a reply used again.",
        lambda info: info.engine.far_blocks.found,
    ),
    Value(
        *("stats", "blocks_found_on_disk", "counter", "blocks_found_on_disk"),
        "Blocks loaded from the snapshot.",
        lambda info: info.statistics.blocks_loaded,
    ),
    Value(
        *("stats", "blocks_failed", "counter", "blocks_failed"),
        "Blocks that failed: no memory, or three workers died over them.",
        lambda info: info.statistics.blocks_failed,
    ),
    Value(
        *("stats", "blocks_retried", "counter", "blocks_retried"),
        "Tasks retried after a worker died.",
        lambda info: info.engine.pool.retried,
    ),
    Value(
        *("stats", "blocks_in_flight", "gauge", "blocks_in_flight"),
        "Tasks assigned to workers and not finished.",
        lambda info: info.engine.pool.assigned_tasks,
    ),
    Value(
        *("stats", "overload_rejections", "counter", "overload_rejections"),
        "Slice replies rejected with BUSY because they would have waited too long.",
        lambda info: info.engine.overload_rejections,
    ),
    Value(
        *("workers", "workers", "gauge", "workers"),
        "Live worker processes.",
        lambda info: len(info.engine.pool.workers),
    ),
    Value(
        *("workers", "workers_busy", "gauge", "workers_busy"),
        "Workers that have a task.",
        lambda info: sum(worker.is_busy for worker in info.engine.pool.workers),
    ),
    Value(
        *("workers", "worker_deaths", "counter", "worker_restarts"),
        "Worker processes that died.",
        lambda info: info.engine.pool.deaths,
    ),
)
