"""Admission of new connections, and eviction of idle and slow ones.

A setting and the limit of open files bound the number of connections. At the bound, a new
connection replaces the one that has been idle for longest or, if none is idle, the slowest of the
slow readers. If there is neither, a few surplus connections are accepted for one response each,
which must be in memory. So health checks succeed whatever other clients do.

A minute is added to the idle time of a connection that has never sent a whole request, so silent
connections are closed before clients that pause. If all idle connections are new or have just
received a response, new ones wait in the backlog for a moment.
"""

from collections import Counter
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Protocol

from fibcommon.service.admission import (
    NEWCOMER_SECONDS,
    UNSERVED_SECONDS,
    IdleConnections,
    ReadRate,
)

__all__ = ["SURPLUS_CONNECTIONS", "Admission", "AdmissionDecision", "Admittable"]

SURPLUS_CONNECTIONS = 32


PAUSE_SECONDS = 5.0
"""A connection that was served and idle for less than this is closed only as a last resort."""


class AdmissionDecision(Enum):
    """Decision on a new connection."""

    SERVE = auto()
    SERVE_ONCE = auto()
    """Send one response, which must be in memory, and close it."""
    WAIT = auto()
    """Leave it in the backlog until other new connections have had time to send a request."""
    REJECT = auto()


class Admittable(Protocol):
    """A connection that an `Admission` can close."""

    read_rate: ReadRate | None
    was_served: bool
    """Whether the client has ever sent a whole request."""

    @property
    def idle_since(self) -> float | None:
        """Start of the idle time; None while a request is in progress."""

    def close(self) -> None:
        """Close the connection."""


class Admission:
    """Admission policy for new connections.

    Attributes:
        cut_off: Number of connections closed to make room, by reason: `idle`, `slow`, or
            `memory` (counted by the connection itself).
        rejected: Number of new connections rejected.
    """

    def __init__(
        self,
        max_clients: int,
        connections: Collection[Admittable],
        clock: Callable[[], float],
    ) -> None:
        """Create an admission policy.

        Args:
            max_clients: Maximum number of connections, without surplus ones.
            connections: All connections; their owner adds and removes them.
            clock: Returns the monotonic time in seconds.
        """
        self.cut_off = Counter(idle=0, slow=0, memory=0)
        self.rejected = 0
        self._max_clients = max_clients
        self._connections = connections
        self._clock = clock
        self._waited_at = self._full_until = float("-inf")
        self._victims = IdleConnections(lambda: connections, self._idle_since)

    def _idle_since(self, connection: Admittable) -> float | None:
        since = connection.idle_since
        if since is None:
            return None
        idle_seconds = self._clock() - since
        if connection.was_served:
            return since if idle_seconds >= PAUSE_SECONDS else None
        return since - UNSERVED_SECONDS if idle_seconds >= NEWCOMER_SECONDS else None

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached."""
        return len(self._connections) >= self._max_clients

    def admit(self) -> AdmissionDecision:
        """Decide on a new connection, and close another one if necessary."""
        if not self.is_full:
            return AdmissionDecision.SERVE
        if self._clock() < self._full_until:
            return self._surplus()
        if self.make_room():
            return AdmissionDecision.SERVE
        idle = [
            connection for connection in self._connections if connection.idle_since is not None
        ]
        if not all(connection.was_served for connection in idle):
            return AdmissionDecision.WAIT  # those that stay silent may be closed in a moment
        if idle and self._clock() - self._waited_at > 2 * NEWCOMER_SECONDS:
            self._waited_at = self._clock()
            return AdmissionDecision.WAIT
        if idle:
            self._close(min(idle, key=lambda connection: connection.idle_since or 0.0), "idle")
            return AdmissionDecision.SERVE
        self._full_until = self._clock() + NEWCOMER_SECONDS  # a scan takes milliseconds
        return self._surplus()

    def _surplus(self) -> AdmissionDecision:
        if len(self._connections) < self._max_clients + SURPLUS_CONNECTIONS:
            return AdmissionDecision.SERVE_ONCE
        self.rejected += 1
        return AdmissionDecision.REJECT

    def make_room(self) -> bool:
        """Close the longest idle connection, or the slowest reader below the minimum rate.

        Returns:
            False if there is none to close.
        """
        victim, reason = self._victims.pop(), "idle"
        if victim is None:
            victim, reason = self._slowest(), "slow"
        if victim is None:
            return False
        self._close(victim, reason)
        return True

    def _close(self, victim: Admittable, reason: str) -> None:
        self.cut_off[reason] += 1
        victim.close()

    def _slowest(self) -> Admittable | None:
        """Return the slowest reader below the minimum rate, or None."""
        slow = [
            (connection.read_rate.bytes_per_second, connection)
            for connection in self._connections
            if connection.read_rate is not None and connection.read_rate.is_slow
        ]
        return min(slow, key=lambda pair: pair[0])[1] if slow else None
