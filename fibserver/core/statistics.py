"""What the server counts about itself."""

from collections import Counter
from typing import NamedTuple

from fibserver.core.overload import Eviction

__all__ = ["BUCKETS", "CommandStatistics", "Rates", "Statistics", "quantile"]

BUCKETS = 28
"""Latencies are counted by powers of two: bucket k holds those below 2^k microseconds that no
bucket before holds, the last one all above 67 seconds."""

MIN_SAMPLE_SECONDS = 0.5

ALL_BUCKETS = 64
"""As many as any time needs; those from the last of `BUCKETS` on are shown as one."""


class CommandStatistics:
    """The figures of one command.

    Two times are recorded for each call. The execution time runs from the start of its execution
    to the first byte of its reply: it contains the time of workers, but not that of requests
    before it. The waiting time is what the client waited: it starts when the loop learnt of the
    request. Neither contains the time that the client itself takes to read earlier replies.

    Attributes:
        name: the command, in lower case.
        rejected_calls: how often it was refused without being run.
        errors: how often each code of an error was the answer.
        seconds: the sum of all execution times.
        queued_seconds: by how much the sum of all waiting times is larger.
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
        # So long that no time is beyond the end: nothing has to be checked for each call.
        self._latencies = [0] * ALL_BUCKETS
        self._waits = [0] * ALL_BUCKETS

    @property
    def latencies(self) -> list[int]:
        """Number of execution times in each bucket."""
        return _shown(self._latencies)

    @property
    def waits(self) -> list[int]:
        """Number of waiting times in each bucket."""
        return _shown(self._waits)

    @property
    def calls(self) -> int:
        """How often it was run, with success or not."""
        return sum(self._latencies)

    @property
    def failed_calls(self) -> int:
        """How often it was run and answered with an error."""
        return self.errors.total() - self.rejected_calls

    @property
    def waiting_seconds(self) -> float:
        """The sum of all waiting times."""
        return self.seconds + self.queued_seconds

    def record(self, seconds: float, queued_seconds: float = 0.0, calls: int = 1) -> None:
        """Record calls that were answered together.

        Args:
            seconds: their execution time.
            queued_seconds: how long they waited for that to start.
            calls: how many they are.
        """
        self.seconds += seconds * calls
        bucket = int(seconds * 1e6).bit_length()
        self._latencies[bucket] += calls
        if queued_seconds:  # mostly none: both times are the same, and so is the bucket
            self.queued_seconds += queued_seconds * calls
            bucket = int((seconds + queued_seconds) * 1e6).bit_length()
        self._waits[bucket] += calls


def _shown(counts: list[int]) -> list[int]:
    return [*counts[: BUCKETS - 1], sum(counts[BUCKETS - 1 :])]


class Rates(NamedTuple):
    """What happened in each second.

    Attributes:
        calls: of commands.
        bytes_received: from clients.
        bytes_sent: to clients.
    """

    calls: float = 0.0
    bytes_received: float = 0.0
    bytes_sent: float = 0.0


class Statistics:
    """The figures of one server since its start.

    Attributes:
        commands: by name, in lower case.
        errors: error replies by code.
        connections_received: accepted, those refused for `max_clients` included.
        connections_rejected: refused for `max_clients`.
        evictions: clients that were disconnected for the sake of others, by reason.
        bytes_received: from clients.
        bytes_sent: to clients.
        blocks_filled: by workers.
        blocks_failed: given up.
        blocks_dropped: resident ones that gave way to others.
        rates: between the last two samples.
    """

    def __init__(self) -> None:
        self.commands: dict[str, CommandStatistics] = {}
        self.errors: Counter[str] = Counter()
        self.connections_received = 0
        self.connections_rejected = 0
        self.evictions: Counter[Eviction] = Counter()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.blocks_filled = 0
        self.blocks_failed = 0
        self.blocks_dropped = 0
        self.rates = Rates()
        self._sampled_at: float | None = None
        self._sampled = Rates()

    @property
    def calls(self) -> int:
        """How often commands were run."""
        return sum(each.calls for each in self.commands.values())

    def sample(self, now: float) -> None:
        """Compute the rates since the last call.

        Args:
            now: monotonic, in seconds; calls within half a second of the last do nothing.
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
        """Return the figures of a command of the command table, by its name in lower case."""
        found = self.commands.get(name)
        if found is None:
            found = self.commands[name] = CommandStatistics(name)
        return found


def quantile(latencies: list[int], share: float) -> float:
    """Return the latency, in microseconds, that a share of all calls did not exceed.

    Within a bucket calls are taken to be spread evenly.

    Args:
        latencies: how many calls there were in each bucket.
        share: from 0 to 1.
    """
    rank = share * sum(latencies)
    for number, count in enumerate(latencies):
        if count and rank <= count:
            low = (1 << number) >> 1
            return low + max(1, low) * rank / count
        rank -= count
    return 0.0
