"""A pool of connections to all endpoints, shared by threads.

It decides under its lock and connects outside it. The connection used last is the first to be
used again, so those not needed grow stale, are found out before use and dropped. At most
`size` requests are under way at a time; who comes then waits in line.

An endpoint that is set aside is probed by a thread for all of them, so what a dead server costs is
the request that found it dead, and not one now and then. One that could not be connected to is no
failure of the request as long as there are others.

Locks here and in `fibclient.transport.fair_semaphore` may be taken again by the thread that holds
them: the garbage collector may run at any allocation, also under the lock, and what it collects
may be a stream that nobody read to its end, which then gives back its connection.
"""

import random
import threading
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from fibclient.cancellation import Cancellation, as_cancelled, notified, raise_if_cancelled
from fibclient.connections.connecting import first_connected
from fibclient.connections.connection import Connection
from fibclient.connections.endpoints import Endpoint, Endpoints, EndpointState
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
from fibclient.transport.probing import Prober
from fibclient.transport.resolver import ResolverCache
from fibcommon.addresses import Address, ResolvedAddress

__all__ = ["ConnectionPool", "PoolOptions"]

AGE_JITTER = 0.25
"""The share of the age limit over which connections of one moment are spread."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How a pool behaves.

    Attributes:
        size: the most requests under way at a time, >= 1.
        connect_timeout_seconds: for opening a connection.
        idle_timeout_seconds: for each wait for more bytes.
        max_age_seconds: how long a connection is used, so that clients follow a name that
            leads elsewhere.
        password: to be said on each connection.
    """

    size: int
    connect_timeout_seconds: float
    idle_timeout_seconds: float
    max_age_seconds: float
    password: str | None


MOST_ERRORS = 5
"""So many servers are named when none can be reached."""


class ConnectionPool:
    """At most so many connections in use, to whichever servers answer.

    Attributes:
        connections_opened: in all.
        has_several: whether there is more than one server, in use or not.
    """

    def __init__(
        self,
        addresses: list[Address],
        options: PoolOptions,
        resolve: Callable[[Address], list[ResolvedAddress]],
    ) -> None:
        """Describe a pool; it connects when it is first used.

        Args:
            addresses: where the servers are, at least one.
            options: how it behaves.
            resolve: returns where an address leads to now, or raises `ServerUnreachable`.
        """
        self._addresses = addresses
        self._options = options
        self._resolve = resolve
        self.reset()

    def reset(self) -> None:
        """Start anew, with nothing of what there was; in a forked child."""
        self._lock = threading.RLock()
        self._places = FairSemaphore(self._options.size)
        self._state_changed = threading.Condition(
            self._lock
        )  # an endpoint is up again, or all is over
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
        """Let go of the parent's connections without a word to its servers, and start anew."""
        for connection in self._open:
            connection.forget()
        self._prober.close_wake()
        self.reset()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        addresses = ",".join(map(str, self._addresses))
        return (
            f"<ConnectionPool {addresses}: {self.load()[0]} in use, {idle} idle, "
            f"at most {self._options.size}>"
        )

    def acquire(self, deadline: float, cancellation: Cancellation | None = None) -> Connection:
        """Lend a connection; wait for one if too many are in use.

        Args:
            deadline: of the call it is for, monotonic.
            cancellation: of that call.

        Raises:
            ServerUnreachable: none can be opened, or none became free in time.
            ClientClosed: the pool is closed.
            CallCancelled: the cancellation was.
        """
        self._places.take(deadline, cancellation)
        try:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded("no time was left to ask a server")
            raise_if_cancelled(cancellation)
            connection = self._usable_idle(cancellation) or self._opened(deadline, cancellation)
        except BaseException:
            self._places.leave()
            raise
        connection.deadline = deadline
        connection.may_spin = self._places.taken == 1
        return connection

    def borrow_second(
        self, first: Connection, cancellation: Cancellation | None
    ) -> Connection | None:
        """Lend a connection to another server while a request waits for a reply.

        Args:
            first: where it waits; it is not counted again.
            cancellation: of the call.

        Returns:
            a connection for `drop`, or for the end of the call if it is to go on with this one;
            None if there is none to be had, or something has come over the first meanwhile.
        """
        besides = {first.endpoint}
        second = self._usable_idle(cancellation, besides)
        if second is None:
            try:
                second = self._open_first(first.deadline, cancellation, besides, first)
            except ServerUnreachable:
                return None
        if second is not None:
            second.deadline = first.deadline
            second.may_spin = False
        return second

    def _usable_idle(
        self, cancellation: Cancellation | None, besides: Set[Endpoint] = frozenset()
    ) -> Connection | None:
        """Return an open connection to the endpoint whose turn it is, if it has one."""
        while True:
            with self._lock:
                endpoint = self._endpoints.choose(besides)
                idle = self._idle.get(endpoint) if endpoint else None
                if not idle:
                    return None
                connection = idle.pop()
                self._endpoints.begin(connection.endpoint)
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
        """Open a connection to the endpoint whose turn it is, or to another if that fails."""
        connection = self._open_first(deadline, cancellation)
        assert connection is not None  # nothing else is watched
        return connection

    def _open_first(
        self,
        deadline: float,
        cancellation: Cancellation | None,
        besides: Set[Endpoint] = frozenset(),
        watched: Connection | None = None,
    ) -> Connection | None:
        """Open a connection to the first endpoint that accepts one.

        Args:
            deadline: of the call it is for, monotonic.
            cancellation: of that call.
            besides: where it must not lead.
            watched: when something comes from there, None is returned.

        Raises:
            ServerUnreachable: none accepts one.
        """
        tried = {*besides}
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
                    return None  # those that are being opened go on
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
            if watched is None:  # the resolver may take long, and does not watch
                self._resolver.refresh(deadline, is_enough, cancellation)
            connection = first_connected(start_next, fail, timeout, deadline, watched)
            if connection is None:
                if watched is not None:
                    return None
                if not self._resolver.is_pending:  # else a name may yet resolve to another server
                    short = [each for each in failures if isinstance(each, SocketShortage)]
                    raise (
                        (short or failures)[0]
                        if short or len(failures) == 1
                        else self._no_endpoint_error()
                    )
        age = self._options.max_age_seconds * (1 - AGE_JITTER * random.random())
        connection.expires_at = time.monotonic() + age
        with self._lock:
            self.connections_opened += 1
        return connection

    def _new_connection(self, endpoint: Endpoint) -> Connection:
        """Return a connection that is to be opened, and count it."""
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
                    self._set_aside(endpoint, error)
                raise
        with self._lock:
            # From here on `close` finds it.
            self._open.add(connection)
            self._endpoints.begin(endpoint)
            is_closed = self._is_closed
        if is_closed:
            self._drop(connection)
            raise ClientClosed("the client is closed")
        return connection

    def _close_one_idle(self) -> bool:
        """Close an idle connection, if there is one, so that its descriptor can be used again."""
        with self._lock:
            connection = next((idle.pop(0) for idle in self._idle.values() if idle), None)
        if connection is not None:
            self._close(connection)
        return connection is not None

    def _no_endpoint_error(self) -> ServerUnreachable:
        with self._lock:
            errors = list(dict.fromkeys(endpoint.last_error for endpoint in self._endpoints))
        more = [f"and {len(errors) - MOST_ERRORS} more"] if len(errors) > MOST_ERRORS else []
        told = "; ".join([*errors[:MOST_ERRORS], *more])
        told = told or "; ".join(self._resolver.errors.values())
        return ServerUnreachable(told or "the addresses of the servers resolve to nothing")

    def _on_resolved(self, address: Address, targets: list[ResolvedAddress]) -> None:
        """Take over where an address leads to now."""
        with self._lock:
            gone = self._endpoints.update(address, targets)
            self.has_several = len(self._endpoints) > 1
            stale = [idle for each in gone for idle in self._idle.pop(each, [])]
            self._state_changed.notify_all()
        for connection in stale:
            self._close(connection)

    def release(self, connection: Connection) -> None:
        """Take back a connection; it is closed if its last reply was not read to its end."""
        endpoint = connection.endpoint
        connection.was_idle = True
        connection.idle_since = time.monotonic()
        if connection.cancellation is not None:
            self._unwatch(connection)
        with self._lock:
            if connection not in self._open:
                return  # borrowed before a fork
            endpoint.succeeded += 1
            endpoint.failures = 0
            is_kept = self._keep_idle(connection)
            expired = self._expired_idle(endpoint, connection.idle_since)
        if not is_kept:
            self._close(connection)
        if expired:
            self._close(expired)
        # Only now, so that whoever comes next finds the connection.
        self._places.leave()

    def warm_up(self) -> None:
        """Open a connection ahead of need, if a server can be reached."""
        if len(self._open) >= self._options.size:
            return
        try:
            connection = self._opened(time.monotonic() + self._options.connect_timeout_seconds)
            assert connection is not None
        except Exception:
            return  # whoever needs one will be told; a thread that does not start would hide why
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
        """Take the idle connection that was used longest ago, if it is too old to be used again.

        The last used is the first to be used again, so in steady use nobody else would look there.
        """
        idle = self._idle.get(endpoint)
        return idle.pop(0) if idle and idle[0].expires_at <= now else None

    def discard(self, connection: Connection, error: BaseException) -> None:
        """Take back a connection whose next bytes cannot be trusted.

        Args:
            connection: to be closed.
            error: what happened; a fault of the server's sets it aside.
        """
        if connection in self._open:  # else it was borrowed before a fork
            self._drop(connection, error)
            self._places.leave()

    def drop(self, connection: Connection, error: BaseException | None) -> None:
        """Take back one of two connections of a call, which goes on with the other.

        Args:
            connection: to be closed.
            error: as for `discard`; None if there was none.
        """
        if connection in self._open:
            self._drop(connection, error)

    def _drop(self, connection: Connection, error: BaseException | None = None) -> None:
        endpoint = connection.endpoint
        is_fault = _is_fault(error)
        # A server may close a connection that has long been idle just when it is used again.
        is_stale = connection.was_idle and isinstance(error, ConnectionLost)
        with self._lock:
            endpoint.in_flight -= 1
            idle = self._idle.pop(endpoint, []) if is_fault else []
            if is_fault and not is_stale:
                self._set_aside(endpoint, error)
        for each in [connection, *idle]:
            self._close(each)

    def _set_aside(self, endpoint: Endpoint, error: BaseException | None) -> None:
        if not endpoint.set_aside(str(error)) or self._is_closed:
            return
        try:
            self._prober.add(endpoint)
        except (RuntimeError, OSError):
            endpoint.recover()  # there is no thread to be had: the next request is the probe

    def _close(self, connection: Connection) -> None:
        self._unwatch(connection)
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _start_probe(self, endpoint: Endpoint) -> Connection:
        try:
            connection = self._new_connection(endpoint)
        except SocketShortage as error:
            endpoint.set_aside(str(error))  # so that the pauses grow
            raise
        connection.deadline = time.monotonic() + self._options.connect_timeout_seconds
        try:
            connection.start_opening()
        except ServerUnreachable as error:
            self._drop(connection, error)
            raise
        return connection

    def _end_probe(self, connection: Connection, error: FibError | None) -> bool:
        """Take back the connection of a probe; return whether its endpoint is in use again."""
        # One that wants a password, say, is alive: the callers are to hear what it says. BUSY
        # is what a server says to PING whose workers do not come back.
        is_refusal = isinstance(error, RequestRefused) and error.code not in ("BUSY", "SHUTDOWN")
        is_alive = error is None or is_refusal
        with self._lock:
            if is_alive:
                connection.endpoint.recover()
                self._state_changed.notify_all()
            else:
                connection.endpoint.set_aside(str(error))
        self._drop(connection)
        return is_alive

    def _is_over(self, endpoint: Endpoint) -> bool:
        return self._is_closed or endpoint.state is EndpointState.GONE

    def wait(
        self, seconds: float, cancellation: Cancellation | None, *, for_endpoint: bool
    ) -> None:
        """Wait for some time, but not longer than until the pool is closed.

        Args:
            seconds: for how long.
            cancellation: ends the wait.
            for_endpoint: whether to wait no longer than until there is an endpoint to ask.

        Raises:
            CallCancelled: the cancellation was.
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

    def has_endpoint(self, besides: Set[Endpoint] = frozenset()) -> bool:
        """Return whether there is an endpoint that is not set aside, other than some."""
        with self._lock:
            return self._endpoints.choose(besides) is not None

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def load(self) -> tuple[int, int]:
        """Return how many connections are lent, and how many calls wait for one."""
        return self._places.load()

    def endpoints(self) -> list[Endpoint]:
        """Return copies of what is known of each endpoint."""
        with self._lock:
            return [replace(endpoint) for endpoint in self._endpoints]

    def abandon(self) -> None:
        """Have the probes end: nobody is left to ask. It takes no lock, and may run anywhere."""
        self._is_closed = True

    def close(self) -> None:
        """End all connections, and wake whoever waits for one or for an answer."""
        with self._lock:
            self._is_closed = True
            for connection in list(self._open):
                connection.interrupt()
            idle = [connection for each in self._idle.values() for connection in each]
            self._idle.clear()
            prober = self._prober.thread
            self._prober.wake()
            self._places.close()
            self._state_changed.notify_all()
        for connection in idle:
            self._close(connection)
        if prober is not None:
            prober.join()


def _is_fault(error: BaseException | None) -> bool:
    """Tell whether a failure says that the server had better not be asked."""
    if isinstance(error, RequestRefused):
        return error.code == "SHUTDOWN"
    return isinstance(error, ServerUnreachable | ServerMisbehaved) and not isinstance(
        error, DeadlineExceeded
    )
