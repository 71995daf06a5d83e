"""Probes of endpoints that are down, on one thread that ends when none is left.

Each endpoint gets a PING at once, and more after growing delays, until it replies. Probes run
concurrently, so a hundred silent servers do not delay the probe of a live one.
"""

import os
import random
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fibclient.connections.connection import Connection
from fibclient.connections.endpoint import Endpoint
from fibclient.connections.resp import encode_request
from fibclient.errors import FibError, ServerUnreachable
from fibclient.transport.retry import Backoff

__all__ = ["Prober"]

BACKOFF = Backoff(base_seconds=0.1, cap_seconds=5.0)

REPLY_SECONDS = 0.5
"""Timeout for the rest of a reply after its first byte: reading it blocks the other probes."""

PING = encode_request("PING")


class Prober:
    """Probes endpoints on a thread of its own.

    Attributes:
        thread: The thread; None while there is nothing to probe.
    """

    def __init__(
        self,
        lock: threading.RLock,
        start: Callable[[Endpoint], Connection],
        end: Callable[[Connection, FibError | None], bool],
        is_over: Callable[[Endpoint], bool],
        timeout_seconds: float,
    ) -> None:
        """Create a prober; its thread starts with the first endpoint.

        Args:
            lock: The pool's lock; a second lock could lead to a deadlock.
            start: Starts to connect to an endpoint, or raises a `FibError`.
            end: Takes back a connection, and the error of its probe if that failed; returns
                whether the server is alive.
            is_over: Returns whether an endpoint need not be probed any more.
            timeout_seconds: Timeout for connecting, and for the first byte of the reply.
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
        """Probe an endpoint until it replies.

        Raises:
            RuntimeError: No thread can be started.
            OSError: No descriptor is left.
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
        """Schedule the next probe; the first one after a successful request is due at once."""
        failures = endpoint.failures - 1
        pause = BACKOFF.pause_seconds(failures, random.random()) if failures > 0 else 0.0
        with self._lock:
            self._due[endpoint] = time.monotonic() + pause

    def wake(self) -> None:
        """Wake the thread so that it checks its endpoints."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close_wake(self) -> None:
        """Close the descriptor that wakes the thread, or its copy in a forked child."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def _run(self) -> None:
        probes: dict[int, Connection] = {}
        try:
            while self._start_due(probes):
                self._wait(probes)
        except Exception:  # such as a MemoryError
            with self._lock:
                # As where no thread can be started: the next requests are the probes.
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
        """Start the probes that are due; return whether there is anything to wait for."""
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
        """Return the endpoints that are due; drop those that need no more probes."""
        now = time.monotonic()
        with self._lock:
            due = [endpoint for endpoint, at in self._due.items() if at <= now]
            later = {endpoint: at for endpoint, at in self._due.items() if at > now}
            self._due = {
                endpoint: at for endpoint, at in later.items() if not self._is_over(endpoint)
            }
            return [endpoint for endpoint in due if not self._is_over(endpoint)]

    def _wait(self, probes: dict[int, Connection]) -> None:
        """Wait for an event or a timeout, then advance the probes concerned."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for fd, connection in probes.items():
            poll.register(fd, select.POLLIN if connection.is_open else select.POLLOUT)
        with self._lock:
            times = [*self._due.values(), *(probe.deadline for probe in probes.values())]
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
        """Advance a probe; return whether the server has replied.

        It waits only for the rest of a reply that has begun.

        Raises:
            FibError: The probe failed.
        """
        now = time.monotonic()
        if not is_ready:
            if now >= connection.deadline:
                raise ServerUnreachable(
                    f"nothing received from {connection.target} for {self._timeout:.3g} s"
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
