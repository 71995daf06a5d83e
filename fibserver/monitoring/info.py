"""The text of INFO: facts and figures under Redis's section names, so that what reads Redis
reads this server."""

import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from fibserver import __version__
from fibserver.core.overload import Eviction
from fibserver.core.statistics import Statistics, quantile
from fibserver.engine.engine import Engine
from fibserver.protocol.redis_version import REDIS_VERSION
from fibserver.workers.pool import WorkerInfo

__all__ = [
    "ServerInfo",
    "acceptor_memory_bytes",
    "format_info",
    "process_facts",
    "shared_memory_available_bytes",
    "worker_memory_bytes",
]


REMEMBERED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What INFO and the metrics tell.

    Attributes:
        now: monotonic, in seconds.
        uptime_seconds: since the start.
        run_id: of this run of the server, as no other has it.
        port: the first TCP port, 0 if there is none.
        connected_clients: how many there are.
        waiting_clients: how many of them wait for workers.
        max_clients: how many there may be.
        output_bytes: what replies take of memory that wait for clients to read.
        max_output_bytes: what they may take.
        statistics: what has happened so far.
        slow_requests: how many there have been.
        engine: what there is to answer with.
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


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What a process has taken of the machine.

    Attributes:
        memory_bytes: resident, shared memory aside; a page that several processes share after a
            fork counts for each of them.
        cpu_user_seconds: in user mode.
        cpu_system_seconds: in the kernel.
    """

    memory_bytes: int
    cpu_user_seconds: float
    cpu_system_seconds: float

    @property
    def cpu_seconds(self) -> float:
        """All in all."""
        return self.cpu_user_seconds + self.cpu_system_seconds


@functools.lru_cache(maxsize=2048)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def process_facts(pid: int) -> ProcessFacts:
    """Return what a process has taken lately; zeros if it has just ended.

    The figures are remembered for a moment: to read them takes the kernel longer than the rest
    of INFO takes us.
    """
    return _process_facts(pid, int(time.monotonic() / REMEMBERED_SECONDS))


@functools.lru_cache(maxsize=2048)
def _process_facts(pid: int, _moment: int) -> ProcessFacts:
    try:
        process = _process(pid)
        with process.oneshot():
            memory, cpu = process.memory_info(), process.cpu_times()
    except psutil.NoSuchProcess:
        return ProcessFacts(0, 0.0, 0.0)
    return ProcessFacts(memory.rss - memory.shared, cpu.user, cpu.system)


def acceptor_memory_bytes(engine: Engine) -> int:
    """Return the proportional memory of this process, shared memory aside."""
    counted = process_facts(os.getpid()).memory_bytes
    return max(0, counted - engine.pool.acceptor_overcounted_bytes)


def worker_memory_bytes(worker: WorkerInfo) -> int:
    """Return the proportional memory of a worker, shared memory aside."""
    return max(0, process_facts(worker.pid).memory_bytes - worker.overcounted_bytes)


def shared_memory_available_bytes() -> int:
    """Return what is left in /dev/shm, for whoever takes it."""
    room = os.statvfs("/dev/shm")
    return room.f_bavail * room.f_frsize


def format_info(facts: ServerInfo, sections: list[str]) -> str:
    """Return some sections.

    Args:
        facts: what there is to tell.
        sections: their names in lower case; `all` and `everything` stand for all, `default` or
            none at all for those that Redis shows by default.
    """
    wanted = set(sections) or {"default"}
    if wanted & {"all", "everything"}:
        wanted |= set(_SECTIONS)
    if "default" in wanted:
        wanted |= set(_SECTIONS) - _ON_DEMAND
    chosen = [name for name in _SECTIONS if name in wanted]
    return "\r\n".join(_section(name, _SECTIONS[name](facts)) for name in chosen)


def _section(name: str, fields: Mapping[str, object]) -> str:
    lines = [f"# {name.capitalize()}", *(f"{key}:{value}" for key, value in fields.items())]
    return "".join(line + "\r\n" for line in lines)


def _human(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.2f}M"


def _server(facts: ServerInfo) -> Mapping[str, object]:
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "fibserver_version": __version__,
        "process_id": os.getpid(),
        "run_id": facts.run_id,
        "tcp_port": facts.port,
        "server_time_usec": time.time_ns() // 1000,
        "uptime_in_seconds": facts.uptime_seconds,
        "uptime_in_days": facts.uptime_seconds // 86400,
    }


def _clients(facts: ServerInfo) -> Mapping[str, object]:
    return {
        "connected_clients": facts.connected_clients,
        "maxclients": facts.max_clients,
        "blocked_clients": facts.waiting_clients,
        "client_output_bytes": facts.output_bytes,
        "max_client_output_bytes": facts.max_output_bytes,
    }


def _memory(facts: ServerInfo) -> Mapping[str, object]:
    engine = facts.engine
    own = acceptor_memory_bytes(engine)
    workers = sum(map(worker_memory_bytes, engine.pool.workers))
    shared = engine.shared_bytes
    resident = own + workers + shared
    # What maxmemory bounds: tools for Redis compare the two.
    used = sum(array.growth.published_bytes for array in engine.arrays)
    return {
        "used_memory": used,
        "used_memory_human": _human(used),
        "used_memory_rss": resident,
        "used_memory_rss_human": _human(resident),
        "used_memory_acceptor": own,
        "used_memory_workers": workers,
        "used_memory_shared": shared,
        "shared_memory_available": shared_memory_available_bytes(),
        "maxmemory": engine.memory_limit,
        "maxmemory_human": _human(engine.memory_limit),
        "maxmemory_policy": "allkeys-lru",
        "resident_bytes": used,
        "slots_used": engine.scratch.used_slots,
    }


def _persistence(facts: ServerInfo) -> Mapping[str, object]:
    persistence = facts.engine.persistence
    if persistence is None:
        return {"loading": 0, "async_loading": 0, "snapshot_enabled": 0}
    age = -1 if persistence.last_save is None else int(facts.now - persistence.last_save)
    return {
        "loading": 0,  # requests are answered meanwhile
        "async_loading": int(persistence.is_loading),
        "snapshot_enabled": 1,
        "rdb_changes_since_last_save": persistence.unsaved_blocks,
        "rdb_bgsave_in_progress": int(persistence.is_saving),
        "rdb_last_save_time": 0 if age < 0 else int(time.time()) - age,
        "rdb_last_bgsave_status": "err" if persistence.is_failing else "ok",
        "snapshot_blocks": persistence.saved_blocks,
        "snapshot_age_seconds": age,
    }


def _stats(facts: ServerInfo) -> Mapping[str, object]:
    statistics, arrays = facts.statistics, facts.engine.arrays
    return {
        "total_connections_received": statistics.connections_received,
        "total_commands_processed": statistics.calls,
        "instantaneous_ops_per_sec": round(statistics.rates.calls),
        "total_net_input_bytes": statistics.bytes_received,
        "total_net_output_bytes": statistics.bytes_sent,
        "instantaneous_input_kbps": f"{statistics.rates.bytes_received / 1024:.2f}",
        "instantaneous_output_kbps": f"{statistics.rates.bytes_sent / 1024:.2f}",
        "rejected_connections": statistics.connections_rejected,
        "evicted_clients": statistics.evictions.total(),
        **{f"evicted_clients_{why}": statistics.evictions[why] for why in Eviction},
        "evicted_keys": statistics.blocks_dropped,
        "total_error_replies": statistics.errors.total(),
        "blocks_filled": statistics.blocks_filled,
        "blocks_failed": statistics.blocks_failed,
        "blocks_retried": facts.engine.pool.retried,
        "blocks_in_flight": facts.engine.pool.tasks_in_hand,
        "queued_cheap": facts.engine.queue.cheap_sources,
        "queued_dear": facts.engine.queue.dear_sources,
        "queued_seconds": f"{facts.engine.queued_seconds:.3f}",
        "rejected_answers": facts.engine.answers_rejected,
        "streamed_bytes": sum(array.streamed_bytes for array in arrays),
    }


def _replication(facts: ServerInfo) -> Mapping[str, object]:
    # Some clients look for a primary here before they send anything.
    return {"role": "master", "connected_slaves": 0}


def _cpu(facts: ServerInfo) -> Mapping[str, object]:
    own = process_facts(os.getpid())
    workers = [process_facts(worker.pid) for worker in facts.engine.pool.workers]
    return {
        "used_cpu_sys": f"{own.cpu_system_seconds:.6f}",
        "used_cpu_user": f"{own.cpu_user_seconds:.6f}",
        "used_cpu_sys_children": f"{sum(each.cpu_system_seconds for each in workers):.6f}",
        "used_cpu_user_children": f"{sum(each.cpu_user_seconds for each in workers):.6f}",
    }


def _commandstats(facts: ServerInfo) -> Mapping[str, object]:
    return {
        f"cmdstat_{each.name}": (
            f"calls={each.calls},usec={int(each.seconds * 1e6)},"
            f"usec_per_call={each.seconds * 1e6 / max(1, each.calls):.2f},"
            f"rejected_calls={each.rejected_calls},failed_calls={each.failed_calls}"
        )
        for each in facts.statistics.commands.values()
    }


def _errorstats(facts: ServerInfo) -> Mapping[str, object]:
    errors = facts.statistics.errors
    return {f"errorstat_{code}": f"count={count}" for code, count in sorted(errors.items())}


def _latencystats(facts: ServerInfo) -> Mapping[str, object]:
    return {
        f"latency_percentiles_usec_{each.name}": _percentiles(each.latencies)
        for each in facts.statistics.commands.values()
        if each.calls
    }


def _waitingstats(facts: ServerInfo) -> Mapping[str, object]:
    # A section of our own: tools for Redis find only execution times in `latencystats`.
    return {
        f"waiting_percentiles_usec_{each.name}": _percentiles(each.waits)
        for each in facts.statistics.commands.values()
        if each.calls
    }


def _percentiles(buckets: list[int]) -> str:
    shares = (0.5, 0.99, 0.999)
    return ",".join(f"p{share * 100:g}={quantile(buckets, share):.3f}" for share in shares)


def _workers(facts: ServerInfo) -> Mapping[str, object]:
    workers = facts.engine.pool.workers
    fields: dict[str, object] = {
        "workers": len(workers),
        "workers_busy": sum(worker.is_busy for worker in workers),
        "worker_deaths": facts.engine.pool.deaths,
        "worker_pids": ",".join(str(worker.pid) for worker in workers),
    }
    for number, worker in enumerate(workers):
        process = process_facts(worker.pid)
        fields[f"worker{number}"] = (
            f"pid={worker.pid},busy={int(worker.is_busy)},tasks={worker.tasks_done},"
            f"memory={worker_memory_bytes(worker)},cpu_user={process.cpu_user_seconds:.2f},"
            f"cpu_sys={process.cpu_system_seconds:.2f}"
        )
    return fields


def _sequence(facts: ServerInfo) -> Mapping[str, object]:
    return {
        f"{array.format.name}": (
            f"elements={array.growth.published},bytes={array.growth.published_bytes},"
            f"streamed_bytes={array.streamed_bytes}"
        )
        for array in facts.engine.arrays
    }


_SECTIONS: dict[str, Callable[[ServerInfo], Mapping[str, object]]] = {
    "server": _server,
    "clients": _clients,
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
"""The sections that are shown only when they are asked for, as Redis does."""
