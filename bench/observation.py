"""Observation of servers under load: the process of well-behaved clients, and memory."""

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
from wellbehaved import Sample, samples_of

__all__ = ["OVERLOADED", "Memory", "MemoryWatch", "MetricValues", "WellBehaved", "figures_of"]

WELL_BEHAVED = Path(__file__).with_name("wellbehaved.py")

OVERLOADED = frozenset({"503", "BUSY"})
"""These outcomes are replies; any other failure counts as a reply that never came."""

RECOVERY_KINDS = frozenset({"new", "range"})
RECOVERED_SECONDS = 0.25
STEADY_SECONDS = 1.0
"""New numbers must have been quick for so long before a server counts as recovered."""

POLL_SECONDS = 0.05
START_SECONDS = 60
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MetricValues(NamedTuple):
    """What the clients of one kind saw; times in seconds, infinite where no reply came.

    Attributes:
        outcomes: how many requests came to which outcome.
    """

    p50: float
    p99: float
    p999: float
    worst: float
    outcomes: Counter[str]

    def failed_share(self) -> float:
        """Return the share of requests without a good reply."""
        return 1 - self.outcomes["ok"] / self.outcomes.total()


def figures_of(samples: Iterable[Sample]) -> MetricValues:
    """Return the figures of samples of one kind, of which there is at least one."""
    samples = list(samples)
    times = sorted(
        each.seconds if each.outcome == "ok" or each.outcome in OVERLOADED else math.inf
        for each in samples
    )

    def percentile(share: float) -> float:
        return times[math.ceil(share * len(times)) - 1]

    outcomes = Counter(each.outcome for each in samples)
    return MetricValues(percentile(0.5), percentile(0.99), percentile(0.999), times[-1], outcomes)


class WellBehaved:
    """The process of the well-behaved clients, and all samples that it has written so far."""

    def __init__(self, ports: Mapping[str, int], seed: int, timeout_seconds: float) -> None:
        """Start the process.

        Args:
            ports: the kinds of requests, and where each is sent.
            seed: of what is random.
            timeout_seconds: how long a client waits for a reply.
        """
        self.samples: list[Sample] = []
        self._kinds = frozenset(ports)
        self._timeout_seconds = timeout_seconds
        named_ports = (f"{kind}={port}" for kind, port in ports.items())
        self._child = subprocess.Popen(
            [sys.executable, str(WELL_BEHAVED), str(seed), str(timeout_seconds), *named_ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._child.kill()
        self._child.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            kind, began, seconds, outcome = line.decode().split()
            self.samples += samples_of(Sample(kind, float(began), float(seconds), outcome))

    def wait_for_all(self) -> None:
        """Wait until every kind of request has had a good reply."""
        deadline = time.monotonic() + START_SECONDS
        while self._kinds - {each.kind for each in self.samples if each.outcome == "ok"}:
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise click.ClickException("the well-behaved clients do not get replies")
            time.sleep(POLL_SECONDS)

    def recovery_seconds(self, ended: float, limit_seconds: float) -> float:
        """Wait until new numbers are quick again and return for how long they were not.

        Args:
            ended: when the load ended, by `time.monotonic()`.
            limit_seconds: after that it is given up.

        Returns:
            From then to the last request that was slow or failed; the limit if given up.
        """
        kinds = self._kinds & RECOVERY_KINDS
        while time.monotonic() < ended + limit_seconds:
            after = [each for each in self.samples if each.kind in kinds and each.began >= ended]
            slow = (each.began for each in after if not _is_quick(each))
            last_slow = max(slow, default=ended)
            known = [max((s.began for s in after if s.kind == kind), default=0) for kind in kinds]
            if min(known, default=math.inf) >= last_slow + STEADY_SECONDS:
                return last_slow - ended
            time.sleep(POLL_SECONDS)
        return limit_seconds

    def finish(self) -> None:
        """Wait for the replies to what has been asked, so that all samples are there."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(2 * self._timeout_seconds + START_SECONDS)
        self._thread.join()

    def figures(self, began: float, ended: float) -> dict[str, MetricValues]:
        """Return the figures of each kind, of the requests that were due within a time."""
        within = [each for each in self.samples if began <= each.began <= ended]
        return {
            kind: figures_of(each for each in within if each.kind == kind)
            for kind in sorted({each.kind for each in within})
        }


def _is_quick(sample: Sample) -> bool:
    return sample.outcome == "ok" and sample.seconds <= RECOVERED_SECONDS


class Memory(NamedTuple):
    """What counts as the memory of a server.

    Attributes:
        pids: of its processes.
        is_private: whether pages that are shared, such as the arena's, are left out.
    """

    pids: tuple[int, ...]
    is_private: bool = False

    def size_bytes(self) -> int:
        """Return how much memory is resident; of a process that has ended, none."""
        pages = 0
        for pid in self.pids:
            with suppress(OSError):
                _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
                pages += int(resident) - self.is_private * int(shared)
        return pages * PAGE_BYTES


class MemoryWatch:
    """Samples the memory of servers until it is closed."""

    def __init__(self, servers: Mapping[str, Memory]) -> None:
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
        """Let growth begin at what memory is there now."""
        self._quiet = {name: memory.size_bytes() for name, memory in self._servers.items()}
        self._peak = dict(self._quiet)

    def growth_bytes(self) -> dict[str, int]:
        """Return by how much each server's memory has grown at most."""
        return {name: self._peak[name] - self._quiet[name] for name in self._servers}

    def _watch(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            for name, memory in self._servers.items():
                self._peak[name] = max(self._peak[name], memory.size_bytes())
