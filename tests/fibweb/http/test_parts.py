"""The parts of the server by themselves: requests, replays, and bytes on their way."""

import socket
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from fibweb.http import request as request_module
from fibweb.http.exchange import Exchange, RequestIds
from fibweb.http.replay import (
    IMMUTABLE,
    MAX_BODY_BYTES,
    MAX_BYTES,
    MAX_REPLAYS,
    Replays,
    http_date,
    is_replayable,
)
from fibweb.http.request import MAX_KNOWN_HEADERS, Request
from fibweb.http.response import Outgoing, Response

LIMITS = Adjustments()
EXCHANGE = Exchange("GET", "/", 200, 0, 0, "", "", "", "")

PARSED = [
    "version",
    "command",
    "path",
    "query",
    "fragment",
    "request_uri",
    "headers",
    "url_scheme",
    "proxy_scheme",
    "proxy_netloc",
    "connection_close",
    "expect_continue",
    "content_length",
    "chunked",
    "completed",
    "empty",
]


def parsed(kind: type[HTTPRequestParser], data: bytes) -> list[object]:
    """Return what a parser makes of a request."""
    parser = kind(LIMITS)
    consumed = parser.received(data)
    error = None if parser.error is None else parser.error.to_response()
    return [consumed, error, *(getattr(parser, name, None) for name in PARSED)]


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


@given(st.lists(st.tuples(LINES, st.lists(FIELDS, max_size=3)), min_size=1, max_size=4))
def test_requests_are_parsed_as_by_waitress(requests: list[tuple[bytes, list[bytes]]]) -> None:
    """Whatever was remembered before, a request is parsed as waitress parses it."""
    for line, fields in requests:
        for each in (line, b"GET /other?q=1 HTTP/1.1"):  # which may find the headers known
            data = b"\r\n".join([each, *fields, b"", b""])
            assert parsed(Request, data) == parsed(HTTPRequestParser, data)


def test_few_headers_are_remembered() -> None:
    """Neither too many nor too large ones."""
    for number in range(2 * MAX_KNOWN_HEADERS):
        parsed(Request, b"GET / HTTP/1.1\r\nX: %d\r\n\r\n" % number)
    known = request_module._known_headers
    assert 0 < len(known) <= MAX_KNOWN_HEADERS
    large = b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * request_module.MAX_KNOWN_BYTES)
    parsed(Request, large)
    assert all(len(block) <= request_module.MAX_KNOWN_BYTES for block in known)


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
    assert is_replayable(method, status, cache_control) is verdict


def response(body: bytes) -> Response:
    """Return an answer with a date."""
    header = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + http_date(0) + b"\r\nServer: x\r\n\r\n"
    return Response(EXCHANGE, header, body, None, False, True)


def test_a_replay_has_the_current_date() -> None:
    """All else stays as it was."""
    replays = Replays()
    replays.learn(b"request", response(b"body"))
    replay = replays.find(b"request")
    assert replay is not None
    for second in (0, 1, 1, 1_700_000_000):
        date = http_date(second)
        expected = b"HTTP/1.1 200 OK\r\nA: 1\r\nDate: " + date + b"\r\nServer: x\r\n\r\nbody"
        assert replay.data(second) == expected
    assert http_date(1_700_000_000) == b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_replays_are_bounded_and_learn_on() -> None:
    """When there are too many, or they are too large together, it begins anew with the next."""
    for body, most in ((b"", MAX_REPLAYS), (bytes(MAX_BODY_BYTES), MAX_BYTES // MAX_BODY_BYTES)):
        replays = Replays()
        for number in range(2 * MAX_REPLAYS):
            replays.learn(b"%d" % number, response(body))
            assert replays.find(b"%d" % number)
        known = sum(replays.find(b"%d" % number) is not None for number in range(2 * MAX_REPLAYS))
        assert known <= most
    replays.learn(b"large", response(bytes(MAX_BODY_BYTES + 1)))
    assert replays.find(b"large") is None


@given(st.lists(st.binary(max_size=9)), st.integers(0, 5))
def test_bytes_on_their_way(pieces: list[bytes], sent: int) -> None:
    """Everything goes out, in order, however little the socket takes at a time."""
    first = bytes(range(6))
    outgoing = Outgoing(first, [memoryview(piece) for piece in pieces], None, sent)
    received = BytesIO()

    class Narrow(socket.socket):
        def sendmsg(self, buffers: list[memoryview]) -> int:  # type: ignore[override]
            return received.write(b"".join(buffers)[:4])

    with Narrow() as narrow:
        while not outgoing.is_sent:
            outgoing.send(narrow)
    whole = first[sent:] + b"".join(pieces)
    assert received.getvalue() == whole
    assert outgoing.sent == sent + len(whole)
