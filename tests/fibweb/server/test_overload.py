"""Isolation of clients: those that disconnect, stall, crowd the server or send nonsense."""

import resource
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibclient import Cancellation, FibClient
from fibweb import create_app
from fibweb.content.fetch_request import FetchRequest
from fibweb.overload import fetch_queue
from fibweb.server import server as http_server
from fibweb.server.channel import Channel
from fibweb.server.event_loop import WORK_SECONDS_PER_ITERATION, Loop, Worker
from fibweb.server.request import HttpRequest
from fibweb.server.server import HttpLimits
from tests.fibweb.server.applications import IMMUTABLE, strange
from tests.fibweb.server.threaded_server import OwnServer, connect, read_all, send_read
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

Start = Callable[..., OwnServer]

MIB = 1024**2


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that are stopped after the test."""
    started: list[OwnServer] = []

    def one(app: Callable[..., Any], **limits: Any) -> OwnServer:
        own = OwnServer(app, tmp_path / f"http-{len(started)}", HttpLimits(**limits))
        started.append(own)
        return own

    yield one
    for own in started:
        own.stop()


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Connections that are closed after the test."""
    with ExitStack() as stack:
        yield stack


def get(target: str) -> bytes:
    """Return the bytes of a request."""
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def get_and_close(target: str) -> bytes:
    """Return a request after which the connection closes."""
    return get(target).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def first_line(client: socket.socket) -> bytes:
    """Receive a response, and return its first line."""
    return client.recv(65536).partition(b"\r\n")[0]


def status_of(path: Path, target: str) -> bytes:
    """Send a request on a new connection; return the first line of the response."""
    with connect(path) as client:
        client.sendall(get(target))
        return first_line(client)


class GatedFetches:
    """Application whose fetches, named by the query, block until the test opens the gate.

    Attributes:
        is_open: Event that lets all fetches end.
        running: Names of the fetches that run.
        ran: Names of the fetches that have ended.
        cancelled: Names of the fetches that were cancelled.
    """

    def __init__(self, cost_seconds: float = 0.001, size: int = 6) -> None:
        self.is_open = threading.Event()
        self.running: list[str] = []
        self.ran: list[str] = []
        self.cancelled: list[str] = []
        self._cost = cost_seconds
        self._size = size

    def _run(self, name: str, cancellation: Cancellation | None) -> bytes:
        assert cancellation is not None
        self.running.append(name)
        while not self.is_open.wait(0.01):
            if cancellation.is_cancelled:
                self.cancelled.append(name)
                break
        self.running.remove(name)
        self.ran.append(name)
        return b"x" * self._size

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = environ["QUERY_STRING"]
        if not name:
            return strange({**environ, "PATH_INFO": "/changing"}, start_response)
        fetch = FetchRequest(name, self._cost, self._size, lambda token: self._run(name, token))
        body: bytes = environ["fibweb.fetch"](fetch)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.mark.parametrize("leave", ["reset", "end"])
def test_fetches_of_disconnected_clients_are_cancelled(start: Start, leave: str) -> None:
    """The fetches of disconnected clients are cancelled or never run; others are not affected."""
    gate = GatedFetches()
    running = start(gate, threads=1)
    with connect(running.path) as first, connect(running.path) as stays:
        send_read(first, get("/?first"))
        wait_until(lambda: gate.running == ["first"], "the first runs")
        crowd = [connect(running.path) for _ in range(20)]
        for number, client in enumerate(crowd):
            send_read(client, get(f"/?{number}"))
        send_read(stays, get("/?stays"))
        wait_until(lambda: running.server.fetcher.waiting == 21, "all wait")

        def disconnect(client: socket.socket) -> None:
            if leave == "reset":
                client.close()
            else:
                client.shutdown(socket.SHUT_WR)

        for client in crowd:
            disconnect(client)
        wait_until(lambda: running.server.fetcher.waiting == 1, "the crowd is gone")
        disconnect(first)
        wait_until(lambda: gate.running == ["stays"], "the one that stayed has its turn")
        assert gate.ran == gate.cancelled == ["first"]
        assert running.server.fetcher.cancelled == 21
        gate.is_open.set()
        assert first_line(stays) == b"HTTP/1.1 200 OK"
        for client in crowd:
            client.close()


def test_half_a_connection_is_answered_from_memory(start: Start) -> None:
    """A client that shuts down its side still gets responses from memory."""
    running = start(GatedFetches())
    with connect(running.path) as client:
        client.sendall(get("/") * 3)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b"changing") == 3


def test_concurrent_requests_share_a_fetch(start: Start, clients: ExitStack) -> None:
    """Concurrent requests for the same bytes share one fetch."""
    gate = GatedFetches()
    running = start(gate, threads=4)
    crowd = [clients.enter_context(connect(running.path)) for _ in range(30)]
    for client in crowd:
        send_read(client, get("/?same"))
    wait_until(lambda: running.server.in_flight == 30, "all wait")
    gate.is_open.set()
    for client in crowd:
        assert first_line(client) == b"HTTP/1.1 200 OK"
    assert gate.ran == ["same"]


def test_probes_do_not_wait_for_fetches(start: Start, clients: ExitStack) -> None:
    """A request without a fetch is not delayed by many that wait for one."""
    gate = GatedFetches()
    running = start(gate, threads=1)
    for number in range(50):
        client = clients.enter_context(connect(running.path))
        send_read(client, get(f"/?{number}"))
    assert status_of(running.path, "/") == b"HTTP/1.1 200 OK"
    gate.is_open.set()


def test_a_queue_that_is_too_long(start: Start, clients: ExitStack) -> None:
    """A request whose predicted wait is too long gets 503 at once; later ones are served."""
    gate = GatedFetches(cost_seconds=1.0)
    running = start(create_app_of(gate), threads=1)
    answers = []
    for number in range(12):
        client = clients.enter_context(connect(running.path))
        client.sendall(get(f"/gate?{number}"))
        ready, _, _ = select.select([client], [], [], 0 if number < 3 else 0.5)
        answers.append(client.recv(65536) if ready else b"")
    refused = [answer for answer in answers if answer]
    assert 3 <= len(refused) <= 8
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
        assert b"application/problem+json" in answer
    assert running.server.fetcher.rejections["late"] == len(refused)
    gate.is_open.set()
    wait_until(lambda: not running.server.fetcher.waiting, "the queue is empty")
    assert status_of(running.path, "/gate?again") == b"HTTP/1.1 200 OK"


def create_app_of(gate: GatedFetches) -> Any:
    """Return the real application with a gate at /gate."""

    class Resource:
        def on_get(self, request: Any, response: Any) -> None:
            response.data = b"".join(gate(request.env, lambda *_: None))

    return create_app(FibClient("127.0.0.1:1"), resources={"/gate": Resource()})


def test_a_wait_that_is_too_long(
    start: Start, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that has waited too long in the queue gets 503; a running fetch goes on."""
    monkeypatch.setattr(fetch_queue, "MAX_WAIT_SECONDS", 0.2)
    gate = GatedFetches()
    running = start(create_app_of(gate), threads=1)
    runs, waits = (clients.enter_context(connect(running.path)) for _ in range(2))
    send_read(runs, get("/gate?runs"))
    wait_until(lambda: gate.running == ["runs"], "it runs")
    send_read(waits, get("/gate?waits"))
    assert first_line(waits) == b"HTTP/1.1 503 Service Unavailable"
    assert running.server.fetcher.rejections["expired"] == 1
    gate.is_open.set()
    assert first_line(runs) == b"HTTP/1.1 200 OK"


def test_the_wait_counts_against_the_time(start: Start) -> None:
    """A fetch beyond its time limit is cancelled, and its client gets a response."""
    gate = GatedFetches()
    running = start(create_app_of(gate), threads=1, fetch_seconds=0.5)
    with connect(running.path) as client:
        client.sendall(get("/gate?slow"))
        wait_until(lambda: gate.cancelled == ["slow"], "it is cancelled")
        client.recv(65536)


# Connections


def test_idle_clients_give_way(start: Start, clients: ExitStack) -> None:
    """At the bound the longest idle connection is closed, also amid an incomplete request."""
    gate = GatedFetches()
    running = start(gate, max_clients=3)
    busy, silent, half = (clients.enter_context(connect(running.path)) for _ in range(3))
    send_read(busy, get("/?busy"))
    send_read(half, b"G")
    wait_until(lambda: running.server.connections == 3, "it is full")
    for _ in range(5):
        newcomer = clients.enter_context(connect(running.path))
        newcomer.sendall(get("/"))
        assert first_line(newcomer) == b"HTTP/1.1 200 OK"
    assert read_all(silent) == read_all(half) == b""
    assert running.server.admission.cut_off["idle"] == 5
    gate.is_open.set()
    assert first_line(busy) == b"HTTP/1.1 200 OK"


def test_connections_without_request_are_closed_first(start: Start, clients: ExitStack) -> None:
    """Connections without a request are closed before one that was served and pauses."""
    running = start(strange, max_clients=5)
    first = clients.enter_context(connect(running.path))
    first.sendall(get("/changing"))
    assert first_line(first) == b"HTTP/1.1 200 OK"
    crowd = [clients.enter_context(connect(running.path)) for _ in range(20)]
    wait_until(lambda: running.server.admission.cut_off["idle"] == 16, "the crowd gives way")
    first.sendall(get("/changing"))
    assert first_line(first) == b"HTTP/1.1 200 OK"
    assert read_all(crowd[0]) == b""


def test_probes_reach_a_server_that_is_full(start: Start, clients: ExitStack) -> None:
    """When all connections are busy, a new one gets one response from memory, but no fetch."""
    gate = GatedFetches()
    running = start(create_app_of(gate), max_clients=2)
    for number in range(2):
        send_read(clients.enter_context(connect(running.path)), get(f"/gate?{number}"))
    wait_until(lambda: running.server.in_flight == 2, "all are busy")
    for _ in range(3):  # not from the response cache either
        with connect(running.path) as probe:
            probe.sendall(get("/fib/0"))
            answer = read_all(probe)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in answer
    assert status_of(running.path, "/gate?more").startswith(b"HTTP/1.1 503 ")
    gate.is_open.set()


def test_idle_connection_is_closed_without_descriptors(start: Start, clients: ExitStack) -> None:
    """Without a free descriptor, an idle connection is closed for the new one."""
    running = start(strange)
    idle = [clients.enter_context(connect(running.path)) for _ in range(5)]
    for client in idle:
        client.sendall(get("/changing"))
        assert first_line(client) == b"HTTP/1.1 200 OK"
    client = clients.enter_context(socket.socket(socket.AF_UNIX))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(client.fileno(), *(sock.fileno() for sock in idle))
    used = highest + 5 + 1
    try:
        while True:
            clients.enter_context(open("/dev/null"))  # noqa: SIM115
            resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
    except OSError:
        pass
    try:
        client.settimeout(30)
        client.connect(str(running.path))
        client.sendall(get("/changing"))
        assert first_line(client) == b"HTTP/1.1 200 OK"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert running.server.admission.cut_off["idle"] >= 1


def test_http_connection_that_epoll_refuses_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that epoll refuses is closed; the server keeps serving."""
    running = start(strange)
    want, watched = Loop.set_events, Loop.register
    failing = threading.Event()

    def failing_want(loop: Loop, descriptor: int, events: int) -> None:
        if failing.is_set() and isinstance(loop._handlers.get(descriptor), Channel):
            raise OSError(28, "no room to watch it")
        want(loop, descriptor, events)

    def failing_watch(loop: Loop, descriptor: int, handler: Any) -> None:
        if failing.is_set():
            raise OSError(28, "no room to watch it")
        watched(loop, descriptor, handler)

    monkeypatch.setattr(Loop, "set_events", failing_want)
    monkeypatch.setattr(Loop, "register", failing_watch)
    with connect(running.path) as client:
        client.sendall(get("/changing"))
        assert first_line(client) == b"HTTP/1.1 200 OK"
        failing.set()
        with connect(running.path) as other:
            assert read_all(other) == b""
        with suppress(OSError):  # the server may have closed it already
            client.sendall(get("/waits"))
        assert b"waited" not in read_all(client)
        failing.clear()
    assert status_of(running.path, "/changing") == b"HTTP/1.1 200 OK"


def test_requests_must_come_in_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a request byte by byte is disconnected at the time limit."""
    monkeypatch.setattr("fibweb.server.channel.REQUEST_SECONDS", 0.1)
    monkeypatch.setattr("fibweb.server.channel.LINGER_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "CLEANUP_SECONDS", 0.05)
    running = start(strange)
    with connect(running.path) as client:
        wait_until(lambda: drips(client), "it is closed")


def drips(client: socket.socket) -> bool:
    """Send one more byte of a request; return whether the server has closed the connection."""
    try:
        client.sendall(b"G")
    except OSError:
        return True
    return False


def test_slow_readers_give_way_when_it_is_full(
    start: Start, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader is disconnected for a new connection at the bound, and only then."""
    monkeypatch.setattr("fibcommon.service.admission.WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "CLEANUP_SECONDS", 0.02)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        size = MIB if environ["QUERY_STRING"] else 4
        start_response("200 OK", [("Content-Length", str(size))])
        return [bytes(size)]

    running = start(app, max_clients=2)
    slow = [clients.enter_context(connect(running.path)) for _ in range(2)]
    for client in slow:
        send_read(client, get("/?large"))

    def are_slow() -> bool:
        channels = running.server._all_channels()
        return all(
            channel.read_rate is not None and channel.read_rate.is_slow for channel in channels
        )

    wait_until(lambda: running.server.in_flight == 2 and are_slow(), "both are found to be slow")
    assert running.server.connections == 2
    assert status_of(running.path, "/") == b"HTTP/1.1 200 OK"
    assert running.server.admission.cut_off == {"idle": 0, "slow": 1, "memory": 0}
    assert sorted(len(read_all(client)) < MIB for client in slow if is_over(client)) == [True]


def is_over(client: socket.socket) -> bool:
    """Return whether the server has closed a connection; unread bytes may be left."""
    poll = select.poll()
    poll.register(client, 0)  # POLLHUP is always reported
    return bool(poll.poll(0))


# Loop time


def test_calls_that_cause_calls_do_not_hold_up_events() -> None:
    """A queued call whose result queues another one leaves room for events in between."""
    loop = Loop()
    calls = 0

    def again() -> None:
        nonlocal calls
        calls += 1
        loop.call_soon_threadsafe(again)

    loop.call_soon_threadsafe(again)
    for iteration in range(1, 4):
        loop.run_once(10)
        assert calls == iteration
    loop.close()


def test_much_work_does_not_hold_up_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deferred calls run in order, for a bounded time per iteration of the loop."""
    now = 0.0
    monkeypatch.setattr("fibweb.server.event_loop.time", SimpleNamespace(monotonic=lambda: now))
    loop = Loop()
    done: list[int] = []

    class Work:
        def __init__(self, number: int) -> None:
            self.number = number

        def handle_turn(self) -> None:
            nonlocal now
            now += WORK_SECONDS_PER_ITERATION / 4
            done.append(self.number)

        def end_turn(self) -> None:
            assert done[-1] >= self.number

        def handle_error(self) -> None:
            raise AssertionError

    for number in range(20):
        loop.defer(Work(number))
    counts = []
    while len(done) < 20:
        loop.run_once(0)
        counts.append(len(done))
    loop.close()
    assert done == list(range(20))
    assert counts[0] <= 5
    assert len(counts) >= 4


def named(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Respond with the path, as an immutable response."""
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [IMMUTABLE, ("Content-Length", str(len(body)))])
    return [body]


def test_second_request_is_read_after_first_response(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request is read after the first response, so the cache never mixes them up."""
    running = start(named)
    status_of(running.path, "/known")
    held: list[Worker] = []
    monkeypatch.setattr(Loop, "defer", lambda loop, worker: held.append(worker))
    with connect(running.path) as client:
        client.sendall(get("/one"))
        wait_until(lambda: bool(held), "the first waits for the loop")
        client.sendall(get("/two"))
        iterations = running.server.iterations

        def has_turned() -> bool:
            running.server._loop.wake()
            return running.server.iterations > iterations + 3

        wait_until(has_turned, "the loop has had time for the second")
        monkeypatch.undo()
        channel, loop = held.pop(), running.server._loop
        loop.call_soon_threadsafe(lambda: loop.defer(channel))
        received = b""
        while not received.endswith(b"/two"):
            received += client.recv(65536)
        assert received.index(b"/one") < received.index(b"/two")
    for path in ("/two", "/one"):
        with connect(running.path) as other:
            other.sendall(get(path))
            assert other.recv(65536).endswith(path.encode())


def test_a_pipeline_is_parsed_as_it_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hundreds of pipelined requests, only the next one is parsed."""
    parsed: list[int] = []
    parse_next, parse = Channel._parse, HttpRequest.received

    def count(channel: Channel, data: bytes) -> None:
        parsed.append(0)
        parse_next(channel, data)

    def count_parsed(request: HttpRequest, data: bytes) -> int:
        parsed[-1] += 1
        return parse(request, data)

    monkeypatch.setattr(Channel, "_parse", count)
    monkeypatch.setattr(HttpRequest, "received", count_parsed)
    running = start(named)
    with connect(running.path) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 300 + get_and_close("/x"))
        assert read_all(client).count(b"200 OK") == 301
    assert max(parsed) == 1


def test_a_failure_to_accept(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to set up a connection does not affect other connections."""
    running = start(strange)
    fails = threading.Event()
    fails.set()
    init = Channel.__init__

    def failing(channel: Channel, *arguments: Any) -> None:
        if fails.is_set():
            fails.clear()
            raise ZeroDivisionError
        init(channel, *arguments)

    with connect(running.path) as client:
        client.sendall(get("/changing"))
        with suppress(OSError):
            first_line(client)
        fails.set()
        monkeypatch.setattr(Channel, "__init__", failing)
        with connect(running.path) as unlucky:
            assert read_all(unlucky) == b""
        client.sendall(get("/changing"))
        assert first_line(client) == b"HTTP/1.1 200 OK"
    assert status_of(running.path, "/changing") == b"HTTP/1.1 200 OK"


# Memory


def test_slow_readers_of_small_answers(start: Start, clients: ExitStack) -> None:
    """Beyond the memory bound, the connections that have held bytes longest are closed."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(MIB))])
        return [bytes(MIB)]

    running = start(app, pending_bytes=4 * MIB)
    slow = [clients.enter_context(connect(running.path)) for _ in range(12)]
    for client in slow:
        send_read(client, get("/"))
    wait_until(lambda: running.server.connections < 12, "some are cut off")
    wait_until(lambda: running.server.in_flight == running.server.connections, "all wait")
    assert 3 * MIB < running.server.held.size <= 4 * MIB
    assert running.server.admission.cut_off["memory"] == 12 - running.server.connections
    first, last = slow[0], slow[-1]
    assert len(read_all(first)) < MIB
    last.sendall(get_and_close("/"))
    assert read_all(last).count(b"200 OK") == 2


def test_slow_readers_of_large_answers(
    server: RunningServer, start: Start, clients: ExitStack
) -> None:
    """Beyond the memory bound, slow readers lose their pieces, which are fetched again later."""
    with FibClient(server.address, cache_bytes=0) as client:
        whole = b'{"N": 4000, "result": [%b]}' % client.read(0, 4000, "json")
        running = start(create_app(client), pending_bytes=2 * MIB)
        slow = [clients.enter_context(connect(running.path)) for _ in range(10)]
        request = get_and_close("/fib/4000")
        for reader in slow:
            reader.sendall(request)
        wait_until(lambda: running.server.held.released > 3, "pieces are dropped")
        assert running.server.held.size <= 2 * MIB
        for reader in slow:
            assert read_all(reader).partition(b"\r\n\r\n")[2] == whole
    assert running.server.admission.cut_off["memory"] == 0


# Malformed requests

MALFORMED = {
    "target": b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    "length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 4301 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_is_400(
    start: Start, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed request gets 400 and closes the connection; earlier ones are served first."""
    running = start(strange)
    with connect(running.path) as client:
        client.sendall(get("/changing") + MALFORMED[name] + get("/changing"))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b" 400 Bad Request\r\n" in answer
    assert answer.count(b"changing") == 1
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
