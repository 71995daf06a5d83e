"""Admission: which connections there may be, and which is closed to make room for another.

Connections are bounded by a setting and by the limit of open files. When there are as many as
there may be, the one that has been idle for longest gives way to a newcomer; if none is idle, the
slowest of those that hardly read. If none of these is to be had either, a few surplus connections
are taken for one answer each, which must be in memory: so probes are answered whatever others do.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from fibclient.service.admission import IdleVictims, ReadingPace

__all__ = ["SURPLUS_CONNECTIONS", "Admission", "Admittable", "Verdict"]

SURPLUS_CONNECTIONS = 32


class Verdict(Enum):
    """What to do with a newcomer."""

    SERVE = auto()
    SERVE_ONCE = auto()
    """Give it one answer, if that is in memory."""
    REFUSE = auto()


class Admittable(Protocol):
    """A connection."""

    pace: ReadingPace | None

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
    ) -> None:
        """Take what tells of the connections.

        Args:
            max_clients: how many there may be, surplus ones aside.
            count: returns how many there are.
            connections: returns all of them.
        """
        self.cut_off = Counter(idle=0, slow=0, memory=0)
        self.rejected = 0
        self._max_clients = max_clients
        self._count = count
        self._connections = connections
        self._idle = IdleVictims(connections, lambda connection: connection.idle_since)

    def admit(self) -> Verdict:
        """Decide on a newcomer, and make room for it if need be."""
        surplus = self._count() - self._max_clients
        if surplus < 0 or self.make_room():
            return Verdict.SERVE
        if surplus < SURPLUS_CONNECTIONS:
            return Verdict.SERVE_ONCE
        self.rejected += 1
        return Verdict.REFUSE

    def make_room(self) -> bool:
        """Close the connection that can best be spared; return whether there is one."""
        victim, reason = self._idle.pop(), "idle"
        if victim is None:
            victim, reason = self._slowest(), "slow"
        if victim is None:
            return False
        self.cut_off[reason] += 1
        victim.handle_close()
        return True

    def _slowest(self) -> Connection | None:
        """Return the slowest of those readers that are slow enough to be cut off."""
        slow = [
            (connection.pace.bytes_per_second, connection)
            for connection in self._connections()
            if connection.pace is not None and connection.pace.is_slow
        ]
        return min(slow, key=lambda pair: pair[0])[1] if slow else None
