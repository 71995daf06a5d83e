"""Error responses of the server itself: their causes, form and delivery."""

import json
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waitress.adjustments import Adjustments

from fibclient import FibClient
from fibcommon.http.problem_details import PROBLEM_MEDIA_TYPE
from fibweb import create_app
from fibweb.content.fetch_request import Overloaded
from fibweb.http.cors import CorsPolicy
from fibweb.server import channel as http_channel
from fibweb.server import server as http_server
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES, HttpRequest
from tests.fibweb.server.applications import strange
from tests.fibweb.server.threaded_server import OwnServer, connect, read_all
from tests.support.http_servers import SERVERS
from tests.support.waiting import DEADLINE_SECONDS, wait_until

Start = Callable[..., OwnServer]

ORIGIN = "https://a.example"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
LARGE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that are stopped after the test."""
    started: list[OwnServer] = []

    def one(app: Callable[..., Any], **more: Any) -> OwnServer:
        own = OwnServer(app, tmp_path / f"http-{len(started)}", **more)
        started.append(own)
        return own

    yield one
    for own in started:
        own.stop()


class ParsedResponse:
    """Response, parsed from its bytes.

    Attributes:
        status: HTTP status, such as 200.
        headers: Header values by name in lower case.
        body: Bytes of the body.
    """

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split(" ")[1])
        pairs = (field.split(": ", 1) for field in fields)
        self.headers = {name.lower(): text for name, text in pairs}

    @property
    def problem(self) -> dict[str, Any]:
        """The body as a problem detail, after checks of its form."""
        assert self.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert self.headers["cache-control"] == "no-store"
        assert int(self.headers["content-length"]) == len(self.body)
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        assert problem["type"] == "about:blank"
        assert problem["title"]
        assert problem["detail"]
        return problem


def ask(path: Path, data: bytes) -> ParsedResponse:
    """Send bytes after which the server closes the connection; return the response.

    The client keeps its side open until then, like one that waits for a response.
    """
    with connect(path) as client:
        client.sendall(data)
        return ParsedResponse(read_all(client))


@pytest.mark.parametrize(
    ("data", "status", "instance"),
    [
        (b"nonsense\r\n\r\n", 400, None),
        (b"GET /fib/1?a HTTP/1.1\r\n\r\n", 400, "/fib/1"),
        (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        (LARGE + b"\r\n", 413, "/"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES, 431, None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "/"),
        (b"GET /raises HTTP/1.1\r\nHost: a\r\n\r\n", 500, "/raises"),
    ],
)
def test_all_are_problem_details(
    start: Start, data: bytes, status: int, instance: str | None
) -> None:
    """Errors of the parser are problem details, like those of the application."""
    answer = ask(start(strange).path, data)
    assert answer.status == status
    assert answer.problem.get("instance") == instance
    assert answer.headers["connection"] == "close"
    assert answer.headers["server"] == "fibweb"
    assert "date" in answer.headers


def test_chunks_beyond_the_limit(start: Start) -> None:
    """A chunked body is refused as soon as it is too long."""
    running = start(strange)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (MAX_BODY_BYTES, bytes(MAX_BODY_BYTES))
    answer = ask(running.path, head + chunk)
    assert (answer.status, answer.problem["instance"]) == (413, "/")


@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"FIB.FIRST 10\r\n",
        b"GET key\r\n",
        b"EHLO a.example\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\n",
        b"\r\n\x00",
        b"\xff" * 20,
        b"a" * 65,
        TLS_HELLO,
    ],
)
def test_data_that_is_not_http_is_rejected_at_once(start: Start, data: bytes) -> None:
    """Data that is not HTTP gets 400 without further input, also if sent byte by byte."""
    running = start(strange)
    assert ask(running.path, data).problem["status"] == 400
    with connect(running.path) as client:
        for byte in data:
            client.sendall(bytes([byte]))
        assert ParsedResponse(read_all(client)).status == 400


def test_tls(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The log and the response report that the client sent TLS."""
    caplog.set_level(logging.WARNING)
    answer = ask(start(strange).path, TLS_HELLO)
    assert "TLS" in answer.problem["detail"]
    (record,) = caplog.records
    assert record.getMessage().startswith("localhost sent TLS to a plain HTTP port")


@pytest.mark.parametrize(
    ("host", "is_valid"),
    [
        ("a.example", True),
        ("a.example:8080", True),
        ("", True),
        (":80", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("[2001:db8::1]:80", True),
        ("xn--bcher-kva.example", True),
        ("a_b", True),
        ("%41", True),
        ("a b", False),
        ("a/b", False),
        ("http://a", False),
        ("a:b", False),
        ("a:65535", True),
        ("a:65536", False),
        ("a:99999999", False),
        ("u@a", False),
        ("a, b", False),
        ("::1", False),
        ("[::1", False),
        ("[::1]x", False),
        ("%4", False),
        ("b\xfccher.example", False),
        ('a"', False),
    ],
)
def test_hosts(host: str, is_valid: bool) -> None:
    """Host accepts names, addresses and ports, and an empty name (RFC 9110, 7.2)."""
    request = HttpRequest(Adjustments())
    request.received(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    assert request.completed
    assert (request.error is None) is is_valid


def test_error_response_to_head_has_no_body(start: Start) -> None:
    """Error responses to HEAD have the headers of GET, and no body."""
    running = start(strange)
    for data in (b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD /raises HTTP/1.1\r\nHost: a\r\n\r\n"):
        answer = ask(running.path, data)
        assert answer.body == b""
        assert int(answer.headers["content-length"]) > 100
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE


# Unwanted request bodies


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_expect_without_a_body(start: Start, method: bytes) -> None:
    """`Expect: 100-continue` without a body gets the final response at once (RFC 9110)."""
    running = start(strange)
    for more in (b"", b"Content-Length: 0\r\n"):
        data = method + b" / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + more
        answer = ask(running.path, data + b"Connection: close\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"plain ")


def test_expect_with_too_large_a_body(start: Start) -> None:
    """A body that is too large is refused instead of invited with 100."""
    answer = ask(start(strange).path, LARGE + b"Expect: 100-continue\r\n\r\n")
    assert answer.problem["status"] == 413


@pytest.mark.parametrize(
    "before", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
)
def test_an_answer_before_the_upload_ends(before: bytes) -> None:
    """A client that sends its whole body first can still read the error: there is no reset."""
    with (
        SERVERS["fibweb"](strange) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.settimeout(DEADLINE_SECONDS)
        client.sendall(before + LARGE + b"\r\n")
        answered = client.recv(1 << 16, socket.MSG_PEEK)
        for _ in range(10):
            client.sendall(bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert received.startswith(answered)
        assert ParsedResponse(received).status == (200 if before else 413)


def lingering(running: OwnServer) -> socket.socket:
    """Return a connection that lingers after a refused request."""
    client = connect(running.path)
    client.sendall(LARGE + b"\r\n")
    assert ParsedResponse(read_all(client)).status == 413
    assert running.server.connections == 1
    assert running.server.in_flight == 0
    return client


def test_a_client_that_stays_silent_after_its_refusal(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lingering connection without input is closed after a short time."""
    monkeypatch.setattr(http_channel, "LINGER_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(http_server, "CLEANUP_SECONDS", 0.05)
    running = start(strange)
    with lingering(running):
        wait_until(lambda: running.server.connections == 0, "it is closed")


@pytest.mark.parametrize("limit", ["LINGER_SECONDS", "LINGER_BYTES"])
def test_a_client_that_sends_on_after_its_refusal(
    start: Start, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """A lingering connection is closed at a limit of time and at a limit of bytes."""
    monkeypatch.setattr(http_channel, limit, 0.1)
    monkeypatch.setattr(http_server, "CLEANUP_SECONDS", 0.05)
    running = start(strange)

    def sends_on() -> bool:
        try:
            client.sendall(b"x")
        except OSError:
            return False
        return True

    with lingering(running) as client:
        wait_until(lambda: not sends_on(), "it is closed")


def test_lingering_clients_give_way(start: Start) -> None:
    """At the bound of connections, a lingering one is closed for a new one."""
    running = start(strange, limits=http_server.HttpLimits(threads=1, max_clients=1))
    with lingering(running), connect(running.path) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert ParsedResponse(read_all(client)).status == 200


def test_the_end_waits_for_no_lingering_client(start: Start) -> None:
    """A draining server closes a lingering connection after a moment of silence."""
    running = start(strange)
    with lingering(running):
        running.server.stop(DEADLINE_SECONDS)
        running.join()


# Overload


def overloaded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Raise Overloaded for every request."""
    raise Overloaded("try again later", 7)


def test_error_response_to_overload_has_retry_after(start: Start) -> None:
    """503 has Retry-After, and the connection stays open."""
    running = start(overloaded)
    with connect(running.path) as client:
        for number in range(3):
            request = f"GET /x?{number} HTTP/1.1\r\nHost: a\r\nX-Request-ID: id-{number}\r\n\r\n"
            client.sendall(request.encode())
            answer = ParsedResponse(client.recv(65536))
            assert answer.status == 503
            assert answer.headers["retry-after"] == "7"
            assert "connection" not in answer.headers
            expected = {
                "detail": "try again later",
                "instance": "/x",
                "request_id": f"id-{number}",
            }
            assert answer.problem.items() >= expected.items()
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        head, _, rest = read_all(client).partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: " in head
        assert ParsedResponse(rest).headers["connection"] == "close"
        assert ParsedResponse(rest).problem["status"] == 503
    assert {record.status for record in running.exchanges} == {503}
    assert running.handlings(5) == ["inline"] * 5


@pytest.mark.parametrize("origins", [(), ("*",), (ORIGIN,)])
@pytest.mark.parametrize("origin", [ORIGIN, "https://b.example", ""])
def test_other_origins(start: Start, origins: tuple[str, ...], origin: str) -> None:
    """Errors of the server have the same CORS headers as those of the application.

    Only those of the application depend on Accept and Accept-Encoding as well.
    """
    with FibClient("127.0.0.1:1") as client:
        resource = SimpleNamespace(on_get=lambda request, response: overloaded({}, None))
        app = create_app(client, allowed_origins=origins, resources={"/busy": resource})
        running = start(app, cors=CorsPolicy(origins))
        named = f"Origin: {origin}\r\n".encode() if origin else b""
        found = [
            ask(running.path, line + b" HTTP/1.1\r\nConnection: close\r\n" + named + more)
            for line, more in (
                (b"GET /fib/x", b"Host: a\r\n\r\n"),
                (b"GET /busy", b"Host: a\r\n\r\n"),
                (b"GET /busy", b"\r\n"),
            )
        ]
    assert [answer.status for answer in found] == [400, 503, 400]
    by_application, *by_server = (
        {
            name: "Origin" in text if name == "vary" else text
            for name, text in {"vary": "", **answer.headers}.items()
            if name.startswith("access-") or name == "vary"
        }
        for answer in found
    )
    assert by_server == [by_application, by_application]
