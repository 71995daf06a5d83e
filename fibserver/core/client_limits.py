"""Limits on the loop time and the memory that one client may use.

Loop time. A client's requests are executed for a time slice of half a millisecond. If some are
left, the client joins a queue that is served round-robin, and the loop polls for events between
rounds. The queue has two lists, as in FQ-CoDel (RFC 8290): clients with new work are served before
those that have used up a slice, so a small request does not wait for the long pipelines of others;
and each iteration of the loop starts with one of the latter, so new work cannot starve them. An
iteration handles events for two milliseconds; later events join the queue too, because many events
at once would otherwise make it long.

Memory. The pending output of all clients is bounded in total; above the bound the slowest readers
are disconnected first. Connections are bounded as well: at the limit, a new connection replaces
the longest idle one, or else the slowest reader (`fibcommon.service.admission`).

This module only decides; `fibserver.network.connections` owns the sockets and acts.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

__all__ = [
    "AUTH_DELAY_SECONDS",
    "REQUEST_SECONDS",
    "Eviction",
    "LoopBudget",
    "OutputHolder",
    "OutputTotal",
    "ServiceQueue",
    "slowest_readers",
]

SLICE_SECONDS = 0.0005
"""Time slice for the requests of one client before others are served."""

EVENTS_SECONDS = 0.002
"""Time for which an iteration handles events before the remaining ones are queued."""

ITERATION_SECONDS = 0.004
"""Time after which an iteration stops serving clients; at least one gets a time slice."""

REQUEST_SECONDS = 10.0
"""Timeout from the first byte of a request to its last."""

AUTH_DELAY_SECONDS = 1.0
"""Delay of the reply to a failed authentication, which slows down password guessing."""

OUTPUT_HEADROOM = 8
"""Readers are disconnected until 1/8 of the bound is free: finding the slowest one takes a pass
over all connections, which must not be needed again for every reply."""


class Eviction(StrEnum):
    """Reason for disconnecting a client to free resources for others."""

    IDLE = "idle"
    SLOW_READER = "slow_reader"
    OUTPUT_MEMORY = "output_memory"


class LoopBudget:
    """Time budget of one loop iteration, which has a phase for events and one for the queue.

    Attributes:
        clock: Returns the monotonic time in seconds.
        last_read: The last time that `clock` returned. It is read after each piece of work, so
            this is when the next one starts.
        is_spent: Whether further clients must queue in this phase.
        end: When this phase ends.
        slice_end: When the time slice of the current client ends.
    """

    __slots__ = ("_started", "clock", "end", "is_spent", "last_read", "slice_end")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.slice_end = 0.0
        self.start_iteration(clock())

    def start_iteration(self, now: float) -> None:
        """Start an iteration with the phase that handles events."""
        self.is_spent = False
        self.end = now + EVENTS_SECONDS
        self._started = self.last_read = now

    def start_queue(self) -> None:
        """Start the phase that serves the queue, which lasts for at least one time slice."""
        self.is_spent = False
        self.end = max(self._started + ITERATION_SECONDS, self.clock() + SLICE_SECONDS)

    def start_slice(self) -> None:
        """Start the time slice of a client."""
        self.last_read = now = self.clock()
        if now >= self.end:
            self.is_spent = True
        self.slice_end = now + SLICE_SECONDS

    @property
    def is_slice_over(self) -> bool:
        """Whether the time slice of the current client is over."""
        self.last_read = now = self.clock()
        return now >= self.slice_end

    def check(self) -> bool:
        """Read the clock; return whether this phase is over."""
        self.last_read = now = self.clock()
        if now >= self.end:
            self.is_spent = True
        return self.is_spent


Client = TypeVar("Client")


class ServiceQueue(Generic[Client]):
    """Queue of clients that wait for loop time; those with new work are served first.

    Attributes:
        new: Clients with new work, in order; callers only read it.
        busy: Clients that have used up a time slice, in order; callers only read it.
    """

    def __init__(self) -> None:
        self.new: OrderedDict[Client, None] = OrderedDict()
        self.busy: OrderedDict[Client, None] = OrderedDict()

    def add_new(self, client: Client) -> None:
        """Add a client with new work, unless it is queued already."""
        if client not in self.busy:
            self.new[client] = None

    def add_busy(self, client: Client) -> None:
        """Add a client that has used up a time slice."""
        self.busy[client] = None

    def discard(self, client: Client) -> None:
        """Remove a client if it is queued."""
        self.new.pop(client, None)
        self.busy.pop(client, None)

    def pop(self) -> Client | None:
        """Remove and return the next client, None if the queue is empty."""
        if self.new:
            return self.new.popitem(last=False)[0]
        return self.pop_busy()

    def pop_busy(self) -> Client | None:
        """Remove and return the next client that has used up a time slice, None without any."""
        return self.busy.popitem(last=False)[0] if self.busy else None


class OutputTotal:
    """Total pending output of all clients.

    Attributes:
        held_bytes: Bytes of memory that it takes, without shared memory.
    """

    __slots__ = ("held_bytes",)

    def __init__(self) -> None:
        self.held_bytes = 0


class OutputHolder(Protocol):
    """Connection with pending output."""

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that its output takes."""

    @property
    def bytes_per_second(self) -> float:
        """Rate at which its peer reads if it is slow; infinite if it is not, or is unknown."""

    @property
    def blocked_since(self) -> float:
        """Since when its peer has read nothing; infinite if the socket is not full."""


Holder = TypeVar("Holder", bound=OutputHolder)


def slowest_readers(holders: Iterable[Holder], held_bytes: int, limit: int) -> list[Holder]:
    """Return the connections to disconnect so that all output fits its bound, slowest first.

    Measuring the rate of a reader takes half a minute. Readers without a rate are ordered by how
    long they have read nothing, and then by how much output they hold.

    Args:
        holders: All connections.
        held_bytes: Memory that their output takes in total.
        limit: The bound of that.
    """
    if held_bytes <= limit:
        return []
    slowest = sorted(
        (holder for holder in holders if holder.held_bytes),
        key=lambda holder: (holder.bytes_per_second, holder.blocked_since, -holder.held_bytes),
    )
    victims = []
    for holder in slowest:
        if held_bytes <= limit - limit // OUTPUT_HEADROOM:
            break
        held_bytes -= holder.held_bytes
        victims.append(holder)
    return victims
