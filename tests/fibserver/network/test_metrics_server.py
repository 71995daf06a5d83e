"""Tests of the metrics server: its limits, errors and availability."""

import errno
import json
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from fibserver.core.event_loop import EventLoop
from fibserver.network.metrics_server import MAX_CONNECTIONS, TIMEOUT_SECONDS, MetricsServer
from tests.support.small_engine import FakeClock

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


class Scraped:
    """A metrics server with its clients, in a loop that the test runs."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.loop = EventLoop(self.clock)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self._address = listener.getsockname()
        registry = CollectorRegistry()
        Gauge("level", "A gauge.", registry=registry).set(42)
        self.unavailable_reason = ""
        self.server = MetricsServer(self.loop, listener, registry, lambda: self.unavailable_reason)
        self._sockets: list[socket.socket] = []

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Return a client that has sent `data`, after the server has handled it."""
        sock = socket.create_connection(self._address)
        self._sockets.append(sock)
        sock.sendall(sent)
        sock.setblocking(False)
        for _ in range(3):
            self.loop.run_once(0)
        return sock

    def close(self) -> None:
        """Close the server and all clients."""
        for sock in self._sockets:
            sock.close()
        self.server.close()
        self.loop.close()


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    """Return a metrics server that is closed after the test."""
    scraped = Scraped()
    yield scraped
    scraped.close()


def is_open(sock: socket.socket) -> bool:
    """Return whether a connection is open and has received nothing."""
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False


def test_new_connection_replaces_oldest_silent_one(scraped: Scraped) -> None:
    """At the limit, a new connection replaces the oldest silent one."""
    silent = [scraped.connect(b"GET") for _ in range(MAX_CONNECTIONS)]
    for _ in range(3):
        assert b"level 42.0" in scraped.connect(REQUEST).recv(10_000)
    assert [is_open(sock) for sock in silent] == [False] + [True] * (MAX_CONNECTIONS - 1)
    scraped.connect(b"GET")
    assert [is_open(sock) for sock in silent[:2]] == [False, True], "there was room for this one"


def test_metrics_request_has_a_timeout(scraped: Scraped) -> None:
    """A connection is closed if its request does not arrive in time."""
    sock = scraped.connect(b"GET /metrics")
    scraped.clock.now += TIMEOUT_SECONDS - 0.1
    scraped.loop.run_once(0)
    scraped.server.tick()
    assert is_open(sock)
    scraped.clock.now += 0.2
    scraped.loop.run_once(0)
    scraped.server.tick()
    assert not is_open(sock)


def test_connection_that_epoll_rejects_is_closed(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that epoll cannot register is closed, and the next is served."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    for name in ("register", "modify"):
        monkeypatch.setattr(scraped.loop, name, fail)
        assert not is_open(scraped.connect(b"GET"))
        monkeypatch.undo()
    scraped.server._is_paused = True
    scraped.loop.unregister(scraped.server._listener.fileno())
    monkeypatch.setattr(scraped.loop, "register", fail)
    scraped.server.tick()
    monkeypatch.undo()
    scraped.server.tick()
    assert b"level 42.0" in scraped.connect(REQUEST).recv(10_000)


def test_metrics_server_answers_head(scraped: Scraped) -> None:
    """The response to HEAD is that to GET without the body."""
    asked, headed = (
        scraped.connect(method + b" /metrics HTTP/1.1\r\nHost: x\r\n\r\n").recv(10_000)
        for method in (b"GET", b"HEAD")
    )
    lengths = [response.partition(b"\r\n\r\n")[2] for response in (asked, headed)]
    assert b"level 42.0" in lengths[0]
    assert lengths[1] == b""
    assert headed.startswith(b"HTTP/1.0 200 OK\r\n")


def health(scraped: Scraped, path: bytes) -> tuple[bytes, bytes]:
    """Return the status line and the body of the response at a path."""
    response = scraped.connect(b"GET " + path + b" HTTP/1.1\r\nHost: 10.0.0.1:9111\r\n\r\n").recv(
        10_000
    )
    head, _, body = response.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], body


def test_health_checks(scraped: Scraped) -> None:
    """A server that clients should not use is alive, but not ready, and says why."""
    assert health(scraped, b"/healthz") == (b"HTTP/1.0 200 OK", b"alive\n")
    assert health(scraped, b"/readyz") == (b"HTTP/1.0 200 OK", b"ready\n")
    scraped.unavailable_reason = "the server is stopping"
    assert health(scraped, b"/healthz") == (b"HTTP/1.0 200 OK", b"alive\n")
    line, body = health(scraped, b"/readyz")
    assert line == b"HTTP/1.0 503 Service Unavailable"
    assert json.loads(body)["detail"] == "the server is stopping"


def test_metrics_request_with_bare_line_feeds(scraped: Scraped) -> None:
    """Lines of a request may end with a bare line feed."""
    assert b"level 42.0" in scraped.connect(b"GET /metrics HTTP/1.0\n\n").recv(10_000)


def test_too_long_head_is_431(scraped: Scraped) -> None:
    """A client that sends too long a head receives a 431, even if it keeps sending."""
    sock = scraped.connect(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000)
    assert sock.recv(10_000).startswith(b"HTTP/1.0 431 ")
    sock.sendall(b"a" * 20_000)
    for _ in range(10):
        scraped.loop.run_once(0)
    assert sock.recv(10_000) == b""
    sock.close()
    for _ in range(10):
        scraped.loop.run_once(0)
    assert not scraped.server._connections


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n", 400),
        (b"*1\r\n$4\r\nPING\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", 405),
        (b"FOO /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
    ],
)
def test_metrics_server_sends_problem_details(scraped: Scraped, data: bytes, status: int) -> None:
    """Errors are problem details, and reach a client that keeps sending."""
    sock = scraped.connect(data)
    sock.sendall(b"a" * 100_000)
    for _ in range(20):
        scraped.loop.run_once(0)
    head, _, body = sock.recv(10_000).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 %d " % status)
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert json.loads(body)["status"] == status
    assert (b"\r\nAllow: GET, HEAD" in head) is (status == 405)
    assert sock.recv(1) == b""


def test_incomplete_request_is_408(scraped: Scraped) -> None:
    """A client that sends an incomplete request receives a 408 after the timeout."""
    sock = scraped.connect(b"HEAD /met")
    scraped.clock.now += TIMEOUT_SECONDS + 0.1
    scraped.loop.run_once(0)
    scraped.server.tick()
    head, _, body = sock.recv(10_000).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 408 Request Timeout\r\n")
    assert body == b""
    assert sock.recv(1) == b""
