"""Cancellation of calls by another thread.

A `Cancellation` wakes the threads that run a call, wherever they wait, and never waits for them:
an event loop may cancel. Waits are of two kinds, which differ in what a late wake-up does:

- A wait for a socket ends by `shutdown`. Late, it would break the connection of another call, so
  it runs under the lock that `unwatch` takes. It takes no other lock itself: a thread that holds
  one may be the one that calls `unwatch`, through the garbage collector
  (`fibclient.transport.pool`).
- A wait for another thread ends by a notification, which takes that wait's lock for a moment.
  Late, it does nothing, so it runs without the lock.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from fibclient.errors import CallCancelled, FibError

__all__ = ["Cancellation", "Interruptible", "as_cancelled", "notified", "raise_if_cancelled"]


class Interruptible(Protocol):
    """A connection in use by a call."""

    def interrupt(self) -> None:
        """Wake the thread that waits for it, without taking a lock."""


class Cancellation:
    """A token that ends the calls it is given to: they raise `CallCancelled`.

    Attributes:
        is_cancelled: whether `cancel` was called; for ever, then.
    """

    __slots__ = ("_connections", "_lock", "_notifications", "is_cancelled")

    def __init__(self) -> None:
        """Create a token that is not cancelled."""
        self._lock = threading.RLock()
        self._connections: set[Interruptible] = set()
        self._notifications: list[Callable[[], object]] = []
        self.is_cancelled = False

    def cancel(self) -> None:
        """End all calls with this token, those made later too; callable from any thread."""
        with self._lock:
            self.is_cancelled = True
            for connection in self._connections:
                connection.interrupt()
            notifications = self._notifications.copy()
        for notify in notifications:
            notify()

    def watch(self, connection: Interruptible) -> None:
        """Interrupt a connection on `cancel`, or at once if that was called before."""
        with self._lock:
            self._connections.add(connection)
            if self.is_cancelled:
                connection.interrupt()

    def unwatch(self, connection: Interruptible) -> None:
        """Leave a connection alone from now on."""
        with self._lock:
            self._connections.discard(connection)

    @contextmanager
    def _notifying(self, notify: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._notifications.append(notify)
        try:
            yield
        finally:
            with self._lock:
                self._notifications.remove(notify)


def notified(
    cancellation: Cancellation | None, notify: Callable[[], object]
) -> AbstractContextManager[None]:
    """Return a context in which a cancellation calls `notify`, maybe a moment too late.

    The wait inside checks `is_cancelled` before it begins: the call may have come earlier.
    """
    return nullcontext() if cancellation is None else cancellation._notifying(notify)


def raise_if_cancelled(cancellation: Cancellation | None) -> None:
    """Raise `CallCancelled` if there is a token and it was cancelled."""
    if cancellation is not None and cancellation.is_cancelled:
        raise CallCancelled("the caller gave up")


def as_cancelled(error: BaseException, cancellation: Cancellation | None) -> BaseException:
    """Return what to raise for an error: an interruption looks like the server's fault."""
    if cancellation is None or not cancellation.is_cancelled or not isinstance(error, FibError):
        return error
    return CallCancelled("the caller gave up")
