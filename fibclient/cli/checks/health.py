"""Findings about the health of a server, from its INFO.

Fields that a server of another version does not report are not checked.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fibclient.cli.checks.findings import PROCESS_STATE, Finding, Level
from fibclient.cli.measuring.server_sample import InfoFields
from fibclient.cli.render.units import duration_text, size_text

__all__ = ["Sample", "check_health", "check_samples"]

LITTLE_ROOM_BYTES = 16 * 1024 * 1024
"""Four blocks of 4 MiB: with less, the next requests may fail."""

MANY_CLIENTS_SHARE = 0.8
MANY_BUSY_SHARE = 0.01


def check_health(info: InfoFields) -> list[Finding]:
    """Check a server's workers, memory, clients, errors and snapshot.

    Args:
        info: The fields of INFO ALL, and the setting memory_limit: INFO reports only the
            effective limit, which may be lower.
    """
    return [
        finding
        for needed, check in _CHECKS
        if all(name in info for name in needed)
        for finding in check(info)
    ]


def _workers(info: InfoFields) -> Iterator[Finding]:
    workers, busy = info.whole("workers"), info.whole("workers_busy")
    waiting, deaths = info.whole("blocked_clients"), info.whole("worker_deaths")
    if not workers:
        yield Finding(
            "workers",
            Level.PROBLEM,
            "no worker is alive",
            "see the server's log for why they exit (`journalctl -u fibserver`), and restart it",
        )
        return
    text = f"{workers} alive, {busy} busy"
    wait = "1 client waits" if waiting == 1 else f"{waiting:,} clients wait"
    if busy == workers and waiting:
        yield Finding(
            "workers",
            Level.WARNING,
            f"{text}, and {wait} for a worker",
            "if that lasts (`fibclient top`), give the server more cores and `workers`, or raise "
            "memory_limit, so that fewer blocks are computed again",
        )
    elif not deaths:
        yield Finding("workers", Level.OK, text)
    if deaths:
        yield Finding(
            "workers",
            Level.WARNING,
            f"{text}; {deaths:,} died in {duration_text(info.whole('uptime_in_seconds'))}",
            "see the server's log and the kernel's (`dmesg | grep -i oom`) for the cause",
        )


def _memory(info: InfoFields) -> Iterator[Finding]:
    used, limit = info.whole("used_memory"), info.whole("maxmemory")
    text = (
        f"numbers use {size_text(used)} of memory_limit, {size_text(limit)}; "
        f"the server uses {size_text(info.whole('used_memory_rss'))} in total"
    )
    evicted, filled = info.whole("evicted_keys"), info.whole("blocks_computed")
    if evicted * 2 > filled:
        yield Finding(
            "memory",
            Level.WARNING,
            f"{text}; {evicted:,} of {filled:,} computed blocks were evicted",
            "raise memory_limit if the machine has the memory, or request fewer formats",
        )
    else:
        yield Finding("memory", Level.OK, text)


def _shared_memory(info: InfoFields) -> Iterator[Finding]:
    available, limit = info.whole("shared_memory_available"), info.whole("maxmemory")
    growth = max(0, limit - info.whole("used_memory"))
    configured = info.whole("memory_limit", limit)
    text = f"{size_text(available)} left"
    enlarge = "enlarge it (`mount -o remount,size=SIZE /dev/shm`; in a container: --shm-size)"
    if available < LITTLE_ROOM_BYTES:
        yield Finding(
            "/dev/shm",
            Level.PROBLEM,
            f"{text}, which may be too little for the next request",
            f"{enlarge}, free some of it, or lower memory_limit",
        )
    elif available < growth:
        yield Finding(
            "/dev/shm",
            Level.WARNING,
            f"{text}, but numbers may need {size_text(growth)} more",
            f"{enlarge}, free some of it, or lower memory_limit",
        )
    elif limit < configured:
        yield Finding(
            "/dev/shm",
            Level.WARNING,
            f"{text}; at the start it was too small for memory_limit, {size_text(configured)}, so "
            f"the effective limit is {size_text(limit)}",
            f"{enlarge} and restart the server, or lower memory_limit",
        )
    else:
        yield Finding("/dev/shm", Level.OK, text)


def _clients(info: InfoFields) -> Iterator[Finding]:
    connected, limit = info.whole("connected_clients"), info.whole("maxclients")
    rejected = info.whole("rejected_connections")
    text = f"{connected:,} of at most {limit:,}"
    if not rejected and connected < MANY_CLIENTS_SHARE * limit:
        yield Finding("clients", Level.OK, text)
        return
    if rejected:
        text += f"; {rejected:,} were rejected"
    yield Finding(
        "clients",
        Level.WARNING,
        text,
        "raise max_clients, or find out who they are (`redis-cli CLIENT LIST`)",
    )


def _errors(info: InfoFields) -> Iterator[Finding]:
    commands = max(1, info.whole("total_commands_processed"))
    busy, no_space = (_errors_of(info, code) for code in ("BUSY", "NOSPACE"))
    if no_space:
        yield Finding(
            "errors",
            Level.WARNING,
            f"{no_space:,} of {commands:,} requests failed for lack of shared memory (NOSPACE)",
            "enlarge /dev/shm, or lower memory_limit",
        )
    if busy > MANY_BUSY_SHARE * commands:
        yield Finding(
            "errors",
            Level.WARNING,
            f"{busy:,} of {commands:,} requests were rejected (BUSY)",
            "give the server more cores and `workers`, or spread the load over more servers",
        )
    elif not no_space:
        yield Finding(
            "errors", Level.OK, f"{busy:,} of {commands:,} requests were rejected (BUSY)"
        )


def _errors_of(info: InfoFields, code: str) -> int:
    return InfoFields(count=info.get(f"errorstat_{code}", "").removeprefix("count=")).whole(
        "count"
    )


def _snapshot(info: InfoFields) -> Iterator[Finding]:
    if not info.whole("snapshot_enabled"):
        yield Finding("snapshot", Level.OK, "disabled: state_dir is not set")
        return
    blocks = f"{info.whole('snapshot_blocks'):,} blocks saved"
    if info.get("rdb_last_bgsave_status") == "err":
        yield Finding(
            "snapshot",
            Level.PROBLEM,
            f"the last save failed; {blocks} before",
            "see the server's log; check space and permissions of state_dir (`df`, `ls -ld`)",
        )
        return
    yield Finding("snapshot", Level.OK, f"{blocks}, {size_text(info.whole('snapshot_bytes'))}")


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[InfoFields], Iterator[Finding]]], ...] = (
    (("workers", "workers_busy", "worker_deaths"), _workers),
    (("used_memory", "maxmemory", "used_memory_rss"), _memory),
    (("shared_memory_available", "used_memory", "maxmemory"), _shared_memory),
    (("connected_clients", "maxclients"), _clients),
    (("total_commands_processed",), _errors),
    (("snapshot_enabled",), _snapshot),
)
"""The fields that each check needs, and the checks in the order of their findings."""


class Sample(NamedTuple):
    """A slice that was requested to check its numbers.

    Attributes:
        format_name: The format.
        start: The first index.
        stop: The index after the last.
        failure: `wrong`, `silent` (no reply came, or it broke off), or the code of an error reply;
            empty if the numbers are correct.
        reason: A description of the failure.
    """

    format_name: str
    start: int
    stop: int
    failure: str = ""
    reason: str = ""


_SAMPLE_ADVICE = {
    "wrong": "take this server out of service; test its memory, remove its snapshot (the files in "
    "state_dir), and report the error to the maintainers of fibserver",
    "silent": "the server replies to PING but not to requests for numbers, so workers hang or are "
    f"stopped: see their state ({PROCESS_STATE}), and restart the server",
    "BUSY": "the server is overloaded: see `fibclient top`, and try again later",
    "NOSPACE": "enlarge /dev/shm, or lower memory_limit",
}


def check_samples(samples: list[Sample]) -> Finding:
    """Check the samples; those beyond the server's limits count only if all are."""
    for sample in samples:
        if sample.failure not in ("", "LIMIT"):
            return Finding(
                "numbers",
                Level.WARNING if sample.failure == "BUSY" else Level.PROBLEM,
                f"{sample.format_name}, F({sample.start}) to F({sample.stop - 1}): "
                f"{sample.reason}",
                _SAMPLE_ADVICE.get(sample.failure, "see the server's log"),
            )
    correct = [sample for sample in samples if not sample.failure]
    if not correct:
        return Finding(
            "numbers",
            Level.WARNING,
            "all samples are beyond the server's limits",
            "raise max_index and max_answer_bytes",
        )
    count = sum(sample.stop - sample.start for sample in correct)
    formats = ", ".join(dict.fromkeys(sample.format_name for sample in correct))
    highest = max(sample.stop for sample in correct) - 1
    return Finding("numbers", Level.OK, f"{count:,} are correct, up to F({highest}); as {formats}")
