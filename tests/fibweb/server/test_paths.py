"""Handling of requests, their access records, and isolation from slow clients."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fibclient import FibClient
from fibweb import create_app
from fibweb.content.fetch_request import FetchRequest
from fibweb.server import channel as http_channel
from fibweb.server import server as http_server
from fibweb.server.server import HttpLimits
from fibweb.stats.access_record import AccessRecord
from tests.fibweb.server.applications import strange
from tests.fibweb.server.threaded_server import OwnServer, connect, converse, read_all, send_read
from tests.support.expected import expected
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

Start = Callable[..., OwnServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that are stopped after the test."""
    started: list[OwnServer] = []

    def one(
        app: Callable[..., Any], parameters: Collection[str] | None = None, **limits: Any
    ) -> OwnServer:
        limits.setdefault("threads", 2)
        own = OwnServer(
            app, tmp_path / f"http-{len(started)}", HttpLimits(**limits), parameters=parameters
        )
        started.append(own)
        return own

    yield one
    for own in started:
        own.stop()


def get(target: str, *headers: str) -> bytes:
    """Return the bytes of a request after which the connection closes."""
    lines = [f"GET {target} HTTP/1.1", "Host: example.org", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def ask(path: Path, request: bytes) -> bytes:
    """Send a request after which the connection closes; return the response."""
    with connect(path) as client:
        client.sendall(request)
        return read_all(client)


def body_of(answer: bytes) -> bytes:
    """Return the body of a response."""
    return answer.partition(b"\r\n\r\n")[2]


def document(n: int) -> bytes:
    """Return the body of /fib/{n}."""
    return b'{"N": %d, "result": [%b]}' % (n, expected("json", 0, n))


@pytest.mark.parametrize(
    ("target", "handlings"),
    [
        ("/plain", ["inline", "inline", "cached"]),
        ("/waits", ["threaded", "threaded", "cached"]),
        ("/partial", ["inline", "inline", "cached"]),
        ("/unchanged", ["inline", "inline", "cached"]),
        ("/changing", ["inline", "inline", "inline"]),
        ("/waits-late", ["threaded", "threaded", "threaded"]),
        ("/file", ["inline", "inline", "inline"]),
        ("/raises", ["inline", "inline", "inline"]),
    ],
)
def test_handlings(start: Start, target: str, handlings: list[str]) -> None:
    """Immutable responses are cached when requested twice; fetches run on threads."""
    running = start(strange)
    for _ in range(3):
        converse(running.path, [get(target)])
    assert running.handlings(3) == handlings


def test_target_of_a_request_with_a_value_that_does_not_matter(start: Start) -> None:
    """A request that differs in such a value is answered from the cache and logged as sent."""
    running = start(strange, parameters={"known"})
    targets = [f"/plain?{query}" for query in ("x=1", "x=2", "x=3", "known=1", "x=2", "x=", "x=1")]
    for target in targets:
        converse(running.path, [get(target)])
    assert running.handlings(7) == ["inline", "inline", "cached", "inline", *["cached"] * 3]
    assert [record.target for record in running.exchanges] == targets


@pytest.mark.parametrize(
    "pieces",
    [
        [get("/")[:30], get("/")[30:]],
        [get("/").replace(b"close", b"keep-alive") * 2],
        [get("/", "Content-Length: 1") + b"x"],
        [get("/").replace(b"GET", b"POST")],
    ],
)
def test_unusual_requests_are_not_cached(start: Start, pieces: list[bytes]) -> None:
    """Requests that are split, pipelined, have a body or another method are not cached."""
    running = start(strange)
    for _ in range(2):
        converse(running.path, pieces)
    assert set(running.handlings(2)) == {"inline"}


def test_the_rest_of_a_request_is_no_request(start: Start) -> None:
    """The last piece of a split request is not a key of the cache."""
    running = start(strange)
    whole = get("/")
    assert converse(running.path, [whole[:30], whole[30:]]).startswith(b"HTTP/1.1 200 ")
    assert converse(running.path, [whole[30:]]).startswith(b"HTTP/1.1 400 ")


def test_an_exchange(start: Start) -> None:
    """Access records are complete; an unsafe request id is replaced."""
    running = start(strange)
    named = get("/plain?a=b", "User-Agent: me", "X-Request-ID: A.b_c-1")
    for request in (named, named, named, get("/raises", "X-Request-ID: not fit"), b"bad\r\n\r\n"):
        converse(running.path, [request])
    running.handlings(5)
    first, _, again, failed, bad = running.exchanges
    seconds = (first.seconds, again.seconds)
    assert all(0 < duration < 30 for duration in seconds)
    known = AccessRecord("GET", "/plain?a=b", 200, 9, 0, "localhost", "me", "A.b_c-1", "inline")
    assert first._replace(seconds=0) == known
    assert again._replace(seconds=0) == known._replace(handling="cached")
    assert (failed.method, failed.target, failed.status) == ("GET", "/raises", 500)
    assert (bad.method, bad.target, bad.status) == ("-", "-", 400)
    assert len({record.request_id for record in running.exchanges}) == 3
    assert " " not in failed.request_id


def test_an_error_names_its_request(start: Start) -> None:
    """An error response has the request id of its access record."""
    running = start(strange)
    with connect(running.path) as client:
        client.sendall(get("/raises"))
        answer = read_all(client)
    running.handlings(1)
    assert f"X-Request-Id: {running.exchanges[0].request_id}\r\n".encode() in answer


@pytest.mark.parametrize("cache_bytes", [64 * 1024 * 1024, 1024 * 1024, 0])
def test_large_answers(server: RunningServer, start: Start, cache_bytes: int) -> None:
    """Large responses and ranges of them are correct, also if larger than the cache."""
    with FibClient(server.address, cache_bytes=cache_bytes) as client:
        running = start(create_app(client))
        whole = document(5000)
        for _ in range(3):
            assert body_of(converse(running.path, [get("/fib/5000")])) == whole
            part = converse(running.path, [get("/fib/5000", "Range: bytes=100-2000000")])
            assert body_of(part) == whole[100:2000001]
        is_cached = cache_bytes > len(whole)
        assert running.handlings(6)[-1] == ("cached" if is_cached else "threaded")
        assert [record.body_bytes for record in running.exchanges[:2]] == [len(whole), 1999901]


def test_slow_readers(server: RunningServer, start: Start) -> None:
    """Sixteen slow readers of 10 MB take little memory and do not delay other clients."""
    with FibClient(server.address) as client:
        running = start(create_app(client), threads=1)
        digest = hashlib.sha256(body_of(ask(running.path, get("/fib/10000")))).digest()
        assert digest == hashlib.sha256(document(10000)).digest()
        process = psutil.Process()
        before = process.memory_info().rss
        slow = [connect(running.path) for _ in range(16)]
        for reader in slow:
            send_read(reader, get("/fib/10000"))
        wait_until(lambda: running.server.in_flight == 16, "all are being answered")
        assert body_of(ask(running.path, get("/fib/7"))) == document(7)
        assert body_of(ask(running.path, get("/fib/3000?format=text")))
        assert process.memory_info().rss - before < 8 * 1024 * 1024
        for reader in slow:
            assert hashlib.sha256(body_of(read_all(reader))).digest() == digest
            reader.close()
        wait_until(lambda: running.server.in_flight == 0, "all are answered")


def test_slow_readers_of_uncached_bytes(server: RunningServer, start: Start) -> None:
    """Slow readers of uncached bytes occupy neither the only thread nor the only connection."""
    with FibClient(server.address, max_connections=1, cache_bytes=0) as client:
        running = start(create_app(client), threads=1)
        slow = [connect(running.path) for _ in range(4)]
        for reader in slow:
            send_read(reader, get("/fib/5000"))
        wait_until(lambda: running.server.in_flight == 4, "all are being answered")
        assert body_of(ask(running.path, get("/fib/7"))) == document(7)
        for reader in slow:
            assert body_of(read_all(reader)) == document(5000)
            reader.close()


def test_unread_pipeline_is_handled_one_at_a_time(server: RunningServer, start: Start) -> None:
    """Pipelined requests for large responses are handled one at a time."""
    with FibClient(server.address) as client:
        running = start(create_app(client))
        whole = body_of(ask(running.path, get("/fib/5000")))
        request = b"GET /fib/5000 HTTP/1.1\r\nHost: a\r\n\r\n"
        with connect(running.path) as greedy:
            send_read(greedy, request * 19 + get("/fib/5000"))
            wait_until(lambda: running.server.in_flight == 1, "it is being answered")
            assert body_of(ask(running.path, get("/fib/7"))) == document(7)
            answers = read_all(greedy)
        assert answers.count(whole) == 20


@pytest.mark.parametrize("cache_bytes", [64 * 1024 * 1024, 0])
def test_a_client_that_goes_away(server: RunningServer, start: Start, cache_bytes: int) -> None:
    """If a client disconnects, the bytes sent are recorded and its connection is closed."""
    with FibClient(server.address, cache_bytes=cache_bytes) as client:
        running = start(create_app(client))
        whole = len(document(5000))
        for _ in range(2):
            with connect(running.path) as gone:
                gone.sendall(get("/fib/5000"))
                gone.recv(1000)
        running.handlings(2)
        assert all(record.body_bytes < whole for record in running.exchanges)
        wait_until(lambda: running.server.connections == 0, "the connections are closed")


def test_an_answer_that_cannot_go_on(serve: Callable[..., RunningServer], start: Start) -> None:
    """If the fibserver is lost, the connection is closed before Content-Length is reached."""
    server = serve()
    with FibClient(server.address, cache_bytes=0, max_retries=0, timeout_seconds=5) as client:
        running = start(create_app(client))
        with connect(running.path) as reader:
            reader.sendall(get("/fib/10000"))
            received = len(reader.recv(1000))
            server.stop()
            received += len(read_all(reader))
        assert 1000 <= received < len(document(10000))
        running.handlings(1)
        assert running.exchanges[0].body_bytes < received


def test_requests_beyond_threads_are_queued(start: Start) -> None:
    """Requests beyond the number of threads are queued and counted; all get a response."""
    gate = threading.Event()

    def wait(_: object) -> bytes:
        gate.wait(30)
        return b"waited"

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["fibweb.fetch"](FetchRequest(environ["QUERY_STRING"], 0.001, 6, wait))
        start_response("200 OK", [("Content-Length", "6")])
        return [body]

    running = start(app, threads=2)
    crowd = [connect(running.path) for _ in range(10)]
    for number, client in enumerate(crowd):
        send_read(client, get(f"/?{number}"))
    wait_until(lambda: running.server.fetcher.waiting == 8, "eight wait for a thread")
    assert (running.server.connections, running.server.in_flight) == (10, 10)
    gate.set()
    for client in crowd:
        assert body_of(read_all(client)) == b"waited"
        client.close()


def test_silent_clients(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections without a request, with an incomplete one or an unread response time out.

    An incomplete request gets 408. The time limits do not depend on the wall clock.
    """
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(http_channel, "CHANNEL_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(http_channel, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(http_server, "CLEANUP_SECONDS", 0)
    monkeypatch.setattr(http_server, "LOOP_SECONDS", 0.1)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "10000000")])
        return [b"x" * 10_000_000]

    running = start(app)
    silent = [connect(running.path) for _ in range(3)]
    for client, data in zip(silent, (b"", b"GET / HT", get("/")), strict=True):
        client.sendall(data)
    wait_until(lambda: running.server.in_flight == 1, "one is being answered")
    wait_until(lambda: running.server.connections == 0, "all are closed")
    received = [read_all(client) for client in silent]
    assert received[0] == b""
    assert received[1].startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(body_of(received[1]))["status"] == 408
    assert 0 < len(received[2]) < 10_000_000
    for client in silent:
        client.close()
