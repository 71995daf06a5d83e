"""Tests of client connections: scheduling, admission, eviction and isolation of errors.

The sockets and epoll are real, but the clock is fake: it advances by a step whenever it is
read, so how much fits into a loop iteration does not depend on the machine.
"""

import errno
import gc
import logging
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fibcommon.service.admission import ReadRate
from fibserver.commands.session import ClientInfo
from fibserver.core.client_limits import (
    AUTH_DELAY_SECONDS,
    REQUEST_SECONDS,
    SLICE_SECONDS,
    Eviction,
)
from fibserver.core.event_loop import EventLoop
from fibserver.engine.engine import Engine
from fibserver.network.connection import ClientConnection, ConnectionState
from fibserver.network.connections import SWEEP_CONNECTIONS, Clients
from fibserver.network.output_queue import MAX_PENDING_BYTES
from fibserver.settings import ServerSettings
from tests.fibserver.commands.test_commands import CommandServer

STEP_SECONDS = 1e-5
PONG = b"+PONG\r\n"


class TickingClock:
    """A clock that advances whenever it is read.

    Attributes:
        now: The time, in seconds.
        step: How far each call advances it.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = STEP_SECONDS

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class SteppedServer(CommandServer):
    """A server with real clients and without an engine.

    Attributes:
        clock: The clock of the loop.
        loop: The event loop.
        client_connections: The client connections.
    """

    def __init__(self, path: Path, password: bytes | None = None, **settings: Any) -> None:
        super().__init__(ServerSettings(**settings), password)
        self.clock = TickingClock()
        self.loop = EventLoop(self.clock)
        self._path = str(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen(1024)
        listener.setblocking(False)
        self.client_connections = Clients(self, self.loop, cast(Engine, None), [listener])
        self._sockets: list[socket.socket] = []

    def clients(self) -> Iterator[ClientInfo]:
        """Return information about all clients."""
        return self.client_connections.infos()

    def client(self, client_id: int) -> ClientInfo | None:
        """Return information about one client."""
        return self.client_connections.info_of(client_id)

    def close_client(self, client_id: int) -> None:
        """Close the connection of a client."""
        self.client_connections.close_client(client_id)

    def iterate(self, count: int = 1) -> None:
        """Run iterations of the loop without waiting."""
        for _ in range(count):
            self.loop.run_once(0)
            self.client_connections.accept()
            self.client_connections.serve()

    def tick(self) -> None:
        """Start periodic maintenance, and run the loop until it is complete."""
        self.client_connections.tick()
        self.iterate()
        while self.client_connections._sweep is not None:
            self.iterate()

    def connect(self, buffer_bytes: int = 0) -> socket.socket:
        """Connect a client, and let the server accept or reject it."""
        sock = socket.socket(socket.AF_UNIX)
        if buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        sock.connect(self._path)
        sock.setblocking(False)
        self._sockets.append(sock)
        self.iterate()
        return sock

    def connection(self, number: int) -> ClientConnection:
        """Return the connection of a client, numbered from 0 in order of arrival."""
        return self.client_connections._connections[number + 1]

    def close(self) -> None:
        """Close the server and all clients."""
        self.client_connections.close()
        self.loop.close()
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., SteppedServer]]:
    """Return a factory of servers that are closed after the test."""
    made: list[SteppedServer] = []

    def make(**settings: Any) -> SteppedServer:
        made.append(SteppedServer(tmp_path / f"s{len(made)}", **settings))
        return made[-1]

    yield make
    for server in made:
        server.close()


def received(sock: socket.socket) -> bytes:
    """Return the received bytes; b"" if there are none, or the connection is closed."""
    try:
        return sock.recv(1 << 20)
    except (BlockingIOError, ConnectionResetError):
        return b""


def is_closed(sock: socket.socket) -> bool:
    """Return whether the server has closed a connection without pending output."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# Loop time.


def test_pipeline_is_executed_in_time_slices(make_server: Callable[..., SteppedServer]) -> None:
    """An iteration executes only as much of a pipeline as fits into its time slices."""
    server = make_server()
    greedy, modest = server.connect(), server.connect()
    greedy.sendall(b"ECHO x\r\n" * 1000)
    server.clock.step = SLICE_SECONDS / 10
    server.iterate()
    first = received(greedy).count(b"x")
    assert 0 < first <= 100
    modest.sendall(b"PING\r\n")
    server.iterate()
    assert received(modest) == PONG
    turns, replies = 2, first + received(greedy).count(b"x")
    while replies < 1000:
        server.iterate()
        turns += 1
        assert turns < 1000
        replies += received(greedy).count(b"x")
    assert turns > 10
    assert received(greedy) == b""
    assert server.client_connections.next_due == float("inf")


def test_busy_clients_take_turns(make_server: Callable[..., SteppedServer]) -> None:
    """Pipelines that arrive together are served round-robin, one time slice each."""
    server = make_server()
    clients = [server.connect() for _ in range(5)]
    for sock in clients:
        sock.sendall(b"ECHO x\r\n" * 500)
    server.clock.step = SLICE_SECONDS / 10
    replies = [0] * 5
    while max(replies) < 500:
        server.iterate()
        replies = [
            n + received(sock).count(b"x") for n, sock in zip(replies, clients, strict=True)
        ]
        assert max(replies) - min(replies) <= 30


def test_slow_machine_notices_the_end_of_a_client_that_waits(
    make_server: Callable[..., SteppedServer],
) -> None:
    """Output that cannot be sent leaves no request unexecuted, however short a time slice is."""
    server = make_server()
    sock = server.connect()
    server.clock.step = SLICE_SECONDS  # each slice is over after one request
    connection = server.connection(0)
    while connection.blocked_since == float("inf"):
        assert connection.state is ConnectionState.OPEN
        sock.sendall(b"*2\r\n$4\r\nECHO\r\n$3000\r\n%s\r\n" % (b"x" * 3000))
        server.iterate()
    assert not connection.handler.output.is_full
    sock.sendall(b"PING\r\nPING\r\n")
    sock.shutdown(socket.SHUT_WR)
    server.iterate(10)
    assert server.statistics.command("ping").calls == 2
    assert connection.state is ConnectionState.ENDED


def test_many_requests_are_served_over_several_iterations(
    make_server: Callable[..., SteppedServer],
) -> None:
    """Many simultaneous requests do not make an iteration long: later ones are queued."""
    server = make_server()
    crowd = [server.connect() for _ in range(200)]
    for sock in crowd:
        sock.sendall(b"PING\r\n")
    server.clock.step = SLICE_SECONDS / 10
    answered: list[int] = []
    while sum(answered) < len(crowd):
        server.iterate()
        answered.append(sum(received(sock) == PONG for sock in crowd))
        assert len(answered) < 200
    assert max(answered) < 50
    assert len(answered) > 4


def test_cached_replies_use_time_budget(make_server: Callable[..., SteppedServer]) -> None:
    """Requests answered from the reply cache use up the time budget as well."""
    server = make_server()
    server.client_connections.reply_cache.put(
        b"READY\r\n", [b"+1\r\n"], server.statistics.command("ready")
    )
    crowd = [server.connect() for _ in range(100)]
    for sock in crowd:
        sock.sendall(b"READY\r\n")
    server.clock.step = SLICE_SECONDS
    server.iterate()
    assert sum(received(sock) == b"+1\r\n" for sock in crowd) < 50
    assert server.client_connections.next_due <= server.loop.now
    server.iterate(100)
    assert server.statistics.command("ready").calls == 100


def test_waiting_in_the_queue_is_no_execution(make_server: Callable[..., SteppedServer]) -> None:
    """Time in the queue counts as waiting time, not as execution time."""
    server = make_server()
    sock = server.connect()
    sock.sendall(b"PING\r\n")
    server.loop.budget.is_spent = True
    server.connection(0).on_event(1)
    server.loop.budget.is_spent = False
    server.clock.now += 5.0
    server.iterate()
    assert received(sock) == PONG
    ping = server.statistics.command("ping")
    assert ping.waiting_seconds > 4.9
    assert ping.seconds < 1.0
    assert sum(ping.waits) == sum(ping.latencies) == ping.calls == 1


def test_a_request_is_not_charged_with_those_before_it(
    make_server: Callable[..., SteppedServer],
) -> None:
    """A slow request in a pipeline adds to the waiting time of later ones only."""
    server = make_server()
    server.client_connections.reply_cache.put(
        b"READY\r\n", [b"+1\r\n"], server.statistics.command("ready")
    )
    table = server.client_connections.reply_cache.put
    table(b"LATER\r\n", [b"+1\r\n"], server.statistics.command("later"))
    sock = server.connect()

    def slow_info_text(sections: list[str]) -> str:
        server.clock.now += 1.0
        return "slow"

    server.info_text = slow_info_text  # type: ignore[method-assign]
    sock.sendall(b"PING\r\nREADY\r\nINFO\r\nLATER\r\nECHO x\r\n")
    server.iterate(10)
    assert received(sock).endswith(b"+1\r\n$1\r\nx\r\n")
    commands = {name: server.statistics.command(name) for name in ("ping", "ready", "info")}
    commands |= {name: server.statistics.command(name) for name in ("later", "echo")}
    assert [name for name, statistics in commands.items() if statistics.seconds > 0.5] == ["info"]
    waited = [name for name, statistics in commands.items() if statistics.waiting_seconds > 0.5]
    assert waited == ["info", "later", "echo"]
    assert [entry.words for entry in server.slow_log.entries] == [[b"INFO"]]


def test_calls_that_fail_are_in_the_histograms(make_server: Callable[..., SteppedServer]) -> None:
    """Every call has one entry in each histogram; rejected requests are not calls."""
    server = make_server()
    sock = server.connect()
    sock.sendall(b"SELECT 0\r\nSELECT 1\r\nSELECT x\r\nSELECT\r\nCLIENT KILL no\r\nEXEC\r\n")
    server.iterate(10)
    assert received(sock).count(b"-ERR") == 5
    calls = {name: statistics.calls for name, statistics in server.statistics.commands.items()}
    assert calls == {"select": 3, "client": 1, "exec": 1}
    for statistics in server.statistics.commands.values():
        assert statistics.calls == sum(statistics.latencies) == sum(statistics.waits)
    select = server.statistics.command("select")
    assert (select.failed_calls, select.rejected_calls) == (2, 1)


def test_a_client_is_not_charged_with_those_before_it(
    make_server: Callable[..., SteppedServer],
) -> None:
    """Execution times of cached replies exclude other clients' requests in the iteration."""
    server = make_server()
    ready = server.statistics.command("ready")
    server.client_connections.reply_cache.put(b"READY\r\n", [b"+1\r\n"], ready)
    crowd = [server.connect() for _ in range(10)]
    for sock in crowd:
        sock.sendall(b"READY\r\n")
    server.clock.step = 1e-4
    server.iterate()
    assert ready.calls == 10
    assert ready.seconds == pytest.approx(10e-4)
    assert ready.waiting_seconds == pytest.approx(55e-4)
    assert server.connection(0).session.last_command == "ready"


# Long replies.


def test_exec_is_made_as_it_is_sent(make_server: Callable[..., SteppedServer]) -> None:
    """For a client that reads nothing, the reply to EXEC is generated until its output is full."""
    server = make_server()
    sock = server.connect()
    count = 200
    sock.sendall(b"MULTI\r\n" + b"COMMAND DOCS\r\n" * count + b"EXEC\r\nPING\r\n")
    server.iterate(500)
    sock_output = server.connection(0).handler.output
    assert 0 < sock_output.held_bytes < 2 * MAX_PENDING_BYTES
    assert server.client_connections.output_total.held_bytes == sock_output.held_bytes
    output = b""
    while not output.endswith(PONG):
        server.iterate()
        output += received(sock)
    docs = server.connect()
    docs.sendall(b"COMMAND DOCS\r\n")
    server.iterate()
    head = b"+OK\r\n" + b"+QUEUED\r\n" * count + b"*%d\r\n" % count
    assert output == head + received(docs) * count + PONG
    assert server.client_connections.output_total.held_bytes == 0


def test_a_list_of_many_takes_many_steps(make_server: Callable[..., SteppedServer]) -> None:
    """CLIENT LIST of many clients is built in several iterations, and lists all of them."""
    server = make_server()
    asking = server.connect()
    for _ in range(300):
        server.connect()
    asking.sendall(b"CLIENT LIST\r\n")
    server.clock.step = SLICE_SECONDS
    server.iterate()
    assert received(asking) == b""
    server.iterate(30)
    assert received(asking).count(b"\n") == 301 + 2
    assert len(server.listings) == 0


def test_closed_client_discards_its_list(make_server: Callable[..., SteppedServer]) -> None:
    """Closing a client while its list is being built discards the list."""
    server = make_server()
    asking = server.connect()
    for _ in range(100):
        server.connect()
    asking.sendall(b"CLIENT LIST\r\n")
    server.clock.step = SLICE_SECONDS
    server.iterate()
    assert len(server.listings) == 1
    server.close_client(1)
    assert len(server.listings) == 0
    assert not server.client_connections._queue.new
    assert not server.client_connections._queue.busy


# Memory.


def unread(server: SteppedServer, count: int) -> list[socket.socket]:
    """Return clients that read nothing, with full sockets and 50 KB of pending output."""
    clients = []
    for _ in range(count):
        sock = server.connect()
        sock.sendall(b"COMMAND DOCS\r\n" * 200)
        server.clock.now += 1.0
        server.iterate(20)
        connection = list(server.client_connections._connections.values())[-1]
        assert connection.held_bytes
        connection.handler.output.push(bytes(50_000))
        connection.on_event(0)
        server.iterate()
        clients.append(sock)
    return clients


def test_output_is_bounded(
    make_server: Callable[..., SteppedServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Above max_output_bytes, clients that have read nothing for longest are evicted."""
    server = make_server(max_output_bytes=2**20)
    unread(server, 30)
    assert 0 < server.client_connections.output_total.held_bytes <= 2**20
    evicted = server.statistics.evictions[Eviction.OUTPUT_MEMORY]
    assert 0 < evicted < 30
    kept = [number for number in range(30) if number + 1 in server.client_connections._connections]
    assert kept == list(range(evicted, 30)), "the clients whose sockets filled up last"
    assert "evicted to free resources: output_memory" in caplog.text


def test_active_reader_is_not_evicted(make_server: Callable[..., SteppedServer]) -> None:
    """A client that reads is not evicted because of clients that do not."""
    server = make_server(max_output_bytes=2**20)
    reading = server.connect()
    reading.sendall(b"COMMAND DOCS\r\n" * 1000)
    server.iterate(20)
    server.tick()
    for _ in range(20):
        unread(server, 1)
        assert reading.recv(50_000)
        server.tick()
    assert 1 in server.client_connections._connections
    assert server.connection(0).held_bytes > 0
    assert server.statistics.evictions[Eviction.OUTPUT_MEMORY] > 0


def test_a_slow_reader_is_seen_to_read(make_server: Callable[..., SteppedServer]) -> None:
    """Bytes read by the peer are noticed before its socket has room again."""
    server = make_server(max_output_bytes=1024**3)
    (sock,) = unread(server, 1)
    connection = server.connection(0)
    blocked_since = connection.blocked_since
    server.clock.now += 1.0
    server.tick()
    server.tick()
    assert connection.blocked_since == blocked_since, "it has read nothing"
    assert sock.recv(50_000)
    server.tick()
    assert connection.blocked_since > blocked_since + 0.9


def test_ones_own_pace_is_no_latency(make_server: Callable[..., SteppedServer]) -> None:
    """The time a client takes to read earlier replies is not part of any latency."""
    server = make_server()
    sock = server.connect()
    sock.sendall(b"COMMAND DOCS\r\n" * 500 + b"PING\r\n")
    server.clock.step = 0.0
    server.iterate(20)
    server.clock.now += 100.0
    while not received(sock).endswith(PONG):
        server.iterate()
    assert server.statistics.command("ping").waiting_seconds < 1.0


# Admission.


def ping(server: SteppedServer, sock: socket.socket) -> bytes:
    """Send PING and return the reply."""
    sock.sendall(b"PING\r\n")
    server.iterate(2)
    return received(sock)


def test_longest_idle_connection_is_closed_at_limit(
    make_server: Callable[..., SteppedServer],
) -> None:
    """At the limit a new connection replaces the longest idle one.

    A connection that has sent part of a request counts as idle.
    """
    server = make_server(max_clients=3)
    first, second, third = (server.connect() for _ in range(3))
    server.clock.now += 1.0
    second.sendall(b"*1\r\n$4\r\nPI")
    server.iterate()
    server.clock.now += 1.0
    assert ping(server, first) == PONG
    for _ in range(2):
        assert ping(server, server.connect()) == PONG
    assert is_closed(third)
    assert is_closed(second)
    assert not is_closed(first)
    assert server.statistics.evictions == {Eviction.IDLE: 2}
    assert server.statistics.connections_rejected == 0


def test_client_with_held_error_can_be_evicted(make_server: Callable[..., SteppedServer]) -> None:
    """A client that waits after a failed authentication can be evicted."""
    server = make_server(password=b"secret", max_clients=2)
    guessing = [server.connect() for _ in range(2)]
    for sock in guessing:
        sock.sendall(b"AUTH 1\r\n")
    server.iterate()
    newcomer = server.connect()
    newcomer.sendall(b"AUTH secret\r\nPING\r\n")
    server.iterate()
    assert received(newcomer) == b"+OK\r\n" + PONG
    assert server.statistics.evictions == {Eviction.IDLE: 1}


def test_client_with_new_request_is_not_evicted(make_server: Callable[..., SteppedServer]) -> None:
    """A client whose request arrives together with a new connection is not evicted."""
    server = make_server(max_clients=2)
    first, second = server.connect(), server.connect()
    server.clock.now += 1.0
    server.loop.now = server.clock.now  # as at the start of an iteration
    first.sendall(b"PING\r\n")
    server.loop.budget.end = 0.0
    newcomer = socket.socket(socket.AF_UNIX)
    newcomer.connect(server._path)
    server._sockets.append(newcomer)
    listener = server.client_connections._listeners[0]
    server.client_connections._on_listener_ready(listener, 1)
    server.client_connections.accept()
    assert received(first) == PONG
    assert is_closed(second)


def test_slow_readers_give_way_next(make_server: Callable[..., SteppedServer]) -> None:
    """Without idle clients, the slowest reader is evicted, but none that reads fast enough."""
    server = make_server(max_clients=3, max_output_bytes=1024**3)
    unread(server, 3)
    for number, read_rate in enumerate((100.0, 50.0)):
        connection = server.connection(number)
        connection.read_rate = ReadRate(0.0, 0)
        connection.read_rate.bytes_per_second = read_rate
    newcomer = server.connect()
    assert ping(server, newcomer) == PONG
    assert sorted(server.client_connections._connections) == [1, 3, 4]
    assert server.statistics.evictions == {Eviction.SLOW_READER: 1}


def test_connection_is_rejected_if_none_can_be_evicted(
    make_server: Callable[..., SteppedServer],
) -> None:
    """A new connection is rejected if all others are being served."""
    server = make_server(max_clients=2, max_output_bytes=1024**3)
    unread(server, 2)
    newcomer = server.connect()
    assert received(newcomer) == b"-ERR max number of clients reached\r\n"
    assert sorted(server.client_connections._connections)[:2] == [1, 2]
    assert server.statistics.connections_rejected == 1
    assert server.statistics.evictions.total() == 0


def test_pace_is_measured_while_the_socket_is_full(
    make_server: Callable[..., SteppedServer],
) -> None:
    """A reader's rate is known half a minute after its socket is full, and reset later."""
    server = make_server(max_output_bytes=1024**3)
    (sock,) = unread(server, 1)
    connection = server.connection(0)
    server.tick()
    for _ in range(4):
        server.clock.now += 10.0
        sock.recv(100)
        server.tick()
    assert connection.read_rate is not None
    assert connection.read_rate.is_slow
    while connection.handler.output:
        received(sock)
        server.iterate()
    assert connection.read_rate is None


def test_idle_clients_are_kept(make_server: Callable[..., SteppedServer]) -> None:
    """By default an idle client is closed only when a new connection needs its place."""
    server = make_server(max_clients=2)
    first, second = server.connect(), server.connect()
    for sock in (second, first):
        server.clock.now += 1e6
        server.tick()
        sock.sendall(b"PING\r\n")
        server.iterate()
        assert received(sock) == PONG
    third = server.connect()
    assert (is_closed(first), is_closed(second), is_closed(third)) == (False, True, False)
    assert server.statistics.evictions == {Eviction.IDLE: 1}


def test_maintenance_is_spread_over_iterations(make_server: Callable[..., SteppedServer]) -> None:
    """A tick checks all connections, a limited number in each iteration."""
    server = make_server(idle_timeout=1)
    for _ in range(2 * SWEEP_CONNECTIONS + 10):
        server.connect()
    server.clock.now += 2.0
    server.loop.run_once(0)
    server.client_connections.tick()
    left = [len(server.client_connections)]
    while left[-1]:
        assert server.client_connections.next_due <= server.loop.now
        server.iterate()
        left.append(len(server.client_connections))
    assert left == [410, 210, 10, 0]


def test_a_request_must_be_complete_in_time(make_server: Callable[..., SteppedServer]) -> None:
    """A request that arrives slowly times out, however long request_timeout is."""
    server = make_server(request_timeout=600)
    sock = server.connect()
    for byte in b"*1\r\n$4\r\nPI":
        sock.sendall(bytes([byte]))
        server.iterate()
        server.tick()
        assert not is_closed(sock)
        server.clock.now += REQUEST_SECONDS / 10.5
    server.clock.now += REQUEST_SECONDS / 5
    server.iterate()
    server.tick()
    assert is_closed(sock)


# Failed authentication.


def test_a_failed_authentication_is_slow(
    make_server: Callable[..., SteppedServer], caplog: pytest.LogCaptureFixture
) -> None:
    """The error is delayed by a second, as are later requests of that client only."""
    server = make_server(password=b"secret")
    guessing, other = server.connect(), server.connect()
    guessing.sendall(b"PING\r\nAUTH 1\r\nHELLO 3 AUTH default 2\r\nAUTH secret\r\nPING\r\n")
    start = server.loop.now
    server.iterate(10)
    assert received(guessing) == b"-NOAUTH Authentication required.\r\n"
    assert (
        start + AUTH_DELAY_SECONDS - 0.1
        < server.client_connections.next_due
        <= server.clock.now + 1.0
    )
    other.sendall(b"AUTH secret\r\nPING\r\n")
    server.iterate()
    assert received(other) == b"+OK\r\n" + PONG
    for _ in range(2):
        server.clock.now = server.client_connections.next_due - 0.1
        server.iterate()
        assert received(guessing) == b""
        server.clock.now += 0.2
        server.iterate()
        assert received(guessing).startswith(b"-WRONGPASS ")
    server.iterate()
    assert server.client_connections.next_due == float("inf")
    guessing.sendall(b"")
    assert server.statistics.errors["WRONGPASS"] == 2
    assert caplog.text.count("failed authentication") == 2


def test_closed_client_discards_held_error(make_server: Callable[..., SteppedServer]) -> None:
    """Closing a client discards its held-back error."""
    server = make_server(password=b"secret")
    guessing = server.connect()
    guessing.sendall(b"AUTH 1\r\n")
    server.iterate()
    server.close_client(1)
    assert server.client_connections.next_due == float("inf")


# The loop.


def test_a_closed_connection_is_freed_at_once(make_server: Callable[..., SteppedServer]) -> None:
    """A closed connection is in no reference cycle, so it needs no garbage collection."""
    server = make_server()
    gc.disable()
    try:
        for data in (b"", b"PING\r\n", b"CLIENT LIST\r\n" * 100, b"AUTH a b\r\n", b"HELLO 3"):
            sock = server.connect()
            sock.sendall(data)
            server.iterate(3)
            (connection,) = server.client_connections._connections.values()
            session = weakref.ref(connection.session)
            server.close_client(connection.session.client_id)
            del connection
            assert session() is None
    finally:
        gc.enable()


# Errors that affect one client only.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_client_that_epoll_rejects_is_closed(
    make_server: Callable[..., SteppedServer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    """If epoll cannot register a client, only that client is closed."""
    server = make_server()
    unlucky, lucky = server.connect(), server.connect()
    modify = server.loop.modify

    def fail_for_the_first(fd: int, events: int) -> None:
        if fd == server.connection(0).socket.fileno():
            raise OSError(number, "no room")
        modify(fd, events)

    monkeypatch.setattr(server.loop, "modify", fail_for_the_first)
    unlucky.sendall(b"COMMAND DOCS\r\n" * 1000)
    server.iterate(10)
    assert sorted(server.client_connections._connections) == [2]
    assert "cannot register with epoll" in caplog.text
    assert ping(server, lucky) == PONG

    def fail(*_: object) -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr(server.loop, "register", fail)
    assert is_closed(server.connect())
    monkeypatch.undo()
    assert ping(server, server.connect()) == PONG


def test_memory_runs_out_for_one_client(
    make_server: Callable[..., SteppedServer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If memory runs out for a client, it is closed and logged, and others are served."""
    server = make_server()
    unlucky, lucky = server.connect(), server.connect()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("fibserver.network.request_handler.parse_request", fail)
    unlucky.sendall(b"PING\r\n")
    server.iterate()
    assert is_closed(unlucky)
    monkeypatch.undo()
    assert ping(server, lucky) == PONG
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "closed, out of memory" in record.getMessage()
