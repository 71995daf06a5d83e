"""Cancellation of calls by another thread.

`Cancellation.cancel` wakes the threads that run its calls, wherever they wait, and does not wait
for them, so an event loop may call it. There are two kinds of waits:

- A wait for a socket is ended by `shutdown`. A late one would break the connection of another
  call, so it runs under the lock that `unwatch` takes. It takes no other lock: the thread that
  holds one may be calling `unwatch` from the garbage collector (see `fibclient.transport.pool`).
- A wait for another thread is ended by a notification, which briefly takes that wait's lock. A
  late one has no effect, so it runs without the lock of the `Cancellation`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from fibclient.errors import CallCancelled, FibError

__all__ = ["Cancellation", "Interruptible", "as_cancelled", "notified", "raise_if_cancelled"]


class Interruptible(Protocol):
    """A connection that a call uses."""

    def interrupt(self) -> None:
        """Wake the thread that waits for this connection, without taking a lock."""


class Cancellation:
    """A token that ends the calls it is passed to: they raise `CallCancelled`.

    Attributes:
        is_cancelled: Whether `cancel` was called; never reset.
    """

    __slots__ = ("_connections", "_lock", "_notifications", "is_cancelled")

    def __init__(self) -> None:
        """Create a token that is not cancelled."""
        self._lock = threading.RLock()
        self._connections: set[Interruptible] = set()
        self._notifications: list[Callable[[], object]] = []
        self.is_cancelled = False

    def cancel(self) -> None:
        """End all calls with this token, later ones included; callable from any thread."""
        with self._lock:
            self.is_cancelled = True
            for connection in self._connections:
                connection.interrupt()
            notifications = self._notifications.copy()
        for notify in notifications:
            notify()

    def watch(self, connection: Interruptible) -> None:
        """Interrupt `connection` on `cancel`, or now if that was called already."""
        with self._lock:
            self._connections.add(connection)
            if self.is_cancelled:
                connection.interrupt()

    def unwatch(self, connection: Interruptible) -> None:
        """Do not interrupt `connection` any more."""
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
    """Return a context in which a cancellation calls `notify`, possibly after the context ended.

    Check `is_cancelled` inside before waiting: `cancel` may have been called earlier.
    """
    return nullcontext() if cancellation is None else cancellation._notifying(notify)


def raise_if_cancelled(cancellation: Cancellation | None) -> None:
    """Raise `CallCancelled` if there is a token and it is cancelled."""
    if cancellation is not None and cancellation.is_cancelled:
        raise CallCancelled("the call was cancelled")


def as_cancelled(error: BaseException, cancellation: Cancellation | None) -> BaseException:
    """Return `CallCancelled` if the call was cancelled and `error` is a FibError, else `error`."""
    if cancellation is None or not cancellation.is_cancelled or not isinstance(error, FibError):
        return error
    return CallCancelled("the call was cancelled")
