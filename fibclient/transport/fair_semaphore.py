"""Fair semaphore: threads get permits in the order in which they asked.

A permit that is returned goes directly to the thread that has waited longest. With
`threading.Semaphore` any thread can take it: one that makes call after call would take its own
permit again and again, while others wait until their deadline.
"""

import threading
import time
from collections import deque
from functools import partial

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.errors import ClientClosed, DeadlineExceeded

__all__ = ["FairSemaphore"]


class _Waiter:
    """A waiting thread.

    Attributes:
        wake: Lock that is released to end the wait.
        has_permit: Whether the thread was given a permit.
    """

    __slots__ = ("has_permit", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.has_permit = False


class FairSemaphore:
    """Thread-safe counting semaphore that is fair.

    Attributes:
        acquired: Number of permits acquired now.
    """

    def __init__(self, size: int) -> None:
        """Create a semaphore whose permits are all free.

        Args:
            size: Number of permits, >= 1.
        """
        self._size = size
        self._lock = threading.RLock()  # reentrant: see `fibclient.transport.pool`
        self.acquired = 0
        self._waiters: deque[_Waiter] = deque()
        self._is_closed = False

    def acquire(self, deadline: float, cancellation: Cancellation | None = None) -> None:
        """Acquire a permit; wait until there is one.

        Args:
            deadline: Monotonic deadline of the wait.
            cancellation: Ends the wait when it is cancelled.

        Raises:
            DeadlineExceeded: No permit was free before the deadline.
            ClientClosed: `close` was called.
            CallCancelled: `cancellation` was cancelled.
        """
        with self._lock:
            if self._is_closed:
                raise ClientClosed("the client is closed")
            if self.acquired < self._size:
                self.acquired += 1
                return
            waiter = _Waiter()
            self._waiters.append(waiter)
        try:
            with notified(cancellation, partial(self._dismiss, waiter)):
                raise_if_cancelled(cancellation)
                waiter.wake.acquire(timeout=max(0.0, deadline - time.monotonic()))
            raise_if_cancelled(cancellation)
        except BaseException:
            self._give_up(waiter)
            raise
        if self._is_closed:
            self._give_up(waiter)
            raise ClientClosed("the client is closed")
        if not self._dismiss(waiter):
            return
        raise DeadlineExceeded(
            f"connection pool exhausted: all {self._size} connections busy until the deadline; "
            "raise max_connections"
        )

    def _dismiss(self, waiter: _Waiter) -> bool:
        """Remove a waiter from the queue and wake it; return False if it was not in the queue."""
        with self._lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            waiter.wake.release()
            return True

    def _give_up(self, waiter: _Waiter) -> None:
        if not self._dismiss(waiter) and waiter.has_permit:
            self.release()

    def release(self) -> None:
        """Release a permit; the thread that has waited longest gets it."""
        with self._lock:
            if self._waiters:
                self._grant_next()
            else:
                self.acquired -= 1

    def _grant_next(self) -> None:
        waiter = self._waiters.popleft()
        waiter.has_permit = True
        waiter.wake.release()

    def usage(self) -> tuple[int, int]:
        """Return the numbers of permits acquired and of threads waiting."""
        with self._lock:
            return self.acquired, len(self._waiters)

    def close(self) -> None:
        """Wake all waiting threads; they and later ones raise `ClientClosed`."""
        with self._lock:
            self._is_closed = True
            self.acquired += len(self._waiters)
            while self._waiters:
                self._grant_next()
