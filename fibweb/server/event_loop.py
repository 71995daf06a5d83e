"""The event loop: waitress's map of connections, with epoll(7) behind it.

Waitress's own loop asks every connection before every wait whether it wants to read or write, so a
thousand idle ones cost each request a millisecond. Here a connection says so when that changes.
"""

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from waitress import wasyncore

__all__ = ["Loop"]

EVENTS_PER_TURN = 64
"""So that what is left for the end of a turn does not wait for a crowd; the next time the kernel
begins with the others."""

log = logging.getLogger(__name__)

WORK_SECONDS_PER_TURN = 0.002
"""For requests that run the application: some twenty of them."""


class Loop(dict[int, Any]):
    """All that is waited for, by descriptor: waitress puts it in, and takes it out again.

    Attributes:
        turns: how often it has waited; a loop that hangs has no more of them.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.turns = 0
        self._epoll = select.epoll()
        self._wanted: dict[int, int] = {}
        self._rest: deque[Callable[[], None]] = deque()  # of this turn, or handed over
        self._work: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        # Reentrant, since a signal handler may ring while its own thread holds it.
        self._bell_lock = threading.RLock()
        self._is_closed = False

    def __setitem__(self, descriptor: int, dispatcher: Any) -> None:
        """Wait for something; it reads first."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._wanted[descriptor] = select.EPOLLIN
        super().__setitem__(descriptor, dispatcher)

    def __delitem__(self, descriptor: int) -> None:
        """Wait for something no longer; it is closed only after this."""
        self._epoll.unregister(descriptor)
        del self._wanted[descriptor]
        super().__delitem__(descriptor)

    def watch(self, descriptor: int) -> None:
        """Ask anew what is wanted of a descriptor; nothing if it is not here (any more).

        Args:
            descriptor: one whose wishes may have changed.
        """
        dispatcher = self.get(descriptor)
        if dispatcher is None:
            return
        wanted = select.EPOLLIN if dispatcher.readable() else 0
        if dispatcher.writable():
            wanted |= select.EPOLLOUT
        self.want(descriptor, wanted)

    def want(self, descriptor: int, events: int) -> None:
        """Wait for some events of a descriptor.

        Args:
            descriptor: one that is here.
            events: EPOLLIN, EPOLLOUT, both or none; EPOLLRDHUP has it closed at the peer's end.
        """
        if events != self._wanted[descriptor]:
            self._epoll.modify(descriptor, events)
            self._wanted[descriptor] = events

    def turn(self, seconds: float) -> None:
        """Wait until something happens, and see to it.

        Args:
            seconds: the longest wait.
        """
        wait_seconds = 0 if self._rest or self._work else seconds
        for descriptor, events in self._epoll.poll(wait_seconds, EVENTS_PER_TURN):
            dispatcher = self.get(descriptor)
            if descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif dispatcher is None:
                continue  # one before it has closed it
            elif events & select.EPOLLRDHUP and not events & select.EPOLLIN:
                dispatcher.handle_close()  # only those ask for this that do not wait for its end
            else:
                wasyncore.readwrite(dispatcher, events)
        self._do_some_work()
        while self._rest:
            _run(self._rest.popleft())
        self.turns += 1

    def _do_some_work(self) -> None:
        """Do what was put off, in order, for some milliseconds at the most.

        What is answered from a table is so never behind many requests that take longer.
        """
        end = time.monotonic() + WORK_SECONDS_PER_TURN
        work = self._work
        while work:
            _run(work.popleft())
            if time.monotonic() > end:
                return

    def defer(self, call: Callable[[], None]) -> None:
        """Call something after the events of this turn, or of a later one if there is too much.

        Args:
            call: what to do; it takes a fraction of a millisecond, and does not raise.
        """
        self._work.append(call)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have something done before the next wait; for what the loop calls.

        Args:
            call: what to do; it does not raise.
        """
        self._rest.append(call)

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        """Have something done by the event loop; for any thread.

        Args:
            call: what to do; it does not raise, and is left undone if the loop is closed.
        """
        self._rest.append(call)
        self.wake()

    def wake(self) -> None:
        """End the present wait, or the next one; for any thread, and for signal handlers."""
        with self._bell_lock:
            if not self._is_closed:
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Let go of the kernel's part."""
        with self._bell_lock:
            self._is_closed = True
        self._epoll.close()
        os.close(self._bell)


def _run(call: Callable[[], None]) -> None:
    """Call something that has no connection to close should it fail: the loop must go on."""
    try:
        call()
    except Exception:
        log.exception("the event loop goes on")
