"""Text of INFO, under Redis's section and field names so that Redis tools can read it."""

import os
import time
from collections.abc import Callable, Mapping

from fibcommon import __version__
from fibcommon.quantiles import quantile
from fibserver.core.client_limits import Eviction
from fibserver.core.statistics import bucket_bounds
from fibserver.monitoring.server_info import (
    VALUES,
    ServerInfo,
    acceptor_memory_bytes,
    recent_usage,
    worker_memory_bytes,
)
from fibserver.protocol.redis_version import REDIS_VERSION

__all__ = ["format_info"]


def format_info(info: ServerInfo, sections: list[str]) -> str:
    """Return the text of INFO; unknown sections are ignored.

    Args:
        info: State of the server.
        sections: Section names in lower case. `all` and `everything` select every section;
            `default` or an empty list selects all but `commandstats`, `latencystats` and
            `waitingstats`.
    """
    wanted = set(sections) or {"default"}
    if wanted & {"all", "everything"}:
        wanted |= set(_SECTIONS)
    if "default" in wanted:
        wanted |= set(_SECTIONS) - _ON_DEMAND
    chosen = [name for name in _SECTIONS if name in wanted]
    return "\r\n".join(_section(name, info) for name in chosen)


def _section(name: str, info: ServerInfo) -> str:
    shared = {value.field: value.read(info) for value in VALUES if value.section == name}
    fields = {**shared, **_SECTIONS[name](info)}
    lines = [f"# {name.capitalize()}", *(f"{key}:{value}" for key, value in fields.items())]
    return "".join(line + "\r\n" for line in lines)


def _human(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.2f}M"


def _server(info: ServerInfo) -> Mapping[str, object]:
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "fibserver_version": __version__,
        "process_id": os.getpid(),
        "run_id": info.run_id,
        "tcp_port": info.port,
        "server_time_usec": time.time_ns() // 1000,
        "uptime_in_seconds": info.uptime_seconds,
        "uptime_in_days": info.uptime_seconds // 86400,
    }


def _memory(info: ServerInfo) -> Mapping[str, object]:
    engine = info.engine
    own = acceptor_memory_bytes(engine)
    workers = sum(map(worker_memory_bytes, engine.pool.workers))
    total = own + workers + engine.shared_bytes
    # Redis tools compare used_memory with maxmemory, which limits arrays and kept blocks.
    resident = sum(array.growth.published_bytes for array in engine.arrays)
    used = resident + engine.far_blocks.used_bytes
    return {
        "used_memory": used,
        "used_memory_human": _human(used),
        "used_memory_rss": total,
        "used_memory_rss_human": _human(total),
        "used_memory_acceptor": own,
        "used_memory_workers": workers,
        "maxmemory_human": _human(engine.memory.limit_bytes),
        "maxmemory_policy": "allkeys-lru",
        "resident_bytes": resident,
    }


def _persistence(info: ServerInfo) -> Mapping[str, object]:
    persistence = info.engine.persistence
    if persistence is None:
        return {"loading": 0, "async_loading": 0, "snapshot_enabled": 0}
    age = -1 if persistence.last_save is None else int(info.now - persistence.last_save)
    return {
        "loading": 0,  # blocks are loaded when they are requested
        "async_loading": 0,
        "snapshot_enabled": 1,
        "rdb_changes_since_last_save": persistence.unsaved_blocks,
        "rdb_bgsave_in_progress": int(persistence.is_saving),
        "rdb_last_save_time": 0 if age < 0 else int(time.time()) - age,
        "rdb_last_bgsave_status": "err" if persistence.is_failing else "ok",
        "snapshot_blocks": persistence.size.blocks,
        "snapshot_bytes": persistence.size.size_bytes,
        "snapshot_age_seconds": age,
    }


def _stats(info: ServerInfo) -> Mapping[str, object]:
    statistics, arrays = info.statistics, info.engine.arrays
    return {
        "total_commands_processed": statistics.calls,
        "instantaneous_ops_per_sec": round(statistics.rates.calls),
        "instantaneous_input_kbps": f"{statistics.rates.bytes_received / 1024:.2f}",
        "instantaneous_output_kbps": f"{statistics.rates.bytes_sent / 1024:.2f}",
        "evicted_clients": statistics.evictions.total(),
        **{f"evicted_clients_{reason}": statistics.evictions[reason] for reason in Eviction},
        "total_error_replies": statistics.errors.total(),
        "queued_cheap": info.engine.queue.cheap_sources,
        "queued_expensive": info.engine.queue.expensive_sources,
        "queued_seconds": f"{info.engine.queued_seconds:.3f}",
        "streamed_bytes": sum(array.streamed_bytes for array in arrays),
    }


def _replication(info: ServerInfo) -> Mapping[str, object]:
    # Some clients check here for a primary before they send commands.
    return {"role": "master", "connected_slaves": 0}


def _cpu(info: ServerInfo) -> Mapping[str, object]:
    own = recent_usage(os.getpid())
    workers = [recent_usage(worker.pid) for worker in info.engine.pool.workers]
    return {
        "used_cpu_sys": f"{own.cpu_system_seconds:.6f}",
        "used_cpu_user": f"{own.cpu_user_seconds:.6f}",
        "used_cpu_sys_children": f"{sum(worker.cpu_system_seconds for worker in workers):.6f}",
        "used_cpu_user_children": f"{sum(worker.cpu_user_seconds for worker in workers):.6f}",
    }


def _commandstats(info: ServerInfo) -> Mapping[str, object]:
    return {
        f"cmdstat_{command.name}": (
            f"calls={command.calls},usec={int(command.seconds * 1e6)},"
            f"usec_per_call={command.seconds * 1e6 / max(1, command.calls):.2f},"
            f"rejected_calls={command.rejected_calls},failed_calls={command.failed_calls}"
        )
        for command in info.statistics.commands.values()
    }


def _errorstats(info: ServerInfo) -> Mapping[str, object]:
    errors = info.statistics.errors
    return {f"errorstat_{code}": f"count={count}" for code, count in sorted(errors.items())}


def _latencystats(info: ServerInfo) -> Mapping[str, object]:
    return {
        f"latency_percentiles_usec_{command.name}": _percentiles(command.latencies)
        for command in info.statistics.commands.values()
        if command.calls
    }


def _waitingstats(info: ServerInfo) -> Mapping[str, object]:
    # Redis has no such section; its tools expect only execution times in `latencystats`.
    return {
        f"waiting_percentiles_usec_{command.name}": _percentiles(command.waits)
        for command in info.statistics.commands.values()
        if command.calls
    }


def _percentiles(buckets: list[int]) -> str:
    shares = (0.5, 0.99, 0.999)
    values = (quantile(bucket_bounds(buckets), share) for share in shares)
    return ",".join(
        f"p{share * 100:g}={value:.3f}" for share, value in zip(shares, values, strict=True)
    )


def _workers(info: ServerInfo) -> Mapping[str, object]:
    workers = info.engine.pool.workers
    fields: dict[str, object] = {
        "worker_pids": ",".join(str(worker.pid) for worker in workers),
    }
    for number, worker in enumerate(workers):
        process = recent_usage(worker.pid)
        fields[f"worker{number}"] = (
            f"pid={worker.pid},busy={int(worker.is_busy)},tasks={worker.tasks_done},"
            f"memory={worker_memory_bytes(worker)},cpu_user={process.cpu_user_seconds:.2f},"
            f"cpu_sys={process.cpu_system_seconds:.2f}"
        )
    return fields


def _sequence(info: ServerInfo) -> Mapping[str, object]:
    return {
        f"{array.format.name}": (
            f"elements={array.growth.published},bytes={array.growth.published_bytes},"
            f"streamed_bytes={array.streamed_bytes}"
        )
        for array in info.engine.arrays
    }


_SECTIONS: dict[str, Callable[[ServerInfo], Mapping[str, object]]] = {
    "server": _server,
    "clients": lambda info: {},
    "memory": _memory,
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "cpu": _cpu,
    "commandstats": _commandstats,
    "errorstats": _errorstats,
    "latencystats": _latencystats,
    "waitingstats": _waitingstats,
    "workers": _workers,
    "sequence": _sequence,
}

_ON_DEMAND = {"commandstats", "latencystats", "waitingstats"}
"""Sections not shown by default; Redis omits `commandstats` and `latencystats` as well."""
