"""The clients: who may connect, who is connected, who is served next, and who is disconnected.

What is decided here follows `fibserver.core.overload`.

Connections are accepted last of all events of a turn, since a descriptor closed in this turn
may be given out again, and its stale events must not reach the newcomer.
"""

import logging
import socket
from collections.abc import Iterator
from functools import partial
from itertools import islice
from select import EPOLLIN, EPOLLOUT

from fibcommon.addresses import Address, plain_host
from fibcommon.service.admission import IdleVictims, affordable_connections
from fibcommon.service.listeners import close_listener
from fibserver.commands.session import UNIX_ADDRESS, ClientInfo, Server, Session
from fibserver.core.event_loop import EventLoop
from fibserver.core.overload import (
    AUTH_DELAY_SECONDS,
    REQUEST_SECONDS,
    Eviction,
    OutputTotal,
    ServiceQueue,
    output_victims,
)
from fibserver.engine.engine import Engine
from fibserver.network.connection import INFINITY, Connection, State
from fibserver.network.reply_cache import ReplyCache

__all__ = ["Clients"]

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 16
SWEEP_CONNECTIONS = 200
"""How many connections a turn looks after: all at once would take milliseconds."""

MAX_VICTIMS = 16
"""How many clients a newcomer may displace: more than one after `max_clients` was lowered."""

FULL_SECONDS = 0.1
"""How long newcomers are refused without another look for a connection that gives way."""

LINGERING_REFUSALS = 32
"""How many clients beyond the limit are told so; further ones are just closed."""
LINGER_SECONDS = 1.0
SPARE_DESCRIPTORS = 32
DESCRIPTORS_PER_WORKER = 4
"""What stays free of clients besides: for listeners, arena, logs, and each worker."""


class Clients:
    """The listeners and all connections.

    Attributes:
        loop: tells of events, and the time.
        engine: answers slices.
        replay: requests seen before.
        statistics: what has happened so far.
        slow_log: which requests were slow.
        max_clients: how many there may be, as far as the limit of open files allows.
        output_total: what all output takes of memory.
        waiting: how many clients wait for workers.
    """

    def __init__(
        self,
        server: Server,
        loop: EventLoop,
        engine: Engine,
        listeners: list[socket.socket],
    ) -> None:
        """Watch the listeners for clients.

        Args:
            server: what commands ask.
            loop: tells of events.
            engine: answers slices.
            listeners: non-blocking.
        """
        self.loop = loop
        self.engine = engine
        self.replay = ReplyCache()
        self.statistics = server.statistics
        self.slow_log = server.slow_log
        self.max_clients = 0
        self.output_total = OutputTotal()
        self.waiting = 0
        self._server = server
        self._listeners = listeners
        self._paused_listeners = list(listeners)
        self._waiting_listeners: list[socket.socket] = []
        self._next_client_id = 1
        self._connections: dict[int, Connection] = {}  # by client id
        self._queue: ServiceQueue[Connection] = ServiceQueue()
        self._held: dict[Connection, float] = {}  # until when, in order
        self._sweep: Iterator[Connection] | None = None
        self._idle = IdleVictims(self._connections.values, lambda each: each.idle_since)
        self._slow = IdleVictims(self._connections.values, _pace_of_slow_reader)
        self._full_until = 0.0
        self.apply_settings()
        self._resume_listeners()

    def apply_settings(self) -> None:
        """Take over settings that may have changed."""
        settings = self._server.settings
        reserve = SPARE_DESCRIPTORS + LINGERING_REFUSALS
        reserve += DESCRIPTORS_PER_WORKER * settings.workers
        self.max_clients = affordable_connections(settings.max_clients, reserve, "max_clients")
        self._max_output_bytes = settings.max_output_bytes
        self.replay.clear()  # what was allowed may no longer be

    def __len__(self) -> int:
        return len(self._connections)

    # Coming.

    def _has_clients(self, listener: socket.socket, _events: int) -> None:
        self._waiting_listeners.append(listener)

    def accept(self) -> None:
        """Admit the clients that have come in this turn; to be called after all other events."""
        for listener in self._waiting_listeners:
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue  # that one client has gone again
                except OSError as error:
                    self._pause(listener, error)
                    break
                try:
                    self._admit(sock, address)
                except (OSError, MemoryError) as error:  # no room to watch it, or to keep it
                    log.warning("cannot take a connection: %s", error or "out of memory")
                    sock.close()
        self._waiting_listeners.clear()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Leave clients in the backlog until the next tick: descriptors or memory ran out."""
        log.warning("cannot accept connections, trying again in a second: %s", error)
        self.loop.unregister(listener.fileno())
        self._paused_listeners.append(listener)

    def _resume_listeners(self) -> None:
        paused, self._paused_listeners = self._paused_listeners, []
        for listener in paused:
            try:
                self.loop.register(listener.fileno(), partial(self._has_clients, listener))
            except OSError as error:
                log.warning("cannot watch for connections, trying again in a second: %s", error)
                self._paused_listeners.append(listener)

    def _admit(self, sock: socket.socket, address: object) -> None:
        self.statistics.connections_received += 1
        sock.setblocking(False)
        if len(self._connections) >= self.max_clients:
            self._make_room()
        surplus = len(self._connections) - self.max_clients
        if surplus >= LINGERING_REFUSALS:
            sock.close()
            self.statistics.connections_rejected += 1
            return
        session = Session(self._server, self._next_client_id, _name(address))
        self._next_client_id += 1
        connection = Connection(sock, session, self)
        self._connections[session.client_id] = connection
        try:
            self.loop.register(sock.fileno(), connection.on_event)
        except (OSError, MemoryError):
            del self._connections[session.client_id]
            raise
        if surplus >= 0:
            self.statistics.connections_rejected += 1
            connection.refuse("max number of clients reached")

    def _make_room(self) -> None:
        """Disconnect the client that has been idle for longest, else the slowest reader."""
        if self.loop.now < self._full_until:
            return
        for victim in islice(iter(self._idle.pop, None), MAX_VICTIMS):
            idle_since = victim.idle_since
            if victim.is_idle:  # a request may have come in this very moment
                victim.on_event(EPOLLIN, may_queue=False)
            if victim.idle_since == idle_since:
                self._evict(victim, Eviction.IDLE)
            if len(self._connections) < self.max_clients:
                return
        if (reader := self._slow.pop()) is not None:
            self._evict(reader, Eviction.SLOW_READER)
        else:
            self._full_until = self.loop.now + FULL_SECONDS

    def _evict(self, connection: Connection, why: Eviction) -> None:
        log.warning("%s: disconnected for the sake of others: %s", connection.session.address, why)
        self.statistics.evictions[why] += 1
        connection.close()

    # What connections ask.

    def want_events(self, connection: Connection, events: int) -> None:
        """Watch a connection for other events than so far."""
        self.loop.modify(connection.socket.fileno(), events)

    def serve_later(self, connection: Connection, *, is_busy: bool = False) -> None:
        """Queue a connection; `on_event` is called with its `queued_events` in its turn."""
        if not connection.queued_since:
            connection.queued_since = self.loop.now
        if is_busy:
            self._queue.add_busy(connection)
        else:
            self._queue.add_new(connection)

    def release_later(self, connection: Connection) -> None:
        """Call `release` after the delay of a failed authentication."""
        self._held.setdefault(connection, self.loop.now + AUTH_DELAY_SECONDS)

    def note_waiting(self, change: int) -> None:
        """Note that so many more connections wait for workers."""
        self.waiting += change

    def forget(self, connection: Connection) -> None:
        """Unwatch a connection that is about to close its socket."""
        self.loop.unregister(connection.socket.fileno())
        del self._connections[connection.session.client_id]
        self._queue.discard(connection)
        self._held.pop(connection, None)

    # Who is served next.

    @property
    def next_due(self) -> float:
        """When `serve` has something to do without an event, infinite if it has not."""
        if self._sweep is not None or self._queue.new or self._queue.busy:
            return self.loop.now
        return next(iter(self._held.values())) if self._held else INFINITY

    def serve(self) -> None:
        """Serve the clients that wait for loop time, as long as this turn has some."""
        if self._held:
            self._release_held()
        if self._queue.new or self._queue.busy:
            self._serve_queue()
        if self._sweep is not None:
            self._go_on_sweeping(self._sweep)
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

    def _release_held(self) -> None:
        while self._held:
            connection, due = next(iter(self._held.items()))
            if due > self.loop.now:
                return
            del self._held[connection]
            connection.release()

    def _bound_output(self) -> None:
        """Disconnect the slowest readers if all output takes more memory than it may."""
        holders, held_bytes = self._connections.values(), self.output_total.held_bytes
        for victim in output_victims(holders, held_bytes, self._max_output_bytes):
            self._evict(victim, Eviction.OUTPUT_MEMORY)

    # What operators ask.

    def facts(self) -> Iterator[ClientInfo]:
        """Return the facts of all clients, in the order they came, as they are asked for."""
        for connection in list(self._connections.values()):
            if connection.state is not State.CLOSED:
                yield self._facts(connection)

    def facts_of(self, client_id: int) -> ClientInfo | None:
        """Return the facts of one client, None if it is not connected."""
        connection = self._connections.get(client_id)
        return None if connection is None else self._facts(connection)

    def _facts(self, connection: Connection) -> ClientInfo:
        events, conversation = connection.events, connection.conversation
        return ClientInfo(
            connection.session,
            _name(connection.socket.getsockname()),
            connection.socket.fileno(),
            int(self.loop.now - connection.connected_at),
            int(self.loop.now - connection.last_progress),
            conversation.received_bytes,
            len(conversation.output),
            conversation.output.pending_bytes,
            ("r" if events & EPOLLIN else "") + ("w" if events & EPOLLOUT else ""),
            connection.is_waiting,
        )

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        self._connections[client_id].close()

    # Going.

    def tick(self) -> None:
        """From time to time: accept again, and look after all connections in the next turns."""
        self._resume_listeners()
        if self._sweep is None:
            self._sweep = iter(list(self._connections.values()))

    def _go_on_sweeping(self, sweep: Iterator[Connection]) -> None:
        some = list(islice(sweep, SWEEP_CONNECTIONS))
        for connection in some:
            if connection.state is not State.CLOSED:
                self._look_after(connection)
        if len(some) < SWEEP_CONNECTIONS:
            self._sweep = None

    def _look_after(self, connection: Connection) -> None:
        """Close a connection that has stalled, and measure how fast its peer reads."""
        settings = self._server.settings
        quiet_seconds = self.loop.now - connection.last_progress
        if connection.state is State.LINGERING:
            if quiet_seconds > LINGER_SECONDS:
                connection.close()
        elif connection.is_idle:
            # Not by default: pools of some clients fail a call when the server closes first.
            if 0 < settings.idle_timeout < quiet_seconds:
                connection.close()
        elif quiet_seconds > settings.request_timeout:
            connection.give_up(settings.request_timeout)
        limit = min(REQUEST_SECONDS, settings.request_timeout)
        if connection.conversation.partial_seconds > limit:
            connection.close()
        if connection.state is not State.CLOSED:
            connection.sample_pace()

    def finish(self) -> None:
        """Accept no more clients, and answer what those have asked that there are."""
        for listener in self._listeners:
            if listener not in self._paused_listeners:
                self.loop.unregister(listener.fileno())
        self.close_listeners()
        for connection in list(self._connections.values()):
            connection.finish()

    def abandon(self) -> None:
        """Tell those who still wait that they wait in vain, and close all connections."""
        for connection in list(self._connections.values()):
            connection.abandon("the server is stopping: ask another, or again later", "SHUTDOWN")

    def close_listeners(self) -> None:
        """Close the listeners that there still are."""
        for listener in self._listeners:
            close_listener(listener)
        self._listeners.clear()
        self._waiting_listeners.clear()  # their clients may have come in this very turn
        self._paused_listeners.clear()

    def close(self) -> None:
        """Close everything at once, whatever is owed."""
        for connection in list(self._connections.values()):
            connection.close()
        self.close_listeners()
        self.replay.clear()


def _name(address: object) -> str:
    """Return a socket's address as people write it; the name of a Unix one may be anything."""
    if isinstance(address, tuple):
        return str(Address(plain_host(address[0]), address[1]))
    return UNIX_ADDRESS


def _pace_of_slow_reader(connection: Connection) -> float | None:
    pace = connection.bytes_per_second
    return pace if pace < INFINITY else None
