"""Overload policy: what one client may cost the others, in loop time and in memory.

Loop time. A client's requests are executed for half a millisecond at a time. The rest waits in a
queue of clients that is served round-robin, and the loop polls for events between two rounds.
Two lists, as in the fair queueing of network devices (FQ-CoDel, RFC 8290): a client that newly
has something to do is served before those that have used up a slice, so a small request does not
wait for the long pipelines of others; and each turn begins with one of the latter, so newcomers
cannot starve them. A turn handles events for two milliseconds; what is ready after that joins
the queue too, or a crowd that arrives at once would add up to a long turn.

Memory. All output that waits in this process is bounded together. Beyond the bound the slowest
reader is disconnected first. Connections are bounded as well: when all are taken, the longest
idle one gives way to a newcomer, then the slowest reader (`fibcommon.service.admission`).

This module decides and knows no sockets; `fibserver.network.connections` acts on it.
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
    "output_victims",
]

SLICE_SECONDS = 0.0005
"""How long one client's requests are executed before others have their turn."""

EVENTS_SECONDS = 0.002
"""How long a turn handles events before what else is ready has to queue."""

TURN_SECONDS = 0.004
"""How long a turn serves clients in all before the loop polls again; one slice is always given."""

REQUEST_SECONDS = 10.0
"""How long a request may take from its first byte to its last."""

AUTH_DELAY_SECONDS = 1.0
"""How long the reply to a failed authentication is held back, so that guessing takes long."""

OUTPUT_HEADROOM = 8
"""Readers are disconnected until an eighth of the bound is free: looking for the slowest costs a
pass over all connections, which must not recur with every reply."""


class Eviction(StrEnum):
    """Why a client was disconnected for the sake of others."""

    IDLE = "idle"
    SLOW_READER = "slow_reader"
    OUTPUT_MEMORY = "output_memory"


class LoopBudget:
    """Loop time of one turn.

    Attributes:
        clock: monotonic, in seconds.
        last_read: what the clock showed when it was last read: after each piece of work that takes
            long, so that the next piece starts then.
        is_spent: whether further clients have to queue in this phase of the turn.
        end: when the phase has used up its time.
        slice_end: when the client that is being served has to stop.
    """

    __slots__ = ("_started", "clock", "end", "is_spent", "last_read", "slice_end")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.slice_end = 0.0
        self.start_turn(clock())

    def start_turn(self, now: float) -> None:
        """Begin a turn with the phase that handles events."""
        self.is_spent = False
        self.end = now + EVENTS_SECONDS
        self._started = self.last_read = now

    def start_queue(self) -> None:
        """Begin the phase that serves the queue; it lasts for one slice at least."""
        self.is_spent = False
        self.end = max(self._started + TURN_SECONDS, self.clock() + SLICE_SECONDS)

    def start_slice(self) -> None:
        """Begin to serve one client."""
        self.last_read = now = self.clock()
        if now >= self.end:
            self.is_spent = True
        self.slice_end = now + SLICE_SECONDS

    @property
    def is_slice_over(self) -> bool:
        """Whether the client that is being served has to stop."""
        self.last_read = now = self.clock()
        return now >= self.slice_end

    def check(self) -> bool:
        """Return whether the time of this phase is used up."""
        self.last_read = now = self.clock()
        if now >= self.end:
            self.is_spent = True
        return self.is_spent


Client = TypeVar("Client")


class ServiceQueue(Generic[Client]):
    """The clients that wait for loop time: new ones first, each list in turn.

    Attributes:
        new: those that newly have something to do, in order; for others to look at.
        busy: those that have used up a slice, in order; for others to look at.
    """

    def __init__(self) -> None:
        self.new: OrderedDict[Client, None] = OrderedDict()
        self.busy: OrderedDict[Client, None] = OrderedDict()

    def add_new(self, client: Client) -> None:
        """Add a client that newly has something to do, unless it waits already."""
        if client not in self.busy:
            self.new[client] = None

    def add_busy(self, client: Client) -> None:
        """Add a client that has used up a slice."""
        self.busy[client] = None

    def discard(self, client: Client) -> None:
        """Remove a client if it waits."""
        self.new.pop(client, None)
        self.busy.pop(client, None)

    def pop(self) -> Client | None:
        """Return the next client, None if there is none."""
        if self.new:
            return self.new.popitem(last=False)[0]
        return self.pop_busy()

    def pop_busy(self) -> Client | None:
        """Return the next of those that have used up a slice, None if there is none."""
        return self.busy.popitem(last=False)[0] if self.busy else None


class OutputTotal:
    """The output that waits in this process for all clients.

    Attributes:
        held_bytes: what it takes of memory; shared memory does not count.
    """

    __slots__ = ("held_bytes",)

    def __init__(self) -> None:
        self.held_bytes = 0


class OutputHolder(Protocol):
    """A connection with output."""

    @property
    def held_bytes(self) -> int:
        """How many bytes of memory its output takes."""

    @property
    def bytes_per_second(self) -> float:
        """How fast its peer reads if that is slow; infinite if not, or if it is not yet known."""

    @property
    def blocked_since(self) -> float:
        """Since when its peer has taken nothing; infinite if the socket is not full."""


Holder = TypeVar("Holder", bound=OutputHolder)


def output_victims(holders: Iterable[Holder], held_bytes: int, limit: int) -> list[Holder]:
    """Return whom to disconnect for all output to fit in its bound, the slowest first.

    It takes half a minute to know a reader for slow. Among the others the one that has taken
    nothing for longest is the slowest, and of equals the one that holds most.

    Args:
        holders: the connections.
        held_bytes: what their output takes together.
        limit: what it may take.
    """
    if held_bytes <= limit:
        return []
    slowest = sorted(
        (holder for holder in holders if holder.held_bytes),
        key=lambda each: (each.bytes_per_second, each.blocked_since, -each.held_bytes),
    )
    victims = []
    for holder in slowest:
        if held_bytes <= limit - limit // OUTPUT_HEADROOM:
            break
        held_bytes -= holder.held_bytes
        victims.append(holder)
    return victims
