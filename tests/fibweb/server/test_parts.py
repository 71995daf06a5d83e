"""The parts of the server by themselves: requests, replays, and bytes on their way."""

import socket
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from fibweb.content.fetch import Fetch
from fibweb.server.parsed_headers import (
    MAX_KNOWN_BYTES,
    MAX_KNOWN_HEADERS,
    CachedHeaderRequest,
    ParsedHeaderCache,
)
from fibweb.server.request import Request
from fibweb.server.response import Outgoing, Response
from fibweb.server.response_cache import (
    IMMUTABLE,
    MAX_BODY_BYTES,
    MAX_BYTES,
    MAX_REPLAYS,
    ResponseCache,
    http_date,
    is_cacheable,
)
from fibweb.stats.access_record import AccessRecord, RequestIds

LIMITS = Adjustments()
EXCHANGE = AccessRecord("GET", "/", 200, 0, 0, "", "", "", "")

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


class Connection:
    """As much of a connection as an environment tells of."""

    adj = LIMITS
    addr = ("192.0.2.1", 4711)
    server = SimpleNamespace(adj=LIMITS, effective_port=80, server_name="example.org")

    def fetch(self, fetch: Fetch) -> bytes:
        """Fetch nothing."""
        raise NotImplementedError

    def check_client_disconnected(self) -> bool:
        """Return what nobody asks."""
        return False


CONNECTION: Any = Connection()


def parsed(data: bytes) -> Request:
    """Return what waitress makes of the bytes of a request."""
    request = Request(LIMITS)
    request.received(data)
    return request


def environ(request: Request | CachedHeaderRequest) -> dict[str, Any]:
    """Return the environment that the application gets, with the bytes of its body."""
    made = request.environ(CONNECTION)
    return made | {"wsgi.input": made["wsgi.input"].read()}


def is_whole(data: bytes) -> bool:
    """Tell whether bytes are one request, and no more."""
    request = Request(LIMITS)
    consumed = request.received(data)
    is_one = request.completed and not request.empty and consumed == len(data)
    return is_one and request.error is None


@given(st.lists(st.tuples(LINES, st.lists(FIELDS, max_size=3)), min_size=1, max_size=4))
def test_plain_requests_are_as_waitress_has_them(
    requests: list[tuple[bytes, list[bytes]]],
) -> None:
    """Whatever was seen before, the application is told the same of a request."""
    parsed_headers = ParsedHeaderCache()
    for line, fields in requests:
        for each in (line, b"GET /other?q=1 HTTP/1.1"):  # which may find the headers known
            data = b"\r\n".join([each, *fields, b"", b""])
            plain = parsed_headers.find(data)
            request = parsed(data)
            if plain is not None:
                assert is_whole(data)
                assert environ(plain) == environ(request)
                for name in ("method", "target", "user_agent", "proposed_id", "has_body"):
                    assert getattr(plain, name) == getattr(request, name)
                assert request.is_usual
                assert environ(plain.parsed(LIMITS)) == environ(request)
            elif is_whole(data) and request.is_usual:
                parsed_headers.learn(data, request.template(CONNECTION))


USUAL = b"Host: a\r\nUser-Agent: b\r\nX-Request-ID: c\r\n\r\n"


@pytest.mark.parametrize(
    "headers", [b"\r\n", USUAL, USUAL[:-2] + b"Connection: keep-alive\r\n\r\n"]
)
def test_plain_requests_are_found(headers: bytes) -> None:
    """The headers of one request are known of all others at the same socket."""
    parsed_headers = ParsedHeaderCache()
    first = b"HEAD / HTTP/1.1\r\n" + headers
    assert parsed_headers.find(first) is None
    parsed_headers.learn(first, parsed(first).template(CONNECTION))
    found = parsed_headers.find(b"GET /fib/10?a=1 HTTP/1.1\r\n" + headers)
    assert found is not None
    assert (found.method, found.target) == ("GET", "/fib/10?a=1")
    assert found.user_agent == ("b" if b"User" in headers else "")
    assert found.proposed_id == ("c" if b"X-Request" in headers else "")
    assert ParsedHeaderCache().find(first) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * MAX_KNOWN_BYTES),
    ],
)
def test_what_is_not_plain(data: bytes) -> None:
    """Whoever closes, sends a body or has something to decode is not remembered."""
    parsed_headers = ParsedHeaderCache()
    parsed_headers.learn(data, parsed(data).template(CONNECTION))
    assert parsed_headers.find(data) is None


def test_few_headers_are_remembered() -> None:
    """A client that varies them all the time costs no memory."""
    parsed_headers = ParsedHeaderCache()
    for number in range(2 * MAX_KNOWN_HEADERS):
        data = b"GET / HTTP/1.1\r\nX: %d\r\n\r\n" % number
        parsed_headers.learn(data, parsed(data).template(CONNECTION))
        assert parsed_headers.find(data) is not None
        assert len(parsed_headers) <= MAX_KNOWN_HEADERS


@pytest.mark.parametrize(
    ("proposed", "is_taken"),
    [("a", True), ("A.b_c-9", True), ("x" * 64, True), ("x" * 65, False), ("", False)]
    + [(text, False) for text in ("a b", "a\n", "é", '"', "a/b")],
)
def test_request_ids(proposed: str, is_taken: bool) -> None:
    """A client's own id is taken if it is fit for a log; fresh ones are all different."""
    ids = RequestIds()
    assert (ids.choose(proposed) == proposed) is is_taken
    fresh = {ids.fresh() for _ in range(100)} | {RequestIds().fresh() for _ in range(100)}
    assert len(fresh) == 200
    assert all(ids.choose(each) == each for each in fresh)


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
def test_what_may_be_replayed(method: str, status: int, cache_control: str, verdict: bool) -> None:
    """Only what will be the same the next time."""
    assert is_cacheable(method, status, cache_control) is verdict


def response(body: bytes) -> Response:
    """Return an answer with a date."""
    header = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + http_date(0) + b"\r\nServer: x\r\n\r\n"
    return Response(EXCHANGE, header, body, None, False, True)


def test_a_replay_has_the_current_date() -> None:
    """All else stays as it was."""
    responses = ResponseCache()
    responses.learn(b"request", response(b"body"))
    replay = responses.find(b"request")
    assert replay is not None
    for second in (0, 1, 1, 1_700_000_000):
        date = http_date(second)
        expected = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + date + b"\r\nServer: x\r\n\r\nbody"
        assert replay.data(second) == expected
    assert http_date(1_700_000_000) == b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_replays_are_bounded_and_learn_on() -> None:
    """When there are too many, or they are too large together, it begins anew with the next."""
    for body, most in ((b"", MAX_REPLAYS), (bytes(MAX_BODY_BYTES), MAX_BYTES // MAX_BODY_BYTES)):
        responses = ResponseCache()
        for number in range(2 * MAX_REPLAYS):
            responses.learn(b"%d" % number, response(body))
            assert responses.find(b"%d" % number)
        known = sum(
            responses.find(b"%d" % number) is not None for number in range(2 * MAX_REPLAYS)
        )
        assert known <= most
    responses.learn(b"large", response(bytes(MAX_BODY_BYTES + 1)))
    assert responses.find(b"large") is None


@given(st.binary(min_size=6), st.integers(0, 5))
def test_bytes_on_their_way(data: bytes, sent: int) -> None:
    """Everything goes out, in order, however little the socket takes at a time."""
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
