"""Client connections: admission, scheduling, timeouts and eviction.

`fibserver.core.client_limits` defines the policy.

Connections are accepted after all other events of a loop iteration: a descriptor that was closed
in this iteration may be reused, and its stale events must not reach the new connection.
"""

import logging
import socket
from collections.abc import Iterator
from functools import partial
from itertools import islice
from select import EPOLLIN, EPOLLOUT

from fibcommon.addresses import Address, plain_host
from fibcommon.service.admission import IdleConnections, affordable_connections
from fibcommon.service.listeners import close_listener
from fibserver.commands.session import UNIX_ADDRESS, ClientInfo, Server, Session
from fibserver.core.client_limits import (
    AUTH_DELAY_SECONDS,
    REQUEST_SECONDS,
    Eviction,
    OutputTotal,
    ServiceQueue,
    slowest_readers,
)
from fibserver.core.event_loop import EventLoop
from fibserver.engine.engine import Engine
from fibserver.network.connection import INFINITY, ClientConnection, ConnectionState
from fibserver.network.reply_cache import ReplyCache

__all__ = ["Clients"]

log = logging.getLogger(__name__)

STOPPING = "the server is stopping: try another server or retry later"
"""Text of the error SHUTDOWN."""

ACCEPTS_PER_ITERATION = 16
SWEEP_CONNECTIONS = 200
"""Connections checked per loop iteration: all at once would take milliseconds."""

MAX_EVICTIONS = 16
"""Connections that a new one may evict: more than one after `max_clients` was lowered."""

FULL_SECONDS = 0.1
"""How long new connections are rejected after a search that found none to evict."""

LINGERING_REJECTIONS = 32
"""Clients beyond the limit that are sent an error; further ones are closed without a reply."""
LINGER_SECONDS = 1.0
SPARE_DESCRIPTORS = 32
DESCRIPTORS_PER_WORKER = 4
"""Descriptors that clients must leave free: for listeners, arena and logs, and for each worker."""


class Clients:
    """The listeners and all client connections.

    Attributes:
        loop: The event loop.
        engine: Computes slices.
        reply_cache: The reply cache.
        statistics: Counters of the server.
        slow_log: Log of slow requests.
        max_clients: Maximum number of connections; the limit of open files may lower it.
        output_total: Memory that all output takes.
        waiting: Number of clients that wait for workers.
    """

    def __init__(
        self,
        server: Server,
        loop: EventLoop,
        engine: Engine,
        listeners: list[socket.socket],
    ) -> None:
        """Register the listeners with the loop.

        Args:
            server: The server that commands run on.
            loop: The event loop.
            engine: Computes slices.
            listeners: Non-blocking listening sockets.
        """
        self.loop = loop
        self.engine = engine
        self.reply_cache = ReplyCache()
        self.statistics = server.statistics
        self.slow_log = server.slow_log
        self.max_clients = 0
        self.output_total = OutputTotal()
        self.waiting = 0
        self._server = server
        self._listeners = listeners
        self._paused_listeners = list(listeners)
        self._ready_listeners: list[socket.socket] = []
        self._next_client_id = 1
        self._connections: dict[int, ClientConnection] = {}  # by client id
        self._queue: ServiceQueue[ClientConnection] = ServiceQueue()
        self._delayed: dict[ClientConnection, float] = {}  # when to release each, in order
        self._sweep: Iterator[ClientConnection] | None = None
        self._idle = IdleConnections(self._connections.values, lambda client: client.idle_since)
        self._slow = IdleConnections(self._connections.values, _read_rate_of_slow_reader)
        self._full_until = 0.0
        self.apply_settings()
        self._resume_listeners()

    def apply_settings(self) -> None:
        """Apply settings that may have changed."""
        settings = self._server.settings
        reserve = SPARE_DESCRIPTORS + LINGERING_REJECTIONS
        reserve += DESCRIPTORS_PER_WORKER * settings.workers
        self.max_clients = affordable_connections(settings.max_clients, reserve, "max_clients")
        self._max_output_bytes = settings.max_output_bytes
        self.reply_cache.clear()  # a limit may have been lowered below a cached request

    def __len__(self) -> int:
        return len(self._connections)

    # Admission.

    def _on_listener_ready(self, listener: socket.socket, _events: int) -> None:
        self._ready_listeners.append(listener)

    def accept(self) -> None:
        """Accept new clients; call this after all other events of the loop iteration."""
        for listener in self._ready_listeners:
            for _ in range(ACCEPTS_PER_ITERATION):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue  # this client has disconnected already
                except OSError as error:
                    self._pause(listener, error)
                    break
                try:
                    self._admit(sock, address)
                except (OSError, MemoryError) as error:
                    log.warning("cannot register a connection: %s", error or "out of memory")
                    sock.close()
        self._ready_listeners.clear()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Leave clients in the backlog until the next tick, as descriptors or memory ran out."""
        log.warning("cannot accept connections, retrying within 1 s: %s", error)
        self.loop.unregister(listener.fileno())
        self._paused_listeners.append(listener)

    def _resume_listeners(self) -> None:
        paused, self._paused_listeners = self._paused_listeners, []
        for listener in paused:
            try:
                self.loop.register(listener.fileno(), partial(self._on_listener_ready, listener))
            except OSError as error:
                log.warning("cannot register a listener, retrying within 1 s: %s", error)
                self._paused_listeners.append(listener)

    def _admit(self, sock: socket.socket, address: object) -> None:
        self.statistics.connections_received += 1
        sock.setblocking(False)
        if len(self._connections) >= self.max_clients:
            self._make_room()
        surplus = len(self._connections) - self.max_clients
        if surplus >= LINGERING_REJECTIONS:
            sock.close()
            self.statistics.connections_rejected += 1
            return
        session = Session(self._server, self._next_client_id, _name(address))
        self._next_client_id += 1
        connection = ClientConnection(sock, session, self)
        self._connections[session.client_id] = connection
        try:
            self.loop.register(sock.fileno(), connection.on_event)
        except (OSError, MemoryError):
            del self._connections[session.client_id]
            raise
        if surplus >= 0:
            self.statistics.connections_rejected += 1
            connection.reject("max number of clients reached")

    def _make_room(self) -> None:
        """Evict the clients that have been idle for longest, or else the slowest reader."""
        if self.loop.now < self._full_until:
            return
        for victim in islice(iter(self._idle.pop, None), MAX_EVICTIONS):
            idle_since = victim.idle_since
            if victim.is_idle:  # a request may have arrived that epoll has not reported yet
                victim.on_event(EPOLLIN, may_queue=False)
            if victim.idle_since == idle_since:
                self._evict(victim, Eviction.IDLE)
            if len(self._connections) < self.max_clients:
                return
        if (reader := self._slow.pop()) is not None:
            self._evict(reader, Eviction.SLOW_READER)
        else:
            self._full_until = self.loop.now + FULL_SECONDS

    def _evict(self, connection: ClientConnection, reason: Eviction) -> None:
        log.warning("%s: evicted to free resources: %s", connection.session.address, reason)
        self.statistics.evictions[reason] += 1
        connection.close()

    # Interface for connections.

    def want_events(self, connection: ClientConnection, events: int) -> None:
        """Change the epoll events that a connection is registered for."""
        self.loop.modify(connection.socket.fileno(), events)

    def serve_later(self, connection: ClientConnection, *, is_busy: bool = False) -> None:
        """Queue a connection; `serve` calls its `on_event` with its `queued_events`."""
        if not connection.queued_since:
            connection.queued_since = self.loop.now
        if is_busy:
            self._queue.add_busy(connection)
        else:
            self._queue.add_new(connection)

    def delay_error(self, connection: ClientConnection) -> None:
        """Call `send_delayed_error` of the connection after `AUTH_DELAY_SECONDS`."""
        self._delayed.setdefault(connection, self.loop.now + AUTH_DELAY_SECONDS)

    def count_waiting(self, change: int) -> None:
        """Add `change` to the number of connections that wait for workers."""
        self.waiting += change

    def unregister(self, connection: ClientConnection) -> None:
        """Unregister a connection that is about to close its socket."""
        self.loop.unregister(connection.socket.fileno())
        del self._connections[connection.session.client_id]
        self._queue.discard(connection)
        self._delayed.pop(connection, None)

    # Scheduling.

    @property
    def next_due(self) -> float:
        """When `serve` must be called even if no event occurs; infinite if it need not be."""
        if self._sweep is not None or self._queue.new or self._queue.busy:
            return self.loop.now
        return next(iter(self._delayed.values())) if self._delayed else INFINITY

    def serve(self) -> None:
        """Serve queued clients within the time budget, and continue a sweep if one is running."""
        if self._delayed:
            self._send_delayed_errors()
        if self._queue.new or self._queue.busy:
            self._serve_queue()
        if self._sweep is not None:
            self._continue_sweep(self._sweep)
        if self.output_total.held_bytes > self._max_output_bytes:
            self._bound_output()

    def _serve_queue(self) -> None:
        budget = self.loop.budget
        budget.start_queue()
        connection = self._queue.pop_busy() or self._queue.pop()
        while connection is not None:
            self.loop.since, connection.queued_since = connection.queued_since, 0.0
            events, connection.queued_events = connection.queued_events, 0
            connection.on_event(events, may_queue=False)
            connection = None if budget.check() else self._queue.pop()
        self.loop.since = self.loop.now

    def _send_delayed_errors(self) -> None:
        while self._delayed:
            connection, due = next(iter(self._delayed.items()))
            if due > self.loop.now:
                return
            del self._delayed[connection]
            connection.send_delayed_error()

    def _bound_output(self) -> None:
        """Evict the slowest readers until all output fits in `max_output_bytes`."""
        holders, held_bytes = self._connections.values(), self.output_total.held_bytes
        for victim in slowest_readers(holders, held_bytes, self._max_output_bytes):
            self._evict(victim, Eviction.OUTPUT_MEMORY)

    # Introspection.

    def infos(self) -> Iterator[ClientInfo]:
        """Yield information about each client, in the order of arrival."""
        for connection in list(self._connections.values()):
            if connection.state is not ConnectionState.CLOSED:
                yield self._info(connection)

    def info_of(self, client_id: int) -> ClientInfo | None:
        """Return information about one client, or None if it is not connected."""
        connection = self._connections.get(client_id)
        return None if connection is None else self._info(connection)

    def _info(self, connection: ClientConnection) -> ClientInfo:
        events, handler = connection.events, connection.handler
        return ClientInfo(
            connection.session,
            _name(connection.socket.getsockname()),
            connection.socket.fileno(),
            int(self.loop.now - connection.connected_at),
            int(self.loop.now - connection.last_progress),
            handler.received_bytes,
            len(handler.output),
            handler.output.pending_bytes,
            ("r" if events & EPOLLIN else "") + ("w" if events & EPOLLOUT else ""),
            connection.is_waiting,
        )

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        self._connections[client_id].close()

    # Timeouts and shutdown.

    def tick(self) -> None:
        """Resume paused listeners, and start a sweep that checks all connections for timeouts."""
        self._resume_listeners()
        if self._sweep is None:
            self._sweep = iter(list(self._connections.values()))

    def _continue_sweep(self, sweep: Iterator[ClientConnection]) -> None:
        batch = list(islice(sweep, SWEEP_CONNECTIONS))
        for connection in batch:
            if connection.state is not ConnectionState.CLOSED:
                self._check(connection)
        if len(batch) < SWEEP_CONNECTIONS:
            self._sweep = None

    def _check(self, connection: ClientConnection) -> None:
        """Time out a connection that has stalled; measure how fast the peer of any other reads."""
        settings = self._server.settings
        quiet_seconds = self.loop.now - connection.last_progress
        if connection.state is ConnectionState.LINGERING:
            if quiet_seconds > LINGER_SECONDS:
                connection.close()
        elif connection.is_idle:
            # Off by default: some clients' pools fail a call when the server closes first.
            if 0 < settings.idle_timeout < quiet_seconds:
                connection.close()
        elif quiet_seconds > settings.request_timeout:
            connection.time_out(settings.request_timeout)
        limit = min(REQUEST_SECONDS, settings.request_timeout)
        if connection.handler.partial_seconds > limit:
            connection.close()
        if connection.state is not ConnectionState.CLOSED:
            connection.sample_read_rate()

    def drain(self) -> None:
        """Close the listeners, and each connection once its received requests are answered."""
        for listener in self._listeners:
            if listener not in self._paused_listeners:
                self.loop.unregister(listener.fileno())
        self.close_listeners()
        for connection in list(self._connections.values()):
            connection.drain()

    def close_with_error(self) -> None:
        """Close all connections; clients that wait for a reply's first block get an error."""
        for connection in list(self._connections.values()):
            connection.close_with_error(STOPPING, "SHUTDOWN")

    def close_listeners(self) -> None:
        """Close all listeners."""
        for listener in self._listeners:
            close_listener(listener)
        self._listeners.clear()
        self._ready_listeners.clear()  # they may have become ready in this loop iteration
        self._paused_listeners.clear()

    def close(self) -> None:
        """Close all connections and listeners at once, and discard pending output."""
        for connection in list(self._connections.values()):
            connection.close()
        self.close_listeners()
        self.reply_cache.clear()


def _name(address: object) -> str:
    """Return a socket's address as text; all Unix sockets share one."""
    if isinstance(address, tuple):
        return str(Address(plain_host(address[0]), address[1]))
    return UNIX_ADDRESS


def _read_rate_of_slow_reader(connection: ClientConnection) -> float | None:
    read_rate = connection.bytes_per_second
    return read_rate if read_rate < INFINITY else None
