"""The clients: who may connect, who is connected, and whose patience or ours has ended.

Connections are accepted last of all events of a turn, since a descriptor closed in this turn
may be given out again, and its stale events must not reach the newcomer.
"""

import logging
import resource
import socket
from collections.abc import Iterator
from functools import partial
from select import EPOLLIN, EPOLLOUT

from fibclient.address import Address
from fibclient.service.listeners import close_listener
from fibserver.connection import Connection, State
from fibserver.engine import Engine
from fibserver.event_loop import EventLoop
from fibserver.replay import ReplayTable
from fibserver.session import ClientFacts, Server, Session
from fibserver.settings import Settings

__all__ = ["Clients"]

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64
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
    """

    def __init__(
        self,
        server: Server,
        loop: EventLoop,
        engine: Engine,
        listeners: list[socket.socket],
        *,
        are_ours: bool,
    ) -> None:
        """Watch the listeners for clients.

        Args:
            server: what commands ask.
            loop: tells of events.
            engine: answers slices.
            listeners: non-blocking.
            are_ours: whether we have opened the listeners.
        """
        self.loop = loop
        self.engine = engine
        self.replay = ReplayTable()
        self.statistics = server.statistics
        self.slow_log = server.slow_log
        self.max_clients = 0
        self._server = server
        self._listeners = listeners
        self._are_ours = are_ours
        self._paused_listeners = list(listeners)
        self._waiting_listeners: list[socket.socket] = []
        self._next_client_id = 1
        self._connections: dict[int, Connection] = {}  # by client id
        self._to_send: dict[Connection, None] = {}
        self.apply_settings()
        self._resume_listeners()

    def apply_settings(self) -> None:
        """Take over settings that may have changed."""
        self.max_clients = _affordable_clients(self._server.settings)
        self.replay.clear()  # what was allowed may no longer be

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """How many clients wait for workers."""
        return sum(each.is_waiting for each in self._connections.values())

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
                except OSError as error:  # the kernel has no room to watch it
                    log.warning("cannot take a connection: %s", error)
                    sock.close()
        self._waiting_listeners.clear()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Leave clients in the backlog until the next tick: descriptors or memory ran out."""
        log.warning("cannot accept connections, trying again in a second: %s", error)
        self.loop.unwatch(listener.fileno())
        self._paused_listeners.append(listener)

    def _resume_listeners(self) -> None:
        paused, self._paused_listeners = self._paused_listeners, []
        for listener in paused:
            try:
                self.loop.watch(listener.fileno(), partial(self._has_clients, listener))
            except OSError as error:
                log.warning("cannot watch for connections, trying again in a second: %s", error)
                self._paused_listeners.append(listener)

    def _admit(self, sock: socket.socket, address: object) -> None:
        self.statistics.connections_received += 1
        sock.setblocking(False)
        surplus = len(self._connections) - self.max_clients
        if surplus >= LINGERING_REFUSALS:
            sock.close()
            self.statistics.connections_rejected += 1
            return
        session = Session(self._server, self._next_client_id, _name(address))
        self._next_client_id += 1
        connection = Connection(sock, session, self)
        self.loop.watch(sock.fileno(), connection.on_event)
        self._connections[session.client_id] = connection
        if surplus >= 0:
            self.statistics.connections_rejected += 1
            connection.refuse("max number of clients reached")

    # What connections ask.

    def watch_for(self, connection: Connection, events: int) -> None:
        """Watch a connection for other events than so far."""
        self.loop.watch_for(connection.socket.fileno(), events)

    def send_soon(self, connection: Connection) -> None:
        """Have `on_event` called, without an event, before the loop waits again."""
        self._to_send[connection] = None

    def forget(self, connection: Connection) -> None:
        """Unwatch a connection that is about to close its socket."""
        self.loop.unwatch(connection.socket.fileno())
        del self._connections[connection.session.client_id]
        self._to_send.pop(connection, None)

    @property
    def has_to_send(self) -> bool:
        """Whether `send_ready` has something to do."""
        return bool(self._to_send)

    def send_ready(self) -> None:
        """Send what has become ready in this turn."""
        while self._to_send:
            connection, _ = self._to_send.popitem()
            connection.on_event(0)

    # What operators ask.

    def facts(self) -> Iterator[ClientFacts]:
        """Return the facts of all clients, in the order they came."""
        return map(self._facts, list(self._connections.values()))

    def facts_of(self, client_id: int) -> ClientFacts:
        """Return the facts of one client."""
        return self._facts(self._connections[client_id])

    def _facts(self, connection: Connection) -> ClientFacts:
        events, conversation = connection.events, connection.conversation
        return ClientFacts(
            connection.session,
            _name(connection.socket.getsockname()),
            connection.socket.fileno(),
            int(self.loop.now - connection.connected_at),
            int(self.loop.now - connection.last_progress),
            conversation.received_bytes,
            len(conversation.output),
            conversation.output.pending_bytes,
            ("r" if events & EPOLLIN else "") + ("w" if events & EPOLLOUT else ""),
        )

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        self._connections[client_id].close()

    # Going.

    def tick(self) -> None:
        """From time to time: accept again, and close what has stalled."""
        self._resume_listeners()
        settings = self._server.settings
        for connection in list(self._connections.values()):
            quiet_seconds = self.loop.now - connection.last_progress
            if connection.state is State.LINGERING:
                if quiet_seconds > LINGER_SECONDS:
                    connection.close()
            elif connection.is_idle:
                if quiet_seconds > settings.idle_timeout:
                    connection.close()
            elif quiet_seconds > settings.request_timeout:
                connection.give_up(settings.request_timeout)
            if connection.conversation.partial_seconds > settings.request_timeout:
                connection.close()

    def finish(self) -> None:
        """Accept no more clients, and answer what those have asked that there are."""
        for listener in self._listeners:
            if listener not in self._paused_listeners:
                self.loop.unwatch(listener.fileno())
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
            close_listener(listener, is_ours=self._are_ours)
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
        return str(Address(*address[:2]))
    return "unix:0"


def _affordable_clients(settings: Settings) -> int:
    """Raise the limit of open files as far as it goes, and return how many clients it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = SPARE_DESCRIPTORS + LINGERING_REFUSALS + DESCRIPTORS_PER_WORKER * settings.workers
    wanted = settings.max_clients
    needed = wanted + spare
    if soft < needed:
        wished = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
            soft = wished
        except (OSError, ValueError) as error:
            log.warning("cannot raise the limit of open files to %s: %s", wished, error)
    affordable = max(1, min(wanted, soft - spare))
    if affordable < wanted:
        log.warning("max_clients lowered to %s by the limit of open files, %s", affordable, soft)
    return affordable
