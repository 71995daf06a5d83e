"""The text of INFO: facts and figures under Redis's section names, so that what reads Redis
reads this server."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from fibserver import __version__
from fibserver.commands.connection import REDIS_VERSION
from fibserver.settings import Settings
from fibserver.shared_arrays import SharedArrays
from fibserver.statistics import Statistics

__all__ = ["Facts", "render_information"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What INFO tells."""

    uptime_seconds: int
    port: int
    max_clients: int
    connected_clients: int
    waiting_clients: int
    worker_pids: list[int]
    busy_workers: int
    worker_deaths: int
    settings: Settings
    statistics: Statistics
    arrays: SharedArrays


def render_information(facts: Facts, sections: list[str]) -> str:
    """Return the sections asked for, by lower-case name; all if none, `all` or `default` is."""
    chosen = [name for name in _SECTIONS if name in sections]
    if not sections or {"all", "default", "everything"} & set(sections):
        chosen = list(_SECTIONS)
    return "\r\n".join(_section(name, _SECTIONS[name](facts)) for name in chosen)


def _section(name: str, fields: Mapping[str, object]) -> str:
    lines = [f"# {name.capitalize()}", *(f"{key}:{value}" for key, value in fields.items())]
    return "".join(line + "\r\n" for line in lines)


def _server(facts: Facts) -> Mapping[str, object]:
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "fibserver_version": __version__,
        "process_id": os.getpid(),
        "tcp_port": facts.port,
        "uptime_in_seconds": facts.uptime_seconds,
        "uptime_in_days": facts.uptime_seconds // 86400,
    }


def _clients(facts: Facts) -> Mapping[str, object]:
    return {
        "connected_clients": facts.connected_clients,
        "maxclients": facts.max_clients,
        "blocked_clients": facts.waiting_clients,
    }


def _memory(facts: Facts) -> Mapping[str, object]:
    resident = sum(array.growth.published_bytes for array in facts.arrays)
    used = psutil.Process().memory_info().rss
    return {
        "used_memory": used,
        "used_memory_human": f"{used / 2**20:.2f}M",
        "maxmemory": int(facts.settings.memory_limit),
        "resident_bytes": resident,
    }


def _persistence(facts: Facts) -> Mapping[str, object]:
    return {"loading": 0}


def _stats(facts: Facts) -> Mapping[str, object]:
    statistics = facts.statistics
    return {
        "total_connections_received": statistics.connections_received,
        "total_commands_processed": sum(each.calls for each in statistics.commands.values()),
        "total_net_input_bytes": statistics.bytes_received,
        "total_net_output_bytes": statistics.bytes_sent,
        "rejected_connections": statistics.connections_rejected,
        "total_error_replies": statistics.errors.total(),
        "blocks_filled": statistics.blocks_filled,
        "blocks_failed": statistics.blocks_failed,
    }


def _replication(facts: Facts) -> Mapping[str, object]:
    # Some clients look for a primary here before they send anything.
    return {"role": "master", "connected_slaves": 0}


def _workers(facts: Facts) -> Mapping[str, object]:
    return {
        "workers": len(facts.worker_pids),
        "workers_busy": facts.busy_workers,
        "worker_deaths": facts.worker_deaths,
        "worker_pids": ",".join(map(str, facts.worker_pids)),
    }


def _sequence(facts: Facts) -> Mapping[str, object]:
    return {
        f"{array.format.name}": (
            f"elements={array.growth.published},bytes={array.growth.published_bytes}"
        )
        for array in facts.arrays
    }


_SECTIONS: dict[str, Callable[[Facts], Mapping[str, object]]] = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "workers": _workers,
    "sequence": _sequence,
}
