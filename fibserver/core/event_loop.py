"""The event loop: which descriptor is whose, and what time it is.

A thin layer over epoll. Descriptors: workers are forked from this process, also long after its
start, and inherit every descriptor until they close them. So whatever is watched is unwatched
before it is closed: epoll would go on reporting a file that another process still holds. Signals
are a descriptor like any other (`fibcommon.service.signals`).
"""

import time
from collections.abc import Callable
from select import EPOLLIN, epoll

from fibserver.core.overload import LoopBudget

__all__ = ["EventLoop"]


class EventLoop:
    """Descriptors and their handlers.

    Attributes:
        now: the time of this turn, monotonic, in seconds.
        since: when the loop learnt of what it handles: `now`, or earlier for what had to queue.
        budget: the time of this turn, and who may still use it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Open an epoll set.

        Args:
            clock: monotonic, in seconds.
        """
        self.now = self.since = clock()
        self.budget = LoopBudget(clock)
        self._clock = clock
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def register(self, fd: int, handler: Callable[[int], None], events: int = EPOLLIN) -> None:
        """Have a handler called with what epoll reports of a descriptor.

        Raises:
            OSError: the kernel has no room to watch it.
        """
        self._handlers[fd] = handler
        try:
            self._epoll.register(fd, events)
        except BaseException:
            del self._handlers[fd]
            raise

    def modify(self, fd: int, events: int) -> None:
        """Watch a descriptor for other events than so far."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget a descriptor that is about to be closed."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def turn(self, timeout_seconds: float) -> None:
        """Wait for events, at most so long, and have each handled."""
        events = self._epoll.poll(max(0.0, timeout_seconds))
        self.now = self.since = self._clock()
        self.budget.start_turn(self.now)
        for fd, event in events:
            handler = self._handlers.get(fd)
            if handler is not None:  # else closed earlier in this turn
                handler(event)

    def close(self) -> None:
        """Close the epoll set."""
        self._epoll.close()
