"""Parts of the server in isolation: request parsing, caches and transmission."""

import socket
import time
from contextlib import suppress
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from fibclient import Document, EncodedSlice, FibClient
from fibweb.content.document_file import DocumentFile
from fibweb.content.fetch_request import FetchRequest
from fibweb.http.representations import CACHE_CONTROL as IMMUTABLE
from fibweb.overload.connection_admission import Admission
from fibweb.overload.held_bytes import HeldBytes
from fibweb.server.channel import CONTINUE, Channel, ServerContext
from fibweb.server.event_loop import Loop
from fibweb.server.fetch_threads import FetchThreads
from fibweb.server.parsed_headers import MAX_CACHED_BYTES, MAX_CACHED_HEADERS, ParsedHeaderCache
from fibweb.server.request import HttpRequest
from fibweb.server.request_context import SiteContext
from fibweb.server.response import Outgoing, Response, http_date
from fibweb.server.response_cache import MAX_BODY_BYTES, MAX_BYTES, MAX_RESPONSES, ResponseCache
from fibweb.stats.access_record import AccessRecord, RequestIds
from tests.fibweb.server.applications import strange
from tests.support.expected import expected

LIMITS = Adjustments()

LINES = st.builds(
    b"%b %b%b%b".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"POST", b"get"]),
        st.sampled_from(
            [b" /", b" /fib/10", b" //a/b", b" /a?b=c", b" /?", b" /%41#f", b" a", b""]
        ),
        st.sampled_from([b"", b"?x", b":1", b"\t", b" ", b"//", b"\xe9", b"+*"]),
        st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.1 ", b"", b" HTTP/2.0"]),
    ),
)
FIELDS = st.sampled_from(
    [
        b"Host: a",
        b"Connection: close",
        b"Connection: Keep-Alive",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding:",
        b"Expect: 100-continue",
        b"Accept: a",
        b" folded",
        b"bad",
        b"under_score: 1",
    ]
)


class FakeConnection:
    """Connection with the attributes that a WSGI environment contains."""

    addr = ("192.0.2.1", 4711)
    site = SimpleNamespace(adj=LIMITS, effective_port=80, server_name="example.org")

    def fetch(self, fetch: FetchRequest) -> bytes:
        """Fail: no test fetches."""
        raise NotImplementedError


CONNECTION: Any = FakeConnection()


def parsed(data: bytes) -> HttpRequest:
    """Return a request parsed by waitress."""
    request = HttpRequest(LIMITS)
    request.received(data)
    return request


def environ(request: HttpRequest) -> dict[str, Any]:
    """Return the WSGI environment of a request, with its body as bytes."""
    made = request.environ(CONNECTION)
    return made | {"wsgi.input": made["wsgi.input"].read()}


def is_whole(data: bytes) -> bool:
    """Return whether `data` is exactly one complete, valid request."""
    request = HttpRequest(LIMITS)
    consumed = request.received(data)
    is_one = request.completed and not request.empty and consumed == len(data)
    return is_one and request.error is None


@given(st.lists(st.tuples(LINES, st.lists(FIELDS, max_size=3)), min_size=1, max_size=4))
def test_plain_requests_are_as_waitress_has_them(
    requests: list[tuple[bytes, list[bytes]]],
) -> None:
    """A request with cached headers has the same WSGI environment as one parsed by waitress."""
    parsed_headers = ParsedHeaderCache()
    for line, fields in requests:
        for request_line in (line, b"GET /other?q=1 HTTP/1.1"):  # the second may hit the cache
            data = b"\r\n".join([request_line, *fields, b"", b""])
            plain = parsed_headers.get(data)
            request = parsed(data)
            if plain is not None:
                assert is_whole(data)
                assert environ(plain) == environ(request)
                for name in ("command", "request_uri", "headers", "is_head", "has_body"):
                    assert getattr(plain, name) == getattr(request, name)
                assert request.is_simple
                assert plain.is_simple
            elif is_whole(data):
                for _ in range(2):
                    parsed_headers.put(data, request, CONNECTION)


USUAL = b"Host: a\r\nUser-Agent: b\r\nX-Request-ID: c\r\n\r\n"


@pytest.mark.parametrize(
    "headers", [b"Host: a\r\n\r\n", USUAL, USUAL[:-2] + b"Connection: keep-alive\r\n\r\n"]
)
def test_plain_requests_are_found(headers: bytes) -> None:
    """Cached headers apply to every request line, in the same cache only."""
    parsed_headers = ParsedHeaderCache()
    first = b"HEAD / HTTP/1.1\r\n" + headers
    assert parsed_headers.get(first) is None
    for _ in range(2):
        assert parsed_headers.get(first) is None
        parsed_headers.put(first, parsed(first), CONNECTION)
    found = parsed_headers.get(b"GET /fib/10?a=1 HTTP/1.1\r\n" + headers)
    assert found is not None
    assert (found.command, found.request_uri, found.id) == ("GET", "/fib/10?a=1", "")
    assert found.headers.get("USER_AGENT") == ("b" if b"User" in headers else None)
    assert found.headers.get("X_REQUEST_ID") == ("c" if b"X-Request" in headers else None)
    assert ParsedHeaderCache().get(first) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * MAX_CACHED_BYTES),
    ],
)
def test_headers_of_other_requests_are_not_cached(data: bytes) -> None:
    """Headers of requests that are not plain are not cached."""
    parsed_headers = ParsedHeaderCache()
    for _ in range(2):
        parsed_headers.put(data, parsed(data), CONNECTION)
    assert parsed_headers.get(data) is None


def test_few_headers_are_remembered() -> None:
    """The number of cached headers is bounded, however much they vary."""
    parsed_headers = ParsedHeaderCache()
    for number in range(2 * MAX_CACHED_HEADERS):
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n" % number
        for _ in range(2):
            parsed_headers.put(data, parsed(data), CONNECTION)
        assert parsed_headers.get(data) is not None
        assert len(parsed_headers) <= MAX_CACHED_HEADERS


@pytest.mark.parametrize(
    ("proposed", "is_taken"),
    [("a", True), ("A.b_c-9", True), ("x" * 64, True), ("x" * 65, False), ("", False)]
    + [(text, False) for text in ("a b", "a\n", "é", '"', "a/b")],
)
def test_request_ids(proposed: str, is_taken: bool) -> None:
    """A client's request id is used if it is safe to log; generated ids are unique."""
    ids = RequestIds()
    assert (ids.choose(proposed) == proposed) is is_taken
    fresh = {ids.fresh() for _ in range(100)} | {RequestIds().fresh() for _ in range(100)}
    assert len(fresh) == 200
    assert all(ids.choose(request_id) == request_id for request_id in fresh)


@pytest.mark.parametrize(
    ("method", "status", "cache_control", "verdict"),
    [
        ("GET", 200, IMMUTABLE, True),
        ("HEAD", 200, IMMUTABLE, True),
        ("GET", 206, IMMUTABLE, True),
        ("GET", 304, IMMUTABLE, True),
        ("POST", 200, IMMUTABLE, False),
        ("OPTIONS", 200, IMMUTABLE, False),
        ("GET", 404, IMMUTABLE, False),
        ("GET", 416, IMMUTABLE, False),
        ("GET", 200, "no-store", False),
        ("GET", 200, "", False),
    ],
)
def test_only_immutable_responses_are_cacheable(
    method: str, status: int, cache_control: str, verdict: bool
) -> None:
    """Only immutable responses to GET and HEAD without a body are cacheable."""
    for field, has_body in ((b"", False), (b"Content-Length: 1\r\n", True)):
        request = parsed(b"%b / HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method.encode(), field))
        is_immutable = cache_control == IMMUTABLE
        response = Response(request, status, "", b"", b"", is_immutable=is_immutable)
        assert response.is_cacheable is (verdict and not has_body)


def response(body: bytes) -> Response:
    """Return a response with a Date."""
    header = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + http_date(0) + b"\r\nServer: x\r\n\r\n"
    request = parsed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return Response(request, 200, "", header, body, is_immutable=True)


def test_a_cached_response_has_the_current_date() -> None:
    """A cached response differs from the first one only in its Date."""
    responses = ResponseCache()
    for _ in range(2):
        responses.put(b"request", response(b"body"))
    cached = responses.get(b"request")
    assert cached is not None
    for second in (0, 1, 1, 1_700_000_000):
        date = http_date(second)
        expected = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + date + b"\r\nServer: x\r\n\r\nbody"
        assert cached.data(second) == expected
    assert http_date(1_700_000_000) == b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_the_response_cache_is_bounded() -> None:
    """The response cache drops its oldest entries at its limits, and accepts new ones."""
    for body, limit in (
        (b"", MAX_RESPONSES),
        (bytes(MAX_BODY_BYTES), MAX_BYTES // MAX_BODY_BYTES),
    ):
        responses = ResponseCache()
        for number in range(2 * MAX_RESPONSES):
            for _ in range(2):
                responses.put(b"%d" % number, response(body))
            assert responses.get(b"%d" % number)
        known = sum(
            responses.get(b"%d" % number) is not None for number in range(2 * MAX_RESPONSES)
        )
        assert known <= limit
    for _ in range(2):
        responses.put(b"large", response(bytes(MAX_BODY_BYTES + 1)))
    assert responses.get(b"large") is None


def test_requests_that_come_once_evict_nothing() -> None:
    """A response is cached from its second request on: those that come once leave no trace."""
    responses = ResponseCache()
    for _ in range(2):
        assert responses.get(b"popular") is None
        responses.put(b"popular", response(b""))
    for number in range(3 * MAX_RESPONSES):
        responses.put(b"/fib/10?x=%d" % number, response(b""))
        assert responses.get(b"/fib/10?x=%d" % number) is None
    assert responses.get(b"popular") is not None


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (b"/fib/10?x=1", b"/fib/10?x=2", True),
        (b"/fib/10?x=1", b"/fib/10?x=", True),
        (b"/fib?start=5&x=1&count=3", b"/fib?start=5&x=a=b&count=3", True),
        (b"/fib/10?x=1&y=2", b"/fib/10?x=3&y=4", True),
        (b"/fib/10?formatx=1", b"/fib/10?formatx=2", True),
        (b"/fib/10?xformat=csv", b"/fib/10?xformat=text", True),
        (b"/fib/10?x=format=csv", b"/fib/10?x=format=text", True),
        (b"/fib/10?format=csv", b"/fib/10?format=text", False),
        (b"/fib/10?x=1&format=csv", b"/fib/10?x=1&format=text", False),
        (b"/fib/10?x=1", b"/fib/11?x=1", False),
        (b"/fib/10?x=1", b"/fib/10?y=1", False),
        (b"/fib/10?x=1", b"/fib/10?x", False),
        (b"/fib/10?x=1", b"/fib/10", False),
        (b"/fib/10?x=1&y=1", b"/fib/10?y=1&x=1", False),
        (b"/fib/10?x=%31", b"/fib/10?x=1", False),
        (b"/fib/%31?x=1", b"/fib/1?x=1", False),
    ],
)
def test_values_that_matter(first: bytes, second: bytes, is_same: bool) -> None:
    """Values of parameters that the application does not read are no part of the key."""
    responses, exact = ResponseCache(frozenset({"format", "start", "count"})), ResponseCache()
    for cache in (responses, exact):
        for _ in range(2):
            cache.put(get_request(first), response(b""))
        assert cache.get(get_request(first)) is not None
        is_found = cache.get(get_request(second)) is not None
        assert is_found == (is_same and cache is responses)
        for other in (b"GET %b HTTP/1.0", b"HEAD %b HTTP/1.1", b"GET %b HTTP/1.1\r\nAccept: a"):
            assert cache.get(other % first + b"\r\nHost: a\r\n\r\n") is None
            assert cache.get(get_request(first) * 2) is None


def get_request(target: bytes) -> bytes:
    """Return the bytes of a request."""
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target


def test_cached_response_has_a_file_of_its_own() -> None:
    """A cached response does not share the position and piece of the file that is being sent."""
    slice_ = EncodedSlice.of(0, 100, "text")
    with FibClient("127.0.0.1:1") as client:
        file = DocumentFile(client, Document(b"", slice_, b""), 0, slice_.size)
        file.next_fetch()
        file.hold(expected("text", 0, 100))
        file.advance(10)
        responses = ResponseCache()
        for _ in range(2):
            responses.put(b"request", response(b"")._replace(file=file))
        cached = responses.get(b"request")
        assert cached is not None
        assert cached.response.file is not None
        assert cached.response.file is not file
        assert (cached.response.file.tell(), cached.response.file.held_bytes) == (0, 0)
        assert file.tell() == 10
        assert b"".join(file.views()) == expected("text", 0, 100)[10:]


@given(st.binary(min_size=6), st.integers(0, 5))
def test_bytes_on_their_way(data: bytes, sent: int) -> None:
    """All bytes are sent in order, however few the socket accepts per call."""
    outgoing = Outgoing(data, None, sent)
    received = BytesIO()

    class Narrow(socket.socket):
        def sendmsg(self, buffers: list[memoryview]) -> int:  # type: ignore[override]
            return received.write(b"".join(buffers)[:4])

    with Narrow() as narrow:
        while not outgoing.is_sent:
            assert outgoing.held_bytes == len(data) - outgoing.sent
            outgoing.send(narrow)
    assert received.getvalue() == data[sent:]
    assert outgoing.sent == len(data)


def test_100_continue_waits_until_the_socket_accepts_it() -> None:
    """100 Continue is sent when the client has read enough, and the body is read after it."""
    loop, records, channels = Loop(), list[AccessRecord](), set[Channel]()
    context = ServerContext(
        SiteContext(strange, LIMITS, "80", None),
        loop,
        channels,
        records.append,
        RequestIds(),
        FetchThreads(1, 1.0, loop),
        HeldBytes(1024),
        Admission(1, channels, time.monotonic),
        ResponseCache(),
        ParsedHeaderCache(),
    )
    ours, client = socket.socketpair()
    with client:
        channel = Channel(ours, ("localhost", None), context)
        filled = 0
        with suppress(BlockingIOError):
            while True:
                filled += ours.send(b"x")
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n")
        client.sendall(b"Content-Length: 5\r\n\r\nhe")
        loop.run_once(10)
        assert channel.is_answering
        assert client.recv(filled, socket.MSG_WAITALL) == b"x" * filled
        loop.run_once(10)
        assert client.recv(1000) == CONTINUE
        client.sendall(b"llo")
        for _ in range(2):
            loop.run_once(0)
        assert client.recv(1000).endswith(b"\r\n\r\nhello")
        assert [record.status for record in records] == [200]
        channel.close()
    context.fetcher.close()
    loop.close()
