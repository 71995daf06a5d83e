"""Probes of endpoints that are set aside, all by one thread, which ends when none is left.

Each endpoint is sent a PING at once, and again after growing pauses, until it replies. Probes run
side by side, so a hundred silent servers delay no probe of a live one.
"""

import os
import random
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fibclient.connections.connection import Connection
from fibclient.connections.endpoints import Endpoint
from fibclient.connections.resp import encode_request
from fibclient.errors import FibError, ServerUnreachable
from fibclient.transport.retry import Backoff

__all__ = ["Prober"]

BACKOFF = Backoff(base_seconds=0.1, cap_seconds=5.0)

REPLY_SECONDS = 0.5
"""For the rest of a reply whose first byte has come: others wait for their probes meanwhile."""

PING = encode_request("PING")


class Prober:
    """Probes the endpoints that it is given, on a thread of its own.

    Attributes:
        thread: while there is anything to probe.
    """

    def __init__(
        self,
        lock: threading.RLock,
        start: Callable[[Endpoint], Connection],
        end: Callable[[Connection, FibError | None], bool],
        is_over: Callable[[Endpoint], bool],
        timeout_seconds: float,
    ) -> None:
        """Take the steps of a probe; the thread starts with the first endpoint.

        Args:
            lock: of the pool: with one of its own each could wait for the other.
            start: starts to connect to an endpoint, or raises `ServerUnreachable`.
            end: takes back a connection and how its probe failed, if it did; returns whether its
                endpoint is back in use.
            is_over: returns whether an endpoint need not be probed any more.
            timeout_seconds: for connecting, and for the first byte of the reply.
        """
        self._lock = lock
        self._start = start
        self._end = end
        self._is_over = is_over
        self._timeout = timeout_seconds
        self._due: dict[Endpoint, float] = {}
        self._wake = -1
        self.thread: threading.Thread | None = None

    def add(self, endpoint: Endpoint) -> None:
        """Probe an endpoint from now on.

        Raises:
            RuntimeError: there is no thread to be had.
            OSError: there is no descriptor to be had.
        """
        with self._lock:
            if self.thread is None:
                self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                thread = threading.Thread(target=self._run, name="fibclient-probe", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    self.close_wake()
                    raise
                self.thread = thread
            self._schedule(endpoint)
            self.wake()

    def _schedule(self, endpoint: Endpoint) -> None:
        """Set the time of the next probe; the first after a success comes at once."""
        failures = endpoint.failures - 1
        pause = BACKOFF.pause_seconds(failures, random.random()) if failures > 0 else 0.0
        with self._lock:
            self._due[endpoint] = time.monotonic() + pause

    def wake(self) -> None:
        """Wake the thread, to check its endpoints."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close_wake(self) -> None:
        """Close the descriptor that wakes the thread; in a forked child the copy of it."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def _run(self) -> None:
        probes: dict[int, Connection] = {}
        try:
            while self._start_due(probes):
                self._wait(probes)
        except Exception:  # for want of memory, say
            with self._lock:
                # As where there is no thread: the next requests are the probes.
                for endpoint in self._due:
                    endpoint.recover()
                self._end_thread()
            for connection in probes.values():
                self._end(connection, None)

    def _end_thread(self) -> None:
        self._due = {}
        self.thread = None
        self.close_wake()

    def _start_due(self, probes: dict[int, Connection]) -> bool:
        """Start the probes whose time has come; return whether there is anything to wait for."""
        for endpoint in self._take_due():
            try:
                connection = self._start(endpoint)
            except FibError:
                self._schedule(endpoint)
            else:
                probes[connection.fileno()] = connection
        with self._lock:
            if probes or self._due:
                return True
            self._end_thread()
        return False

    def _take_due(self) -> list[Endpoint]:
        """Return the endpoints whose time has come; forget those that are over."""
        now = time.monotonic()
        with self._lock:
            due = [endpoint for endpoint, at in self._due.items() if at <= now]
            left = {endpoint: at for endpoint, at in self._due.items() if at > now}
            self._due = {each: at for each, at in left.items() if not self._is_over(each)}
            return [endpoint for endpoint in due if not self._is_over(endpoint)]

    def _wait(self, probes: dict[int, Connection]) -> None:
        """Wait until something can be done, and go on with the probes that it concerns."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for fd, connection in probes.items():
            poll.register(fd, select.POLLIN if connection.is_open else select.POLLOUT)
        with self._lock:
            times = [*self._due.values(), *(each.deadline for each in probes.values())]
        now = time.monotonic()
        ready = {fd for fd, _ in poll.poll(max(0.0, min(times, default=now) - now) * 1000)}
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for fd, connection in list(probes.items()):
            failure: FibError | None = None
            try:
                if not self._is_over(connection.endpoint) and not self._step(
                    connection, is_ready=fd in ready
                ):
                    continue
            except FibError as error:
                failure = error
            del probes[fd]
            if not self._end(connection, failure):
                self._schedule(connection.endpoint)

    def _step(self, connection: Connection, *, is_ready: bool) -> bool:
        """Go on with a probe as far as it goes now; return whether it was answered."""
        now = time.monotonic()
        if not is_ready:
            if now >= connection.deadline:
                raise ServerUnreachable(
                    f"nothing came from {connection.target} for {self._timeout:.3g} s"
                )
            return False
        if not connection.is_open:
            connection.finish_opening()
            connection.deadline = now + self._timeout
            connection.send(PING)
            return False
        connection.deadline = now + REPLY_SECONDS
        connection.read_reply()
        return True
