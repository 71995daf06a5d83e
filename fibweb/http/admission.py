"""Admission: which connections there may be, and which is closed to make room for another.

Connections are bounded by a setting and by the limit of open files. When there are as many as
there may be, the one that has been idle for longest gives way to a newcomer; if none is idle, the
slowest of those that hardly read. If none of these is to be had either, a few surplus connections
are taken for one answer each, which must be in memory: so probes are answered whatever others do.

A connection that has never sent a whole request counts as idle for a minute longer than it is, so
that a silent crowd gives way before clients that pause. Where all idle ones came or were answered
just now, newcomers wait a moment in the backlog, to see who asks something.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from fibclient.service.admission import (
    NEWCOMER_SECONDS,
    UNSERVED_SECONDS,
    IdleVictims,
    ReadingPace,
)

__all__ = ["SURPLUS_CONNECTIONS", "Admission", "Admittable", "Verdict"]

SURPLUS_CONNECTIONS = 32


PAUSE_SECONDS = 5.0
"""A client that has paused for less gives way only if nobody else does."""


class Verdict(Enum):
    """What to do with a newcomer."""

    SERVE = auto()
    SERVE_ONCE = auto()
    """Give it one answer, if that is in memory."""
    WAIT = auto()
    """Let it wait until those that have come just now had the time to send a request."""
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
    """Decides on newcomers.

    Attributes:
        cut_off: how many connections were closed for others, by reason: `idle`, `slow`, or
            `memory`, which whoever finds that out counts here.
        rejected: how many newcomers were refused.
    """

    def __init__(
        self,
        max_clients: int,
        count: Callable[[], int],
        connections: Callable[[], Iterable[Connection]],
        clock: Callable[[], float],
    ) -> None:
        """Take what tells of the connections.

        Args:
            max_clients: how many there may be, surplus ones aside.
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
        self._waited_at = float("-inf")
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
        """Whether somebody has to give way to the next newcomer."""
        return self._count() >= self._max_clients

    def admit(self) -> Verdict:
        """Decide on a newcomer, and make room for it if need be."""
        if not self.is_full or self.make_room():
            return Verdict.SERVE
        idle = [each for each in self._connections() if each.idle_since is not None]
        if idle and self._clock() - self._waited_at > 2 * NEWCOMER_SECONDS:
            self._waited_at = self._clock()
            return Verdict.WAIT
        if idle:
            self._close(min(idle, key=lambda each: each.idle_since or 0.0), "idle")
            return Verdict.SERVE
        if self._count() < self._max_clients + SURPLUS_CONNECTIONS:
            return Verdict.SERVE_ONCE
        self.rejected += 1
        return Verdict.REFUSE

    def make_room(self) -> bool:
        """Close the connection that can best be spared; return whether there is one."""
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
        """Return the slowest of those readers that are slow enough to be cut off."""
        slow = [
            (connection.pace.bytes_per_second, connection)
            for connection in self._connections()
            if connection.pace is not None and connection.pace.is_slow
        ]
        return min(slow, key=lambda pair: pair[0])[1] if slow else None
