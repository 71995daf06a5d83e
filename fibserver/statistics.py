"""What the server counts about itself."""

from collections import Counter

from fibserver.overload import Eviction

__all__ = ["BUCKETS", "CommandStatistics", "Statistics", "quantile"]

BUCKETS = 28
"""Latencies are counted by powers of two: bucket k holds those below 2^k microseconds that no
bucket before holds, the last one all above 67 seconds."""


class CommandStatistics:
    """The figures of one command.

    A latency runs from the moment the loop learnt of the request to the moment its reply began
    to be sent: waiting for other clients and for workers counts, the client's own pace does not.

    Attributes:
        name: the command, in lower case.
        calls: how often it was run.
        rejected_calls: how often it was refused without being run.
        errors: how often each code of an error was the answer.
        seconds: the sum of all latencies.
        latencies: how many there were in each bucket.
    """

    __slots__ = ("calls", "errors", "latencies", "name", "rejected_calls", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.rejected_calls = 0
        self.errors: Counter[str] = Counter()
        self.seconds = 0.0
        self.latencies = [0] * BUCKETS

    @property
    def failed_calls(self) -> int:
        """How often it was run and answered with an error."""
        return self.errors.total() - self.rejected_calls

    def record(self, seconds: float, calls: int = 1) -> None:
        """Count calls that were answered together after `seconds`."""
        self.calls += calls
        self.seconds += seconds * calls
        try:
            self.latencies[int(seconds * 1e6).bit_length()] += calls
        except IndexError:
            self.latencies[-1] += calls


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
