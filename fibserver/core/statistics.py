"""Counters and latency histograms of the server."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from fibserver.core.client_limits import Eviction

__all__ = ["BUCKETS", "CommandStatistics", "Rates", "Statistics", "bucket_bounds"]

BUCKETS = 28
"""Latencies are counted by powers of two: bucket k holds those from 2^(k-1) to below 2^k
microseconds, the first those below 1 microsecond, the last all above 67 seconds."""

MIN_SAMPLE_SECONDS = 0.5

ALL_BUCKETS = 64
"""Enough for every latency; those from `BUCKETS` - 1 on are reported as one."""


class CommandStatistics:
    """Statistics of one command.

    Two times are recorded for each call. The execution time lasts from the start of execution to
    the first byte of the reply: it includes the time of workers, but not of earlier requests. The
    waiting time starts earlier, when epoll reported the request. Neither includes the time that
    the client takes to read earlier replies.

    Attributes:
        name: The command in lower case.
        rejected_calls: Number of calls that were rejected without being run.
        errors: Number of error replies by code.
        seconds: Sum of all execution times.
        queued_seconds: Sum of all waiting times, minus `seconds`.
    """

    __slots__ = (
        "_latencies",
        "_waits",
        "errors",
        "name",
        "queued_seconds",
        "rejected_calls",
        "seconds",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.rejected_calls = 0
        self.errors: Counter[str] = Counter()
        self.seconds = 0.0
        self.queued_seconds = 0.0
        # No latency is beyond the last bucket, so `record` needs no check.
        self._latencies = [0] * ALL_BUCKETS
        self._waits = [0] * ALL_BUCKETS

    @property
    def latencies(self) -> list[int]:
        """Number of execution times in each bucket."""
        return _reported(self._latencies)

    @property
    def waits(self) -> list[int]:
        """Number of waiting times in each bucket."""
        return _reported(self._waits)

    @property
    def calls(self) -> int:
        """Number of calls that were run, including failed ones."""
        return sum(self._latencies)

    @property
    def failed_calls(self) -> int:
        """Number of calls that were run and failed."""
        return self.errors.total() - self.rejected_calls

    @property
    def waiting_seconds(self) -> float:
        """Sum of all waiting times."""
        return self.seconds + self.queued_seconds

    def record(self, seconds: float, queued_seconds: float = 0.0, calls: int = 1) -> None:
        """Record one or more calls that were answered together.

        Args:
            seconds: Execution time of each.
            queued_seconds: Time that each waited before its execution.
            calls: Number of calls.
        """
        self.seconds += seconds * calls
        bucket = int(seconds * 1e6).bit_length()
        self._latencies[bucket] += calls
        if queued_seconds:  # usually 0: then both times fall into the same bucket
            self.queued_seconds += queued_seconds * calls
            bucket = int((seconds + queued_seconds) * 1e6).bit_length()
        self._waits[bucket] += calls


def _reported(counts: list[int]) -> list[int]:
    return [*counts[: BUCKETS - 1], sum(counts[BUCKETS - 1 :])]


class Rates(NamedTuple):
    """Rates per second.

    Attributes:
        calls: Calls of commands.
        bytes_received: Bytes received from clients.
        bytes_sent: Bytes sent to clients.
    """

    calls: float = 0.0
    bytes_received: float = 0.0
    bytes_sent: float = 0.0


class Statistics:
    """Statistics of one server since its start.

    Attributes:
        commands: Statistics of each command, by name in lower case.
        errors: Number of error replies by code.
        connections_received: Connections accepted, including those rejected for `max_clients`.
        connections_rejected: Connections rejected for `max_clients`.
        evictions: Clients disconnected to free resources for others, by reason.
        bytes_received: Bytes received from clients.
        bytes_sent: Bytes sent to clients.
        blocks_computed: Blocks that were computed.
        blocks_loaded: Blocks that were loaded from the snapshot.
        blocks_failed: Blocks whose computation was given up.
        rates: Rates between the last two samples.
    """

    def __init__(self) -> None:
        self.commands: dict[str, CommandStatistics] = {}
        self.errors: Counter[str] = Counter()
        self.connections_received = 0
        self.connections_rejected = 0
        self.evictions: Counter[Eviction] = Counter()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.blocks_computed = 0
        self.blocks_loaded = 0
        self.blocks_failed = 0
        self.rates = Rates()
        self._sampled_at: float | None = None
        self._sampled = Rates()

    @property
    def calls(self) -> int:
        """Number of calls of all commands."""
        return sum(command.calls for command in self.commands.values())

    def sample(self, now: float) -> None:
        """Compute the rates since the last call.

        Args:
            now: Monotonic time in seconds; a call within 0.5 s of the last sample does nothing.
        """
        totals = Rates(self.calls, self.bytes_received, self.bytes_sent)
        if self._sampled_at is not None:
            elapsed = now - self._sampled_at
            if elapsed < MIN_SAMPLE_SECONDS:
                return
            pairs = zip(totals, self._sampled, strict=True)
            self.rates = Rates(*((total - before) / elapsed for total, before in pairs))
        self._sampled_at, self._sampled = now, totals

    def command(self, name: str) -> CommandStatistics:
        """Return the statistics of a command, by its name in lower case."""
        statistics = self.commands.get(name)
        if statistics is None:
            statistics = self.commands[name] = CommandStatistics(name)
        return statistics


def bucket_bounds(latencies: list[int]) -> Iterator[tuple[float, float, int]]:
    """Yield the lower bound, the upper bound (microseconds) and the count of each bucket."""
    for number, count in enumerate(latencies):
        low = (1 << number) >> 1
        yield low, low + max(1, low), count
