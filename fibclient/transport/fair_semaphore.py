"""Who may make a request now, and who waits: so many at a time, in the order of arrival.

A place is handed from who leaves to who has waited longest. If it were merely free for the next
who looks (as with threading.Semaphore), a thread that makes one call after another would take
its own place again and again, and others might wait until their time is over.
"""

import threading
import time
from collections import deque
from functools import partial

from fibclient.cancellation import Cancellation, notified, raise_if_cancelled
from fibclient.errors import ClientClosed, DeadlineExceeded

__all__ = ["FairSemaphore"]


class _Waiter:
    """A thread in line.

    Attributes:
        wake: released when there is no more reason to wait.
        has_place: whether that was since it was handed a place.
    """

    __slots__ = ("has_place", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.has_place = False


class FairSemaphore:
    """So many places; for any thread.

    Attributes:
        taken: how many are taken now.
    """

    def __init__(self, size: int) -> None:
        """Start with all of them free.

        Args:
            size: >= 1.
        """
        self._size = size
        self._lock = threading.RLock()  # `fibclient.transport.pool` says why
        self.taken = 0
        self._line: deque[_Waiter] = deque()
        self._is_closed = False

    def take(self, deadline: float, cancellation: Cancellation | None = None) -> None:
        """Take a place; wait for one if there is none.

        Args:
            deadline: monotonic, in seconds.
            cancellation: ends the wait.

        Raises:
            DeadlineExceeded: there was none in time.
            ClientClosed: `close` was called.
            CallCancelled: the cancellation was.
        """
        with self._lock:
            if self._is_closed:
                raise ClientClosed("the client is closed")
            if self.taken < self._size:
                self.taken += 1
                return
            waiter = _Waiter()
            self._line.append(waiter)
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
        raise DeadlineExceeded(f"all {self._size} connections were busy for too long")

    def _dismiss(self, waiter: _Waiter) -> bool:
        """Take a waiter out of the line; return whether it was in there, and got no place."""
        with self._lock:
            if waiter not in self._line:
                return False
            self._line.remove(waiter)
            waiter.wake.release()
            return True

    def _give_up(self, waiter: _Waiter) -> None:
        if not self._dismiss(waiter) and waiter.has_place:
            self.leave()

    def leave(self) -> None:
        """Hand a place over, or leave it free."""
        with self._lock:
            if self._line:
                self._hand_over()
            else:
                self.taken -= 1

    def _hand_over(self) -> None:
        waiter = self._line.popleft()
        waiter.has_place = True
        waiter.wake.release()

    def load(self) -> tuple[int, int]:
        """Return how many places are taken, and how many wait for one."""
        with self._lock:
            return self.taken, len(self._line)

    def close(self) -> None:
        """Wake whoever waits; nobody gets a place any more."""
        with self._lock:
            self._is_closed = True
            self.taken += len(self._line)
            while self._line:
                self._hand_over()
