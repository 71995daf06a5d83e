"""Admission of connections, and the choice of those that are closed for new ones.

The number of connections is bounded by a setting and by the limit of open files. At the bound, the
connection that has been idle for longest is closed for a new one; if none is idle, the slowest of
the slow readers. If there is none of these either, a few surplus connections are accepted for one
response each, which must be in memory. So probes are answered whatever other clients do.

A connection that has never sent a whole request counts as idle for a minute longer than it is, so
silent connections are closed before clients that pause. If all idle connections are new or were
answered just now, new ones wait in the backlog for a moment.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from fibcommon.service.admission import (
    NEWCOMER_SECONDS,
    UNSERVED_SECONDS,
    IdleVictims,
    ReadingPace,
)

__all__ = ["SURPLUS_CONNECTIONS", "Admission", "Admittable", "Verdict"]

SURPLUS_CONNECTIONS = 32


PAUSE_SECONDS = 5.0
"""A client that was served is closed after a shorter pause only if there is no other choice."""


class Verdict(Enum):
    """What to do with a new connection."""

    SERVE = auto()
    SERVE_ONCE = auto()
    """Send it one response, if that is in memory."""
    WAIT = auto()
    """Leave it in the backlog until other new connections had time to send a request."""
    REFUSE = auto()


class Admittable(Protocol):
    """A connection."""

    pace: ReadingPace | None
    was_served: bool
    """Whether it has ever sent a whole request."""

    @property
    def idle_since(self) -> float | None:
        """Since when no whole request has been under way; None if one is."""

    def handle_close(self) -> None:
        """Close it."""


Connection = TypeVar("Connection", bound=Admittable)


class Admission(Generic[Connection]):
    """Decides on new connections.

    Attributes:
        cut_off: how many connections were closed for others, by reason: `idle`, `slow`, or
            `memory` (counted here by the connection itself).
        rejected: how many new connections were refused.
    """

    def __init__(
        self,
        max_clients: int,
        count: Callable[[], int],
        connections: Callable[[], Iterable[Connection]],
        clock: Callable[[], float],
    ) -> None:
        """Create an admission policy.

        Args:
            max_clients: how many connections there may be, surplus ones aside.
            count: returns how many there are.
            connections: returns all of them.
            clock: returns the time, monotonic, in seconds.
        """
        self.cut_off = Counter(idle=0, slow=0, memory=0)
        self.rejected = 0
        self._max_clients = max_clients
        self._count = count
        self._connections = connections
        self._clock = clock
        self._waited_at = self._full_until = float("-inf")
        self._victims = IdleVictims(connections, self._idle_since)

    def _idle_since(self, connection: Connection) -> float | None:
        since = connection.idle_since
        if since is None:
            return None
        idle_seconds = self._clock() - since
        if connection.was_served:
            return since if idle_seconds >= PAUSE_SECONDS else None
        return since - UNSERVED_SECONDS if idle_seconds >= NEWCOMER_SECONDS else None

    @property
    def is_full(self) -> bool:
        """Whether a connection has to be closed for the next one."""
        return self._count() >= self._max_clients

    def admit(self) -> Verdict:
        """Decide on a new connection; close another one if need be."""
        if not self.is_full:
            return Verdict.SERVE
        if self._clock() < self._full_until:
            return self._surplus()
        if self.make_room():
            return Verdict.SERVE
        idle = [each for each in self._connections() if each.idle_since is not None]
        if any(not each.was_served for each in idle):
            return Verdict.WAIT  # in a moment those that are still silent may be closed
        if idle and self._clock() - self._waited_at > 2 * NEWCOMER_SECONDS:
            self._waited_at = self._clock()
            return Verdict.WAIT
        if idle:
            self._close(min(idle, key=lambda each: each.idle_since or 0.0), "idle")
            return Verdict.SERVE
        self._full_until = self._clock() + NEWCOMER_SECONDS  # a pass over all costs milliseconds
        return self._surplus()

    def _surplus(self) -> Verdict:
        if self._count() < self._max_clients + SURPLUS_CONNECTIONS:
            return Verdict.SERVE_ONCE
        self.rejected += 1
        return Verdict.REFUSE

    def make_room(self) -> bool:
        """Close the longest idle connection or the slowest reader; return whether one was."""
        victim, reason = self._victims.pop(), "idle"
        if victim is None:
            victim, reason = self._slowest(), "slow"
        if victim is None:
            return False
        self._close(victim, reason)
        return True

    def _close(self, victim: Connection, reason: str) -> None:
        self.cut_off[reason] += 1
        victim.handle_close()

    def _slowest(self) -> Connection | None:
        """Return the slowest reader below the minimum rate, or None."""
        slow = [
            (connection.pace.bytes_per_second, connection)
            for connection in self._connections()
            if connection.pace is not None and connection.pace.is_slow
        ]
        return min(slow, key=lambda pair: pair[0])[1] if slow else None
