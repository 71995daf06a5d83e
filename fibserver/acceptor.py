"""The acceptor: one process, one epoll loop, every socket.

                         ┌────────── epoll ──────────┐
    clients ─ connect ──>│ listeners                 │
    clients <─ replies ──│ connections ── arrays     │──── task ───> worker × W
    signals ────────────>│ wake-up pipe   fair queue │<── outcome ──    │
                         └────────────────── ▲ ──────┘                  │
                                             └────── shared memory <────┘

The loop never computes a big number and never blocks. One turn of it: wait for events; handle
each; accept; once a second, look after what no event tells of; send what blocks finished in
this turn made ready; give workers blocks. The order matters twice. Connections are accepted
last of all events, since a descriptor closed in this turn may be given out again, and its
stale events must not reach the newcomer. Blocks are handed out after everything that can ask
for one.

Signals: Python's handlers run between byte codes, so they do nothing; the wake-up descriptor
carries the number of the signal into the loop, where it is an event like any other.

Descriptors: workers are forked from this process, also long after its start, and inherit
every descriptor until they close them. So a connection is unregistered from epoll before it
is closed: epoll would go on reporting a socket that another process still holds.
"""

import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from select import EPOLLIN, epoll

from fibclient.address import Address, parse_address
from fibclient.formats import Format
from fibserver.arena import Arena
from fibserver.connection import Connection, State
from fibserver.fair_queue import FairQueue
from fibserver.growth import Block
from fibserver.information import Facts, render_information
from fibserver.layout import ArenaLayout
from fibserver.listeners import address_of, close_listener, open_listener
from fibserver.replay import ReplayTable
from fibserver.session import Session
from fibserver.settings import Settings
from fibserver.shared_arrays import SharedArrays
from fibserver.statistics import Statistics
from fibserver.worker import work
from fibserver.worker_pool import WorkerPool

__all__ = ["Acceptor"]

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
ACCEPTS_PER_TURN = 64
LINGERING_REFUSALS = 32
"""How many clients beyond the limit are told so; further ones are just closed."""
SPARE_DESCRIPTORS = 32
DESCRIPTORS_PER_WORKER = 4
"""What stays free of clients besides: for listeners, arena, logs, and each worker."""


class Phase(Enum):
    """What the acceptor is doing."""

    SERVING = "accepting and answering"
    DRAINING = "answering what was asked before the end was asked for"
    STOPPED = "done"


class Acceptor:
    """The server process.

    Attributes:
        settings: in force.
        now: the time of this turn of the loop, monotonic, in seconds.
        arrays: the published elements.
        queue: who waits for workers.
        replay: requests seen before.
        statistics: what has happened so far.
    """

    def __init__(
        self, settings: Settings, work: Callable[[socket.socket, Arena], None] = work
    ) -> None:
        """Open the listeners and the arena, and start the workers.

        Args:
            settings: how to serve.
            work: the main function of a worker.

        Raises:
            ListenError: an address cannot be listened on.
            OSError: there is no room in /dev/shm.
        """
        self.settings = settings
        self.now = time.monotonic()
        self.statistics = Statistics()
        self.replay = ReplayTable()
        self.queue = FairQueue()
        self._phase = Phase.SERVING
        self._started = self.now
        self._next_tick = self.now + TICK_SECONDS
        self._drain_deadline = float("inf")
        self._max_clients = _affordable_clients(settings)
        self._next_client_id = 1
        self._connections: dict[int, Connection] = {}
        self._to_send: dict[Connection, None] = {}
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._listeners: list[socket.socket] = []
        self._waiting_listeners: list[socket.socket] = []
        try:
            for text in settings.listen:
                self._listeners.append(open_listener(parse_address(text)))
            self._arena = Arena(ArenaLayout(settings.memory_limit))
        except BaseException:
            for listener in self._listeners:
                close_listener(listener)
            raise
        self._paused_listeners = list(self._listeners)
        self._resume_listeners()
        self.arrays = SharedArrays(self._arena, settings.memory_limit)
        self._pool = WorkerPool(
            settings.workers, self._arena, self.queue, self, self._watch, self._unwatch, work
        )

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect, with the ports that the kernel chose."""
        return [address_of(listener) for listener in self._listeners]

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then answer what was asked, and return."""
        with _SignalPipe() as signals:
            self._watch(signals.fileno(), lambda _: self._on_signals(signals.take()))
            self._pool.top_up()
            where = ", ".join(map(str, self.addresses))
            log.info("ready on %s with %s workers", where, self.settings.workers)
            while self._phase is not Phase.STOPPED:
                # Handing out can fail a block for good, which leaves an error to send.
                events = self._epoll.poll(0 if self._to_send else self._next_tick - self.now)
                self.now = time.monotonic()
                for fd, event in events:
                    handler = self._handlers.get(fd)
                    if handler is not None:  # else closed earlier in this turn
                        handler(event)
                self._accept()
                if self.now >= self._next_tick:
                    self._tick()
                self._send_ready()
                self._pool.hand_out()
                if self._phase is Phase.DRAINING:
                    self._drain()

    def close(self) -> None:
        """End the workers, and close every socket and the arena."""
        self._pool.close()
        for connection in list(self._connections.values()):
            connection.close()
        for listener in self._listeners:
            close_listener(listener)
        self._epoll.close()
        self.replay.clear()
        self.arrays.close()
        self._arena.close()

    # The loop's own descriptors.

    def _watch(self, fd: int, handler: Callable[[int], None]) -> None:
        self._epoll.register(fd, EPOLLIN)
        self._handlers[fd] = handler

    def _unwatch(self, fd: int) -> None:
        del self._handlers[fd]
        self._epoll.unregister(fd)

    # Clients.

    def _has_clients(self, listener: socket.socket, _events: int) -> None:
        self._waiting_listeners.append(listener)

    def _accept(self) -> None:
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
        self._unwatch(listener.fileno())
        self._paused_listeners.append(listener)

    def _resume_listeners(self) -> None:
        for listener in self._paused_listeners:
            self._watch(listener.fileno(), partial(self._has_clients, listener))
        self._paused_listeners.clear()

    def _admit(self, sock: socket.socket, address: object) -> None:
        self.statistics.connections_received += 1
        sock.setblocking(False)
        surplus = len(self._connections) - self._max_clients
        if surplus >= LINGERING_REFUSALS:
            sock.close()
            self.statistics.connections_rejected += 1
            return
        name = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unix:"
        session = Session(self, self._next_client_id, name)
        self._next_client_id += 1
        connection = Connection(sock, session, self)
        self._watch(sock.fileno(), connection.on_event)
        self._connections[sock.fileno()] = connection
        if surplus >= 0:
            self.statistics.connections_rejected += 1
            connection.refuse("max number of clients reached")

    def watch_for(self, connection: Connection, events: int) -> None:
        """Watch a connection for other events than so far."""
        self._epoll.modify(connection.socket.fileno(), events)

    def send_soon(self, connection: Connection) -> None:
        """Have `on_event` called, without an event, before the loop waits again."""
        self._to_send[connection] = None

    def forget(self, connection: Connection) -> None:
        """Unwatch a connection that is about to close its socket."""
        fd = connection.socket.fileno()
        self._unwatch(fd)
        del self._connections[fd]
        self._to_send.pop(connection, None)

    def _send_ready(self) -> None:
        while self._to_send:
            connection, _ = self._to_send.popitem()
            connection.on_event(0)

    # What commands ask.

    def slice_size(self, format: Format, start: int, stop: int) -> int:
        """Return the size in bytes of elements start to stop-1."""
        return self.arrays[format].slice_size(start, stop)

    def information(self, sections: list[str]) -> str:
        """Return the text of INFO for these sections, or for all."""
        facts = Facts(
            uptime_seconds=int(self.now - self._started),
            port=next((each.port for each in self.addresses if each.port), 0),
            max_clients=self._max_clients,
            connected_clients=len(self._connections),
            waiting_clients=sum(each.is_waiting for each in self._connections.values()),
            worker_pids=self._pool.pids,
            busy_workers=self._pool.busy,
            worker_deaths=self._pool.deaths,
            settings=self.settings,
            statistics=self.statistics,
            arrays=self.arrays,
        )
        return render_information(facts, sections)

    # What workers report.

    def block_finished(self, block: Block) -> None:
        """Publish a filled block."""
        self.statistics.blocks_filled += 1
        self.arrays.block_finished(block)

    def block_failed(self, block: Block, message: str, code: str) -> None:
        """Fail the answers that need a block."""
        self.statistics.blocks_failed += 1
        log.error("%s elements %s to %s: %s", block.format.name, block.start, block.stop, message)
        self.arrays.block_failed(block, message, code)

    # Time and signals.

    def _tick(self) -> None:
        """Once a second: try again what failed, and close what has stalled."""
        self._next_tick = self.now + TICK_SECONDS
        self._pool.top_up()
        self._resume_listeners()
        idle_since = self.now - self.settings.idle_timeout
        stalled_since = self.now - self.settings.request_timeout
        for connection in list(self._connections.values()):
            if connection.state is State.LINGERING:
                limit = self.now - TICK_SECONDS
            else:
                limit = idle_since if connection.is_idle else stalled_since
            if connection.last_progress < limit:
                connection.close()

    def _on_signals(self, numbers: bytes) -> None:
        names = ", ".join(signal.Signals(number).name for number in numbers)
        log.info("received %s", names)
        self._phase = Phase.DRAINING if self._phase is Phase.SERVING else Phase.STOPPED

    def _drain(self) -> None:
        if self._listeners:
            self._start_drain()
        if not self._connections:
            self._phase = Phase.STOPPED
        elif self.now >= self._drain_deadline:
            log.warning("%s clients unanswered at the end", len(self._connections))
            self._phase = Phase.STOPPED

    def _start_drain(self) -> None:
        self._drain_deadline = self.now + self.settings.drain_timeout
        self._resume_listeners()
        for listener in self._listeners:
            self._unwatch(listener.fileno())
            close_listener(listener)
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.finish()


class _SignalPipe:
    """SIGTERM and SIGINT as bytes from a descriptor."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with a signal."""
        return self._reader

    def take(self) -> bytes:
        """Return the numbers of the signals that have come."""
        return os.read(self._reader, 64)

    def __enter__(self) -> "_SignalPipe":
        self._previous = {
            number: signal.signal(number, lambda *_: None) for number in self._NUMBERS
        }
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)


def _affordable_clients(settings: Settings) -> int:
    """Raise the limit of open files as far as it goes, and return how many clients it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = SPARE_DESCRIPTORS + LINGERING_REFUSALS + DESCRIPTORS_PER_WORKER * settings.workers
    wanted = settings.max_clients
    needed = wanted + spare
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    affordable = max(1, min(wanted, soft - spare))
    if affordable < wanted:
        log.warning("max_clients lowered to %s by the limit of open files, %s", affordable, soft)
    return affordable
