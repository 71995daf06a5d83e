"""Connection pool for all endpoints of a client, shared by threads.

The pool decides under its lock and connects outside it. The most recently used connection is
reused first, so surplus ones become stale and are closed when that is detected. At most `size`
requests are in flight; further ones wait in order of arrival.

A thread probes all endpoints that are down, so a dead server costs only the requests that
found it dead. A failed connect does not fail the request while other endpoints are left.

The locks of this package are reentrant: the garbage collector may run at any allocation, also
under a lock, and collect an unfinished stream, which then returns its connection.
"""

import random
import threading
import time
from collections.abc import Callable, Set
from typing import NamedTuple

from fibclient.cancellation import Cancellation, as_cancelled, notified, raise_if_cancelled
from fibclient.connections.connecting import first_connected
from fibclient.connections.connection import Connection
from fibclient.connections.endpoint import Endpoint, EndpointState
from fibclient.errors import (
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    FibError,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
    SocketShortage,
)
from fibclient.transport.fair_semaphore import FairSemaphore
from fibclient.transport.load_balancing import Endpoints
from fibclient.transport.probing import Prober
from fibclient.transport.resolver import ResolverCache
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["ConnectionPool", "PoolOptions"]

AGE_JITTER = 0.25
"""Share of the maximum age over which the expiry of simultaneous connections is spread."""


class PoolOptions(NamedTuple):
    """Settings of a connection pool.

    Attributes:
        size: Maximum number of concurrent requests, >= 1.
        connect_timeout_seconds: Timeout for opening a connection.
        idle_timeout_seconds: Timeout of each wait for more bytes.
        max_age_seconds: Maximum age of a connection, so that clients follow changes in DNS.
        password: Password to send on each connection; None for none.
    """

    size: int
    connect_timeout_seconds: float
    idle_timeout_seconds: float
    max_age_seconds: float
    password: str | None


MAX_ERRORS = 5
"""Maximum number of errors in the message if no server can be reached."""


class ConnectionPool:
    """Pool of connections to all endpoints of a client.

    Attributes:
        connections_opened: Number of connections opened so far.
        has_several: Whether there is more than one endpoint, up or down.
    """

    def __init__(
        self,
        addresses: list[Address],
        options: PoolOptions,
        resolve: Callable[[Address], list[ResolvedAddress]],
    ) -> None:
        """Create a pool; it connects on first use.

        Args:
            addresses: Addresses of the servers, at least one.
            options: Settings.
            resolve: Resolves an address, or raises `ServerUnreachable`.
        """
        self._addresses = addresses
        self._options = options
        self._resolve = resolve
        self.reset()

    def reset(self) -> None:
        """Reset to the initial state, for a forked child."""
        self._lock = threading.RLock()
        self._permits = FairSemaphore(self._options.size)
        self._state_changed = threading.Condition(self._lock)  # of an endpoint or of the pool
        self._endpoints = Endpoints()
        self._idle: dict[Endpoint, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._prober = Prober(
            self._lock,
            self._start_probe,
            self._end_probe,
            self._is_over,
            self._options.connect_timeout_seconds,
        )
        self._is_closed = False
        self.connections_opened = 0
        self.has_several = False
        self._resolver = ResolverCache(
            self._state_changed, self._addresses, self._resolve, self._on_resolved
        )

    def after_fork(self) -> None:
        """Close the parent's connections without effect on the servers, and reset."""
        for connection in self._open:
            connection.close_after_fork()
        self._prober.close_wake()
        self.reset()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        addresses = ",".join(map(str, self._addresses))
        return (
            f"<ConnectionPool {addresses}: {self.usage()[0]} in use, {idle} idle, "
            f"at most {self._options.size}>"
        )

    def acquire(self, deadline: float, cancellation: Cancellation | None = None) -> Connection:
        """Return a connection; wait while too many requests are in flight.

        Args:
            deadline: Monotonic deadline of the call.
            cancellation: Cancellation of the call.

        Raises:
            ServerUnreachable: No connection could be opened, or the deadline was exceeded.
            ClientClosed: The pool is closed.
            CallCancelled: The call was cancelled.
        """
        self._permits.acquire(deadline, cancellation)
        try:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded("deadline exceeded before the request was sent")
            raise_if_cancelled(cancellation)
            connection = self._usable_idle(cancellation) or self._opened(deadline, cancellation)
        except BaseException:
            self._permits.release()
            raise
        connection.deadline = deadline
        connection.may_spin = self._permits.acquired == 1
        return connection

    def acquire_other(
        self, first: Connection, cancellation: Cancellation | None
    ) -> Connection | None:
        """Return a connection to another endpoint, to hedge a request.

        Args:
            first: Connection that waits for the reply; its permit covers both.
            cancellation: Cancellation of the call.

        Returns:
            A connection; one of the two must be passed to `drop`. None if no endpoint is
            available, or if the first has become readable meanwhile.
        """
        excluded = {first.endpoint}
        second = self._usable_idle(cancellation, excluded)
        if second is None:
            try:
                second = self._open_first(first.deadline, cancellation, excluded, first)
            except ServerUnreachable:
                return None
        if second is not None:
            second.deadline = first.deadline
            second.may_spin = False
        return second

    def _usable_idle(
        self, cancellation: Cancellation | None, excluded: Set[Endpoint] = frozenset()
    ) -> Connection | None:
        """Return a usable idle connection to the next endpoint, or None."""
        while True:
            with self._lock:
                endpoint = self._endpoints.choose(excluded)
                idle = self._idle.get(endpoint) if endpoint else None
                if not idle:
                    return None
                connection = idle.pop()
                self._endpoints.count_request(connection.endpoint)
            now = time.monotonic()
            if now < connection.expires_at and not connection.is_stale(now):
                if cancellation is not None:
                    self._watch(connection, cancellation)
                return connection
            self._drop(connection)

    def _watch(self, connection: Connection, cancellation: Cancellation) -> None:
        connection.cancellation = cancellation
        cancellation.watch(connection)

    def _unwatch(self, connection: Connection) -> None:
        if connection.cancellation is not None:
            connection.cancellation.unwatch(connection)
            connection.cancellation = None

    def _opened(self, deadline: float, cancellation: Cancellation | None = None) -> Connection:
        """Open a connection to the next endpoint, or to another if that fails."""
        connection = self._open_first(deadline, cancellation)
        assert connection is not None  # None is only for `watched`
        return connection

    def _open_first(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        excluded: Set[Endpoint] = frozenset(),
        watched: Connection | None = None,
    ) -> Connection | None:
        """Open a connection to the first endpoint that accepts one.

        Args:
            deadline: Monotonic deadline of the call.
            cancellation: Cancellation of the call.
            excluded: Endpoints that must not be used.
            watched: Connection whose next bytes end the attempts: None is returned. With it,
                None is also returned if no endpoint accepts.

        Raises:
            ServerUnreachable: No endpoint accepts a connection.
        """
        tried = {*excluded}
        failures: list[ServerUnreachable] = []

        def start_next() -> Connection | None:
            while True:
                raise_if_cancelled(cancellation)
                with self._lock:
                    endpoint = self._endpoints.choose(tried)
                if endpoint is None:
                    return None
                tried.add(endpoint)
                try:
                    connection = self._new_connection(endpoint)
                except SocketShortage as error:
                    failures.append(error)
                    return None  # wait for those being opened
                if cancellation is not None:
                    self._watch(connection, cancellation)
                try:
                    connection.start_opening()
                except ServerUnreachable as error:
                    fail(connection, error)
                else:
                    return connection

        def fail(connection: Connection, error: ServerUnreachable | None) -> None:
            if error is not None:
                failures.append(error)
            self._drop(connection, error and as_cancelled(error, cancellation))

        def is_enough() -> bool:
            return self._is_closed or self._endpoints.choose(tried) is not None

        timeout = self._options.connect_timeout_seconds
        connection = None
        while connection is None:
            if watched is None:  # resolving may take long, and cannot watch a connection
                self._resolver.refresh(deadline, is_enough, cancellation)
            connection = first_connected(start_next, fail, timeout, deadline, watched)
            if connection is None:
                if watched is not None:
                    return None
                if not self._resolver.is_pending:  # else a name may yet resolve to another server
                    shortages = [error for error in failures if isinstance(error, SocketShortage)]
                    raise (
                        (shortages or failures)[0]
                        if shortages or len(failures) == 1
                        else self._no_endpoint_error()
                    )
        age = self._options.max_age_seconds * (1 - AGE_JITTER * random.random())
        connection.expires_at = time.monotonic() + age
        with self._lock:
            self.connections_opened += 1
        return connection

    def _new_connection(self, endpoint: Endpoint) -> Connection:
        """Create and register a connection that is not open yet."""
        while True:
            options = self._options
            try:
                connection = Connection(endpoint, options.idle_timeout_seconds, options.password)
                break
            except SocketShortage:
                if not self._close_one_idle():
                    raise
            except ServerUnreachable as error:
                with self._lock:
                    self._mark_down(endpoint, error)
                raise
        with self._lock:
            # `close` finds it from here on.
            self._open.add(connection)
            self._endpoints.count_request(endpoint)
            is_closed = self._is_closed
        if is_closed:
            self._drop(connection)
            raise ClientClosed("the client is closed")
        return connection

    def _close_one_idle(self) -> bool:
        """Close an idle connection to free its descriptor; return False if there is none."""
        with self._lock:
            connection = next((idle.pop(0) for idle in self._idle.values() if idle), None)
        if connection is not None:
            self._close(connection)
        return connection is not None

    def _no_endpoint_error(self) -> ServerUnreachable:
        with self._lock:
            errors = list(dict.fromkeys(endpoint.last_error for endpoint in self._endpoints))
        more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
        message = "; ".join([*errors[:MAX_ERRORS], *more])
        message = message or "; ".join(self._resolver.errors.values())
        addresses = ", ".join(map(str, self._addresses))
        return ServerUnreachable(
            message or f"the server addresses resolve to nothing: {addresses}"
        )

    def _on_resolved(self, address: Address, targets: list[ResolvedAddress]) -> None:
        """Replace the endpoints of an address."""
        with self._lock:
            gone = self._endpoints.update(address, targets)
            self.has_several = len(self._endpoints) > 1
            stale = [idle for endpoint in gone for idle in self._idle.pop(endpoint, [])]
            self._state_changed.notify_all()
        for connection in stale:
            self._close(connection)

    def release(self, connection: Connection) -> None:
        """Take back a connection; close it if its last reply was not read to its end."""
        endpoint = connection.endpoint
        connection.was_idle = True
        connection.idle_since = time.monotonic()
        if connection.cancellation is not None:
            self._unwatch(connection)
        with self._lock:
            if connection not in self._open:
                return  # acquired before a fork
            endpoint.succeeded += 1
            endpoint.failures = 0
            is_kept = self._keep_idle(connection)
            expired = self._expired_idle(endpoint, connection.idle_since)
        if not is_kept:
            self._close(connection)
        if expired:
            self._close(expired)
        # Last, so that the next request finds the connection.
        self._permits.release()

    def warm_up(self) -> None:
        """Open an idle connection in advance, if a server can be reached."""
        if len(self._open) >= self._options.size:
            return
        try:
            connection = self._opened(time.monotonic() + self._options.connect_timeout_seconds)
            assert connection is not None
        except Exception:
            return  # the call reports the error; raised here it would break the thread pool
        with self._lock:
            is_kept = self._keep_idle(connection)
        if not is_kept:
            self._close(connection)

    def _keep_idle(self, connection: Connection) -> bool:
        endpoint = connection.endpoint
        endpoint.in_flight -= 1
        if not endpoint.is_up or self._is_closed:
            return False
        if connection.owes_reply or connection.is_interrupted:
            return False
        self._idle.setdefault(endpoint, []).append(connection)
        return True

    def _expired_idle(self, endpoint: Endpoint, now: float) -> Connection | None:
        """Remove and return the least recently used idle connection if it has expired.

        The most recently used one is reused first, so under steady load no request gets to it.
        """
        idle = self._idle.get(endpoint)
        return idle.pop(0) if idle and idle[0].expires_at <= now else None

    def discard(self, connection: Connection, error: BaseException) -> None:
        """Take back and close a connection whose next bytes cannot be trusted.

        Args:
            connection: The connection.
            error: What happened; if the server is at fault, its endpoint is marked down.
        """
        if connection in self._open:  # else it was acquired before a fork
            self._drop(connection, error)
            self._permits.release()

    def close_loser(self, connection: Connection, error: BaseException | None) -> None:
        """Take back and close one of two connections of a call that continues with the other.

        Args:
            connection: The connection.
            error: As for `discard`; None if there was none.
        """
        if connection in self._open:
            self._drop(connection, error)

    def _drop(self, connection: Connection, error: BaseException | None = None) -> None:
        endpoint = connection.endpoint
        is_fault = _is_fault(error)
        # A server may close an idle connection just as it is reused.
        is_stale = connection.was_idle and isinstance(error, ConnectionLost)
        with self._lock:
            endpoint.in_flight -= 1
            idle = self._idle.pop(endpoint, []) if is_fault else []
            if is_fault and not is_stale:
                self._mark_down(endpoint, error)
        for untrusted in [connection, *idle]:
            self._close(untrusted)

    def _mark_down(self, endpoint: Endpoint, error: BaseException | None) -> None:
        if not endpoint.mark_down(str(error)) or self._is_closed:
            return
        try:
            self._prober.add(endpoint)
        except (RuntimeError, OSError):
            endpoint.recover()  # no thread or descriptor: the next request is the probe

    def _close(self, connection: Connection) -> None:
        self._unwatch(connection)
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _start_probe(self, endpoint: Endpoint) -> Connection:
        try:
            connection = self._new_connection(endpoint)
        except SocketShortage as error:
            endpoint.mark_down(str(error))  # so that the delays grow
            raise
        connection.deadline = time.monotonic() + self._options.connect_timeout_seconds
        try:
            connection.start_opening()
        except ServerUnreachable as error:
            self._drop(connection, error)
            raise
        return connection

    def _end_probe(self, connection: Connection, error: FibError | None) -> bool:
        """Take back the connection of a probe; return whether the server is alive."""
        # A server that rejects the probe, for example without a password, is alive: calls report
        # the error. A server whose workers hang, however, replies BUSY to PING.
        is_rejected = isinstance(error, RequestRefused) and error.code not in ("BUSY", "SHUTDOWN")
        is_alive = error is None or is_rejected
        with self._lock:
            if is_alive:
                connection.endpoint.recover()
                self._state_changed.notify_all()
            else:
                connection.endpoint.mark_down(str(error))
        self._drop(connection)
        return is_alive

    def _is_over(self, endpoint: Endpoint) -> bool:
        return self._is_closed or endpoint.state is EndpointState.GONE

    def wait(
        self, seconds: float, cancellation: Cancellation | None, *, for_endpoint: bool
    ) -> None:
        """Wait until `seconds` have passed or the pool is closed.

        Args:
            seconds: Longest wait.
            cancellation: Ends the wait when it is cancelled.
            for_endpoint: Whether to stop waiting once an endpoint is up.

        Raises:
            CallCancelled: `cancellation` was cancelled.
        """

        def is_over() -> bool:
            if self._is_closed or (cancellation is not None and cancellation.is_cancelled):
                return True
            return for_endpoint and self._endpoints.choose() is not None

        with notified(cancellation, self._notify), self._lock:
            self._state_changed.wait_for(is_over, seconds)
        raise_if_cancelled(cancellation)

    def _notify(self) -> None:
        with self._lock:
            self._state_changed.notify_all()

    def has_endpoint(self, excluded: Set[Endpoint] = frozenset()) -> bool:
        """Return whether an endpoint is up that is not one of `excluded`."""
        with self._lock:
            return self._endpoints.choose(excluded) is not None

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def usage(self) -> tuple[int, int]:
        """Return the numbers of requests in flight and of calls waiting."""
        return self._permits.usage()

    def endpoints(self) -> list[Endpoint]:
        """Return copies of all endpoints."""
        with self._lock:
            return [endpoint.snapshot() for endpoint in self._endpoints]

    def stop_probes(self) -> None:
        """Stop the probes of a client that was not closed; takes no lock, for a finalizer."""
        self._is_closed = True

    def close(self) -> None:
        """Close all connections and wake all calls that wait."""
        with self._lock:
            self._is_closed = True
            for connection in list(self._open):
                connection.interrupt()
            idle = [connection for group in self._idle.values() for connection in group]
            self._idle.clear()
            prober = self._prober.thread
            self._prober.wake()
            self._permits.close()
            self._state_changed.notify_all()
        for connection in idle:
            self._close(connection)
        if prober is not None:
            prober.join()


def _is_fault(error: BaseException | None) -> bool:
    """Return whether an error is a reason to mark the endpoint down."""
    if isinstance(error, RequestRefused):
        return error.code == "SHUTDOWN"
    return isinstance(error, ServerUnreachable | ServerMisbehaved) and not isinstance(
        error, DeadlineExceeded
    )
