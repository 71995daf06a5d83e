"""Who may make a request now, and who waits: so many at a time, in the order of arrival.

A place is handed from who leaves to who has waited longest. If it were merely free for the next
who looks (as with threading.Semaphore), a thread that makes one call after another would take
its own place again and again, and others might wait until their time is over.
"""

import threading
import time
from collections import deque

from fibclient.errors import ClientClosed, DeadlineExceeded

__all__ = ["Places"]


class Places:
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
        self._lock = threading.RLock()  # `fibclient.pool` says why
        self.taken = 0
        self._line: deque[threading.Lock] = deque()  # each waits for a lock of its own
        self._is_closed = False

    def take(self, deadline: float) -> None:
        """Take a place; wait for one if there is none.

        Args:
            deadline: monotonic, in seconds.

        Raises:
            DeadlineExceeded: there was none in time.
            ClientClosed: `close` was called.
        """
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self._is_closed:
                raise ClientClosed("the client is closed")
            if self.taken < self._size:
                self.taken += 1
                return
            self._line.append(turn)
        has_place = False
        try:
            has_place = turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
        finally:
            if not has_place:
                self._give_up(turn)
        if not has_place:
            raise DeadlineExceeded(f"all {self._size} connections were busy for too long")
        if self._is_closed:
            self.leave()
            raise ClientClosed("the client is closed")

    def _give_up(self, turn: threading.Lock) -> None:
        with self._lock:
            if turn in self._line:
                self._line.remove(turn)
                return
        self.leave()  # a place came at the last moment

    def leave(self) -> None:
        """Hand a place over, or leave it free."""
        with self._lock:
            if self._line:
                self._line.popleft().release()
            else:
                self.taken -= 1

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
                self._line.popleft().release()
