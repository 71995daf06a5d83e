"""Findings of a diagnosis that are about a server itself, by what its INFO tells.

A fact that a server does not tell, since it is of another version, is not judged.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fibclient.cli.checks.findings import Finding, Level
from fibclient.cli.measuring.server_sample import Facts
from fibclient.cli.render.units import duration_text, size_text

__all__ = ["Sample", "judge_health", "judge_sample"]

LITTLE_ROOM_BYTES = 16 * 1024 * 1024
"""A few blocks of 4 MiB: the next answers may not find any."""

MANY_CLIENTS_SHARE = 0.8
MANY_BUSY_SHARE = 0.01


def judge_health(facts: Facts) -> list[Finding]:
    """Return what there is to say of a server's workers, memory, clients, errors and snapshot.

    Args:
        facts: of INFO ALL; and the setting memory_limit, which INFO tells as it is in force.
    """
    return [
        finding
        for needed, judge in _JUDGES
        if all(name in facts for name in needed)
        for finding in judge(facts)
    ]


def _workers(facts: Facts) -> Iterator[Finding]:
    workers, busy = facts.whole("workers"), facts.whole("workers_busy")
    waiting, deaths = facts.whole("blocked_clients"), facts.whole("worker_deaths")
    if not workers:
        yield Finding(
            "workers",
            Level.PROBLEM,
            "none is alive",
            "see the server's log for why they end (`journalctl -u fibserver`), and restart it",
        )
        return
    text = f"{workers} alive, {busy} busy"
    wait = "1 client waits" if waiting == 1 else f"{waiting:,} clients wait"
    if busy == workers and waiting:
        yield Finding(
            "workers",
            Level.WARNING,
            f"{text}, and {wait} for them",
            "if that lasts (`fibclient top`), give the server more processors and `workers`, or "
            "more memory_limit, so that less is computed twice",
        )
    elif not deaths:
        yield Finding("workers", Level.OK, text)
    if deaths:
        yield Finding(
            "workers",
            Level.WARNING,
            f"{text}; {deaths:,} died in {duration_text(facts.whole('uptime_in_seconds'))}",
            "see why in the server's log and in the kernel's (`dmesg | grep -i oom`)",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    resident, limit = facts.whole("resident_bytes"), facts.whole("maxmemory")
    text = (
        f"numbers take {size_text(resident)} of memory_limit, {size_text(limit)}; "
        f"all in all {size_text(facts.whole('used_memory_rss'))}"
    )
    dropped, filled = facts.whole("evicted_keys"), facts.whole("blocks_filled")
    if dropped * 2 > filled:
        yield Finding(
            "memory",
            Level.WARNING,
            f"{text}; of {filled:,} blocks computed, {dropped:,} had to give way to others",
            "raise memory_limit if the machine has the memory, or ask for fewer formats",
        )
    else:
        yield Finding("memory", Level.OK, text)


def _shared_memory(facts: Facts) -> Iterator[Finding]:
    available, limit = facts.whole("shared_memory_available"), facts.whole("maxmemory")
    growth = max(0, limit - facts.whole("resident_bytes"))
    wanted = facts.whole("memory_limit", limit)
    text = f"{size_text(available)} left"
    enlarge = "enlarge it (`mount -o remount,size=SIZE /dev/shm`; a container: --shm-size)"
    if available < LITTLE_ROOM_BYTES:
        yield Finding(
            "/dev/shm",
            Level.PROBLEM,
            f"{text}, which may be too little for the next answer",
            f"{enlarge}, empty it, or lower memory_limit",
        )
    elif available < growth:
        yield Finding(
            "/dev/shm",
            Level.WARNING,
            f"{text}, and numbers may take {size_text(growth)} more",
            f"{enlarge}, empty it, or lower memory_limit",
        )
    elif limit < wanted:
        yield Finding(
            "/dev/shm",
            Level.WARNING,
            f"{text}; it was too small at the start for memory_limit, {size_text(wanted)}, so "
            f"{size_text(limit)} is in force",
            f"{enlarge} and restart the server, or lower memory_limit",
        )
    else:
        yield Finding("/dev/shm", Level.OK, text)


def _clients(facts: Facts) -> Iterator[Finding]:
    connected, most = facts.whole("connected_clients"), facts.whole("maxclients")
    rejected = facts.whole("rejected_connections")
    text = f"{connected:,} of at most {most:,}"
    if not rejected and connected < MANY_CLIENTS_SHARE * most:
        yield Finding("clients", Level.OK, text)
        return
    if rejected:
        text += f"; {rejected:,} had to be turned away"
    yield Finding(
        "clients",
        Level.WARNING,
        text,
        "raise max_clients, or see who they are (`redis-cli CLIENT LIST`)",
    )


def _errors(facts: Facts) -> Iterator[Finding]:
    commands = max(1, facts.whole("total_commands_processed"))
    busy, no_space = (_errors_of(facts, code) for code in ("BUSY", "NOSPACE"))
    if no_space:
        yield Finding(
            "errors",
            Level.WARNING,
            f"{no_space:,} of {commands:,} requests found no shared memory (NOSPACE)",
            "enlarge /dev/shm, or lower memory_limit",
        )
    if busy > MANY_BUSY_SHARE * commands:
        yield Finding(
            "errors",
            Level.WARNING,
            f"{busy:,} of {commands:,} requests were turned away (BUSY)",
            "give the server more processors and `workers`, or spread the load over more servers",
        )
    elif not no_space:
        yield Finding("errors", Level.OK, f"{busy:,} of {commands:,} requests were turned away")


def _errors_of(facts: Facts, code: str) -> int:
    return Facts(count=facts.get(f"errorstat_{code}", "").removeprefix("count=")).whole("count")


def _snapshot(facts: Facts) -> Iterator[Finding]:
    if not facts.whole("snapshot_enabled"):
        yield Finding("snapshot", Level.OK, "none is kept: state_dir is not set")
        return
    blocks = f"{facts.whole('snapshot_blocks'):,} blocks saved"
    if facts.get("rdb_last_bgsave_status") == "err":
        yield Finding(
            "snapshot",
            Level.PROBLEM,
            f"the last try to save failed; {blocks} before",
            "see the server's log, and the room and the permissions of state_dir (`df`, `ls -ld`)",
        )
        return
    is_loading = facts.whole("async_loading")
    yield Finding("snapshot", Level.OK, f"{blocks}{', still loading' if is_loading else ''}")


_JUDGES: tuple[tuple[tuple[str, ...], Callable[[Facts], Iterator[Finding]]], ...] = (
    (("workers", "workers_busy", "worker_deaths"), _workers),
    (("resident_bytes", "maxmemory", "used_memory_rss"), _memory),
    (("shared_memory_available", "resident_bytes", "maxmemory"), _shared_memory),
    (("connected_clients", "maxclients"), _clients),
    (("total_commands_processed",), _errors),
    (("snapshot_enabled",), _snapshot),
)
"""What judges which facts, in the order of the findings."""


class Sample(NamedTuple):
    """Some numbers that were asked for to see whether they are right.

    Attributes:
        format_name: in which format.
        start: the first.
        stop: the one behind the last.
        failure: `wrong`, `silent` (no answer came), or the code of a refusal; empty if they were
            right.
        reason: the failure in words.
    """

    format_name: str
    start: int
    stop: int
    failure: str = ""
    reason: str = ""


_SAMPLE_ADVICE = {
    "wrong": "take this server out of use; check its memory, and its snapshot (remove state_dir's "
    "files), and tell who maintains fibserver",
    "silent": "PING is answered and numbers are not, so workers hang or are stopped: see their "
    "state (`ps -o stat,wchan`), and restart the server",
    "BUSY": "it has too much to do: see `fibclient top`, and try again later",
    "NOSPACE": "enlarge /dev/shm, or lower memory_limit",
}


def judge_sample(samples: list[Sample]) -> Finding:
    """Judge whether the numbers are right; what is beyond the server's limits is passed over."""
    for sample in samples:
        if sample.failure not in ("", "LIMIT"):
            return Finding(
                "numbers",
                Level.WARNING if sample.failure == "BUSY" else Level.PROBLEM,
                f"{sample.format_name}, F({sample.start}) to F({sample.stop - 1}): "
                f"{sample.reason}",
                _SAMPLE_ADVICE.get(sample.failure, "see the server's log"),
            )
    right = [sample for sample in samples if not sample.failure]
    if not right:
        return Finding(
            "numbers",
            Level.WARNING,
            "all that was asked for is beyond its limits",
            "raise max_index and max_answer_bytes",
        )
    count = sum(sample.stop - sample.start for sample in right)
    formats = ", ".join(dict.fromkeys(sample.format_name for sample in right))
    highest = max(sample.stop for sample in right) - 1
    return Finding("numbers", Level.OK, f"{count:,} are right, up to F({highest}); as {formats}")
