"""Event loop on epoll(7).

Waitress's own loop polls every connection before every wait for the events it needs, so a thousand
idle connections cost each request a millisecond. Here connections report changes of these events.
"""

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Handler", "Loop", "Worker"]

EVENTS_PER_ITERATION = 64
"""Maximum number of events per iteration, so that calls queued for its end are not delayed. The
kernel reports the remaining events first the next time."""

log = logging.getLogger(__name__)

WORK_SECONDS_PER_ITERATION = 0.002
"""Time limit for deferred calls per iteration: enough to run the application about 20 times."""


class Handler(Protocol):
    """Owner of a descriptor."""

    def handle_events(self, events: int) -> None:
        """Handle events of epoll."""

    def handle_error(self) -> None:
        """Handle the exception that `handle_events` has raised; called in an `except` clause."""


class Worker(Protocol):
    """Owner of deferred work."""

    def handle_turn(self) -> None:
        """Do the work; takes milliseconds at most."""

    def end_turn(self) -> None:
        """Send the results of the work, after that of others has been done too."""

    def handle_error(self) -> None:
        """Handle the exception that another method has raised; called in an `except` clause."""


class Loop:
    """Event loop.

    Attributes:
        iterations: Number of iterations; it stops growing if the loop hangs.
    """

    def __init__(self) -> None:
        """Open the epoll instance and the descriptor that wakes it."""
        self.iterations = 0
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._wanted: dict[int, int] = {}
        self._calls: deque[Callable[[], object]] = deque()
        self._deferred: deque[Worker] = deque()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        # Reentrant: a signal handler may call `wake` while its own thread holds the lock.
        self._wakeup_lock = threading.RLock()
        self._is_closed = False

    def register(self, descriptor: int, handler: Handler) -> None:
        """Register a handler for input on a descriptor.

        Raises:
            OSError: The kernel is out of memory.
        """
        self._epoll.register(descriptor, select.EPOLLIN)
        self._wanted[descriptor] = select.EPOLLIN
        self._handlers[descriptor] = handler

    def unregister(self, descriptor: int) -> None:
        """Unregister a handler; its descriptor must still be open."""
        self._epoll.unregister(descriptor)
        del self._wanted[descriptor], self._handlers[descriptor]

    def set_events(self, descriptor: int, events: int) -> None:
        """Set the events to wait for on a descriptor.

        Args:
            descriptor: A registered descriptor.
            events: Events of epoll; it reports EPOLLHUP and EPOLLERR in any case.

        Raises:
            OSError: The kernel is out of memory.
        """
        if events != self._wanted[descriptor]:
            self._epoll.modify(descriptor, events)
            self._wanted[descriptor] = events

    def run_once(self, seconds: float) -> None:
        """Run one iteration: wait for events, handle them, then the calls and deferred work.

        Args:
            seconds: Longest wait; there is none if work is left.
        """
        wait_seconds = 0 if self._calls or self._deferred else seconds
        for descriptor, events in self._epoll.poll(wait_seconds, EVENTS_PER_ITERATION):
            handler = self._handlers.get(descriptor)
            if handler is not None:  # else it was closed while an earlier event was handled
                try:
                    handler.handle_events(events)
                except Exception:
                    handler.handle_error()
            elif descriptor == self._wakeup:
                os.eventfd_read(self._wakeup)
        for _ in range(len(self._calls)):
            try:
                self._calls.popleft()()
            except Exception:
                log.exception("exception in a callback of the event loop")
        if self._deferred:
            self._run_deferred()
        self.iterations += 1

    def _run_deferred(self) -> None:
        """Do deferred work in order until the time limit, then send its results together.

        So a cached response never waits for many requests that run the application.
        """
        end = time.monotonic() + WORK_SECONDS_PER_ITERATION
        deferred, done = self._deferred, []
        while deferred:
            worker = deferred.popleft()
            try:
                worker.handle_turn()
                done.append(worker)
            except Exception:
                worker.handle_error()
            if time.monotonic() > end:
                break
        for worker in done:
            try:
                worker.end_turn()
            except Exception:
                worker.handle_error()

    def defer(self, worker: Worker) -> None:
        """Call `handle_turn` after the events of this iteration, or of a later one under load."""
        self._deferred.append(worker)

    def call_soon_threadsafe(self, call: Callable[[], object]) -> None:
        """Call a function on the event loop unless that is closed; for any thread.

        Args:
            call: Function that takes milliseconds at most.
        """
        self._calls.append(call)
        self.wake()

    def wake(self) -> None:
        """End the current wait or the next one; for any thread and for signal handlers."""
        with self._wakeup_lock:
            if not self._is_closed:
                os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Close the descriptors of the loop."""
        with self._wakeup_lock:
            self._is_closed = True
        self._epoll.close()
        os.close(self._wakeup)
