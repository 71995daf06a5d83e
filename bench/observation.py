"""Observers of servers under load: a process of well-behaved clients, and a memory sampler."""

import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click
from wellbehaved import RequestSample, with_missed_ticks

__all__ = [
    "OVERLOADED",
    "LatencySummary",
    "Memory",
    "MemorySampler",
    "WellBehavedClients",
    "summarize",
]

WELL_BEHAVED = Path(__file__).with_name("wellbehaved.py")

OVERLOADED = frozenset({"503", "BUSY"})
"""Outcomes that count as replies; any other failure counts as an infinite latency."""

RECOVERY_KINDS = frozenset({"new", "range"})
RECOVERED_SECONDS = 0.25
STEADY_SECONDS = 1.0
"""A server has recovered once requests for new numbers have been quick for this long."""

POLL_SECONDS = 0.05
START_SECONDS = 60
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class LatencySummary(NamedTuple):
    """Latencies of one kind of request, in seconds; infinite where no reply arrived.

    Attributes:
        outcomes: Number of requests by outcome.
    """

    p50: float
    p99: float
    p999: float
    worst: float
    outcomes: Counter[str]

    def failed_share(self) -> float:
        """Return the share of requests, 0 to 1, whose outcome is not `ok`."""
        return 1 - self.outcomes["ok"] / self.outcomes.total()


def summarize(samples: Iterable[RequestSample]) -> LatencySummary:
    """Summarize at least one sample of one kind."""
    samples = list(samples)
    times = sorted(
        sample.seconds if sample.outcome == "ok" or sample.outcome in OVERLOADED else math.inf
        for sample in samples
    )

    def percentile(share: float) -> float:
        return times[math.ceil(share * len(times)) - 1]

    outcomes = Counter(sample.outcome for sample in samples)
    return LatencySummary(
        percentile(0.5), percentile(0.99), percentile(0.999), times[-1], outcomes
    )


class WellBehavedClients:
    """Process of the well-behaved clients, and the samples that it has written so far."""

    def __init__(self, ports: Mapping[str, int], seed: int, timeout_seconds: float) -> None:
        """Start the process.

        Args:
            ports: Port for each kind of request.
            seed: Seed of the random generators.
            timeout_seconds: How long a client waits for a reply.
        """
        self.samples: list[RequestSample] = []
        self._kinds = frozenset(ports)
        self._timeout_seconds = timeout_seconds
        named_ports = (f"{kind}={port}" for kind, port in ports.items())
        self._child = subprocess.Popen(
            [sys.executable, str(WELL_BEHAVED), str(seed), str(timeout_seconds), *named_ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the child
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            kind, began, seconds, outcome = line.decode().split()
            self.samples += with_missed_ticks(
                RequestSample(kind, float(began), float(seconds), outcome)
            )

    def wait_for_all(self) -> None:
        """Wait until a request of every kind has succeeded."""
        deadline = time.monotonic() + START_SECONDS
        while self._kinds - {sample.kind for sample in self.samples if sample.outcome == "ok"}:
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise click.ClickException(
                    "some kinds of requests of the well-behaved clients never succeeded"
                )
            time.sleep(POLL_SECONDS)

    def recovery_seconds(self, ended: float, limit_seconds: float) -> float:
        """Wait until requests for new numbers are quick again, and return how long that took.

        Args:
            ended: When the load ended, by `time.monotonic()`.
            limit_seconds: How long to wait.

        Returns:
            Seconds from `ended` to the last request that was slow or failed; `limit_seconds` if
            the server did not recover.
        """
        kinds = self._kinds & RECOVERY_KINDS
        while time.monotonic() < ended + limit_seconds:
            after = [
                sample for sample in self.samples if sample.kind in kinds and sample.began >= ended
            ]
            slow = (sample.began for sample in after if not _is_quick(sample))
            last_slow = max(slow, default=ended)
            known = [
                max((sample.began for sample in after if sample.kind == kind), default=0)
                for kind in kinds
            ]
            if min(known, default=math.inf) >= last_slow + STEADY_SECONDS:
                return last_slow - ended
            time.sleep(POLL_SECONDS)
        return limit_seconds

    def finish(self) -> None:
        """Stop the clients, and wait for the samples of all pending requests."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(2 * self._timeout_seconds + START_SECONDS)
        self._thread.join()

    def figures(self, began: float, ended: float) -> dict[str, LatencySummary]:
        """Return the latencies by kind, of requests that were due between two times."""
        within = [sample for sample in self.samples if began <= sample.began <= ended]
        return {
            kind: summarize(sample for sample in within if sample.kind == kind)
            for kind in sorted({sample.kind for sample in within})
        }


def _is_quick(sample: RequestSample) -> bool:
    return sample.outcome == "ok" and sample.seconds <= RECOVERED_SECONDS


class Memory(NamedTuple):
    """Memory of a server.

    Attributes:
        pids: Process IDs of the server.
        is_private: Whether shared pages, such as the arena's, are left out.
    """

    pids: tuple[int, ...]
    is_private: bool = False

    def size_bytes(self) -> int:
        """Return the resident memory; a process that has ended counts as 0."""
        pages = 0
        for pid in self.pids:
            with suppress(OSError):
                _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
                pages += int(resident) - self.is_private * int(shared)
        return pages * PAGE_BYTES


class MemorySampler:
    """Thread that samples the memory of servers until it is closed."""

    def __init__(self, servers: Mapping[str, Memory]) -> None:
        """Start sampling."""
        self._servers = servers
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.restart()
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._end.set()
        self._thread.join()

    def restart(self) -> None:
        """Measure growth from the present size on."""
        self._quiet = {name: memory.size_bytes() for name, memory in self._servers.items()}
        self._peak = dict(self._quiet)

    def growth_bytes(self) -> dict[str, int]:
        """Return the largest growth of each server's memory."""
        return {name: self._peak[name] - self._quiet[name] for name in self._servers}

    def _watch(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            for name, memory in self._servers.items():
                self._peak[name] = max(self._peak[name], memory.size_bytes())
