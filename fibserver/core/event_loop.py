"""Event loop: dispatches epoll events to handlers and keeps the time of the iteration.

Every descriptor must be unregistered before it is closed. Workers are forked from this process at
any time and inherit its descriptors until they close them, and epoll keeps reporting a file that
any process holds open. Signals arrive through a descriptor as well (`fibcommon.service.signals`).
"""

import time
from collections.abc import Callable
from select import EPOLLIN, epoll

from fibserver.core.client_limits import LoopBudget

__all__ = ["EventLoop"]


class EventLoop:
    """Registered descriptors and their handlers.

    Attributes:
        now: Start of this iteration, monotonic, in seconds.
        since: When the event being handled was reported: `now`, or earlier if it was queued.
        budget: Time budget of this iteration.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the epoll descriptor.

        Args:
            clock: Returns the monotonic time in seconds.
        """
        self.now = self.since = clock()
        self.budget = LoopBudget(clock)
        self._clock = clock
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def register(self, fd: int, handler: Callable[[int], None], events: int = EPOLLIN) -> None:
        """Call `handler(events)` when epoll reports events on `fd`.

        Raises:
            OSError: The kernel cannot register another descriptor.
        """
        self._handlers[fd] = handler
        try:
            self._epoll.register(fd, events)
        except BaseException:
            del self._handlers[fd]
            raise

    def modify(self, fd: int, events: int) -> None:
        """Change the events that a descriptor is registered for."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Remove a descriptor; call this before closing it."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def run_once(self, timeout_seconds: float) -> None:
        """Run one iteration: wait for events up to the timeout, and call their handlers."""
        events = self._epoll.poll(max(0.0, timeout_seconds))
        self.now = self.since = self._clock()
        self.budget.start_iteration(self.now)
        for fd, event in events:
            handler = self._handlers.get(fd)
            if handler is not None:  # else unregistered earlier in this iteration
                handler(event)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
