"""Admission of connections: their number, the longest idle ones, and the rate of readers.

Both services bound their connections in the same way. At the bound, a new connection replaces the
one that has been idle for longest, but none with a request in flight. A reader is disconnected
only at a bound, and only if it read less than 4 KB/s over the last half minute, so a paused
download on an idle server survives.

The rate of a reader is that of the bytes that its kernel has acknowledged. The return value of
`send` is no measure of it: the kernel buffers some megabytes, which is minutes of slow reading.
"""

import fcntl
import heapq
import logging
import resource
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = [
    "NEWCOMER_SECONDS",
    "SLOW_BYTES_PER_SECOND",
    "UNSERVED_SECONDS",
    "WINDOW_SECONDS",
    "IdleConnections",
    "ReadRate",
    "affordable_connections",
    "unacknowledged_bytes",
]

log = logging.getLogger(__name__)

SLOW_BYTES_PER_SECOND = 4096
WINDOW_SECONDS = 30.0
"""Minimum rate of a reader at a bound, and the period over which it is measured."""

NEWCOMER_SECONDS = 0.1
"""A new connection has this long to send a request before it may be closed for another."""

UNSERVED_SECONDS = 60.0
"""Added to the idle time of a connection that has never sent a whole request, so that silent
connections are closed before clients that pause."""

BATCH_SHARE = 16
MAX_BATCH = 64
"""A scan returns a sixteenth of the idle connections, at most this many. Larger batches would mean
fewer scans, but outdated results."""

Connection = TypeVar("Connection")


def affordable_connections(wanted: int, reserve: int, setting: str) -> int:
    """Raise the limit of open files as needed; return how many connections it allows.

    Args:
        wanted: Configured number of connections, >= 1.
        reserve: Number of descriptors that the process needs for other purposes.
        setting: Name of the setting that `wanted` comes from, for the log.

    Returns:
        At most `wanted`; at least a quarter of the limit, however low that is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + reserve
    if soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError) as error:
            log.warning("cannot raise the limit of open files to %s: %s", raised, error)
    affordable = min(wanted, max(1, soft // 4, soft - reserve))
    if affordable < wanted:
        log.warning(
            "%s lowered to %s by the limit of open files, %s: raise that with LimitNOFILE= of the "
            "unit, or ulimit -n",
            *(setting, affordable, soft),
        )
    return affordable


class IdleConnections(Generic[Connection]):
    """Finder of the connection that has been idle for longest, without a full scan each time."""

    def __init__(
        self,
        connections: Callable[[], Iterable[Connection]],
        idle_since: Callable[[Connection], float | None],
    ) -> None:
        """Create a finder.

        Args:
            connections: Returns all open connections.
            idle_since: Returns when a connection became idle, on a monotonic clock; None if it is
                closed or must not be closed now, as with a request in flight.
        """
        self._connections = connections
        self._idle_since = idle_since
        self._found: Iterator[tuple[float, Connection]] = iter(())

    def pop(self) -> Connection | None:
        """Return the connection that has been idle for longest, or None if none is idle."""
        return self._next() or self._scan()

    def _next(self) -> Connection | None:
        for since, connection in self._found:
            if self._idle_since(connection) == since:  # else it was used or closed
                return connection
        return None

    def _scan(self) -> Connection | None:
        idle = [
            (since, connection)
            for connection in self._connections()
            if (since := self._idle_since(connection)) is not None
        ]
        batch = min(MAX_BATCH, 1 + len(idle) // BATCH_SHARE)
        self._found = iter(heapq.nsmallest(batch, idle, key=lambda pair: pair[0]))
        return self._next()


class ReadRate:
    """Rate at which a peer reads.

    Attributes:
        bytes_per_second: Rate over the last complete window; infinite before the first.
    """

    __slots__ = ("_acknowledged", "_since", "bytes_per_second")

    def __init__(self, now: float, acknowledged: int) -> None:
        """Start a measurement.

        Args:
            now: Monotonic time in seconds.
            acknowledged: Number of bytes that the peer has acknowledged so far.
        """
        self._since = now
        self._acknowledged = acknowledged
        self.bytes_per_second = float("inf")

    def sample(self, now: float, acknowledged: int) -> None:
        """Record the number of bytes acknowledged so far. Call this every few seconds."""
        elapsed = now - self._since
        if elapsed >= WINDOW_SECONDS:
            self.bytes_per_second = (acknowledged - self._acknowledged) / elapsed
            self._since, self._acknowledged = now, acknowledged

    @property
    def is_slow(self) -> bool:
        """Whether the peer reads slowly enough to be disconnected at a bound."""
        return self.bytes_per_second < SLOW_BYTES_PER_SECOND


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Return the number of sent bytes that the kernel of the peer has not acknowledged.

    It is SIOCOUTQ of tcp(7) and unix(7), which has the same value as TIOCOUTQ.
    """
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return int(count)
