"""The event loop: which descriptor is whose, and what time it is.

A thin layer over epoll. Descriptors: workers are forked from this process, also long after its
start, and inherit every descriptor until they close them. So whatever is watched is unwatched
before it is closed: epoll would go on reporting a file that another process still holds.

Signals: Python's handlers run between byte codes, so they do nothing; the wake-up descriptor
carries the number of the signal into the loop, where it is an event like any other.
"""

import os
import signal
import time
from collections.abc import Callable
from select import EPOLLIN, epoll

__all__ = ["EventLoop", "SignalPipe"]


class EventLoop:
    """Descriptors and their handlers.

    Attributes:
        now: the time of this turn, monotonic, in seconds.
    """

    def __init__(self) -> None:
        self.now = time.monotonic()
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, handler: Callable[[int], None], events: int = EPOLLIN) -> None:
        """Have a handler called with what epoll reports of a descriptor.

        Raises:
            OSError: the kernel has no room to watch it.
        """
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def watch_for(self, fd: int, events: int) -> None:
        """Watch a descriptor for other events than so far."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor that is about to be closed."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def turn(self, timeout_seconds: float) -> None:
        """Wait for events, at most so long, and have each handled."""
        events = self._epoll.poll(max(0.0, timeout_seconds))
        self.now = time.monotonic()
        for fd, event in events:
            handler = self._handlers.get(fd)
            if handler is not None:  # else closed earlier in this turn
                handler(event)

    def close(self) -> None:
        """Close the epoll set."""
        self._epoll.close()


class SignalPipe:
    """Signals as bytes in a pipe, while this context lasts."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        """Prepare to catch the signals of these numbers."""
        self._numbers = numbers
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come, at least one."""
        return [signal.Signals(number) for number in os.read(self._reader, 64)]

    def __enter__(self) -> "SignalPipe":
        self._previous = {
            number: signal.signal(number, lambda *_: None) for number in self._numbers
        }
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)
