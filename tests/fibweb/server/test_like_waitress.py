"""Equality of the responses with those of unmodified waitress, for all shapes of requests.

Errors are an exception: they are problem details here, so only their status is compared. `OURS`
lists the requests with another response, since waitress is less strict than RFC 9112.
"""

import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fibclient import FibClient
from fibweb import create_app
from fibweb.server.request import MAX_BODY_BYTES, MAX_HEADER_BYTES
from tests.fibweb.server.applications import strange
from tests.fibweb.server.threaded_server import OwnServer, StockServer, converse
from tests.support.servers import RunningServer

HOST = b"Host: example.org\r\n"

PATHS = [
    b"/",
    b"//plain",
    b"/?a=b&c=d",
    b"/?a=%41+x#f",
    b"/pl%61in",
    b"/partial",
    b"/changing",
    b"/waits",
    b"/waits-late",
    b"/unchanged",
    b"/chunks",
    b"/file",
    b"/repeated",
    b"/behind-another",
    b"/too-few",
    b"/raises",
    b"http://example.org/plain",
]

GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
HEAD = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_ALIVE = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
WAITS = GET.replace(b"/ ", b"/waits ")
CHANGING = GET.replace(b"/ ", b"/changing ")
LENGTH = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
)
EXPECT = b"POST /echo HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"

SHAPES = {
    "get": GET,
    "head": HEAD,
    "1.0": OLD,
    "1.0 head": OLD.replace(b"GET", b"HEAD"),
    "1.0 keep-alive": OLD_ALIVE * 2,
    "1.0 keep-alive, no length": OLD_ALIVE.replace(b"/ ", b"/chunks "),
    "0.9": b"GET /\r\n\r\n",
    "2.0": GET.replace(b"1.1", b"2.0"),
    "close": CLOSE + GET,
    "Close": CLOSE.replace(b"close", b"Close"),
    "keep-alive": CLOSE.replace(b"close", b"keep-alive"),
    "a thousand at once": GET * 1000,
    "mixed": GET + WAITS + CHANGING + LENGTH + HEAD + WAITS + CHUNKED + GET + CLOSE + GET,
    "an error between": GET + b"bad\r\n\r\n" + GET,
    "blank lines before": b"\r\n\r\n" + GET,
    "a blank line behind": GET + b"\r\n",
    "length": LENGTH,
    "get with a body": LENGTH.replace(b"POST", b"GET"),
    "length 0": GET[:-2] + b"Content-Length: 0\r\n\r\n",
    "bad length": LENGTH.replace(b": 5", b": five"),
    "negative length": LENGTH.replace(b": 5", b": -5"),
    "length and chunked": CHUNKED.replace(b"Host", b"Content-Length: 3\r\nHost"),
    "chunked": CHUNKED,
    "chunked, 1.0": CHUNKED.replace(b"1.1", b"1.0"),
    "chunked, bad": CHUNKED.replace(b"\r\n3\r\n", b"\r\nx\r\n"),
    "another coding": CHUNKED.replace(b"chunked", b"gzip"),
    "expect": EXPECT + b"hello" + GET,
    "expect, behind another": WAITS + EXPECT + b"hello",
    "expect, no body": GET[:-2] + b"Expect: 100-continue\r\n\r\n",
    "too much body": LENGTH.replace(b": 5", b": %d" % MAX_BODY_BYTES),
    "options": GET.replace(b"GET", b"OPTIONS"),
    "lower-case method": GET.replace(b"GET", b"get"),
    "post without a version": b"POST /echo\r\n\r\n",
    "no header at all": b"GET / HTTP/1.1\r\n\r\n",
    "1.0, a bad host": OLD[:-2] + b"Host: a b\r\n\r\n",
    "two hosts": GET[:-2] + HOST + b"\r\n",
    "two empty hosts": b"GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a port": GET.replace(b"example.org", b"[2001:db8::1]:8080"),
    "a host with a path": GET.replace(b"example.org", b"a/b"),
    "a host with a name and a password": GET.replace(b"example.org", b"a:b@c"),
    "a header twice": GET[:-2] + b"Accept: a\r\nAccept: b\r\n\r\n",
    "a folded header": GET[:-2] + b"X: a\r\n b\r\n\r\n",
    "a bad header": GET[:-2] + b"no colon\r\n\r\n",
    "a bare line feed": GET[:-2] + b"X: a\nY: b\r\n\r\n",
    "underscores": GET[:-2] + b"X_y: 1\r\n\r\n",
    "not ASCII": GET[:-2] + b"X: \xff\xfe\r\n\r\n",
    "no line at all": b"\x00\x01\x02\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "two spaces": GET.replace(b"GET ", b"GET  "),
    "no target": b"GET HTTP/1.1\r\n\r\n",
    "a space behind": GET.replace(b"1.1", b"1.1 "),
    "large headers": GET[:-2] + b"X: %b\r\n\r\n" % (b"x" * 8000),
    "nothing": b"",
    "half": GET[:20],
    "half a body": LENGTH[:-2],
} | {path.decode(): GET.replace(b"/ ", path + b" ") for path in PATHS}

OURS = {
    "no target": [400],  # GET of HTTP/1.1 without a version
    "post without a version": [400],
    "no header at all": [400],
    "2.0": [400],
    "length and chunked": [400],  # two ends of one body
    "chunked, 1.0": [400],
    "1.0, a bad host": [400],
    "two hosts": [400],
    "two empty hosts": [400],
    "a host with a path": [400],
    "a host with a name and a password": [400],
    "expect, no body": [200],  # waitress sends 100 and waits for a body
}

REAL_TARGETS = [
    b"/fib/0",
    b"/fib/10",
    b"/fib/10?format=csv",
    b"/fib/600",
    b"/fib/2000",
    b"/fib?start=5&count=3",
    b"/number/100",
    b"/number/100?mod=7",
    b"/digits/100",
    b"/index/100",
    b"/limits",
    b"/problems/too-large",
    b"/fib/3?formt=csv",
    b"/fib/-1",
    b"/nothing",
]
REAL_HEADERS = [
    b"",
    b"Accept: text/csv\r\n",
    b"Range: bytes=3-20\r\n",
    b"Range: bytes=100-99999\r\n",
    b"If-None-Match: *\r\n",
    b"Connection: close\r\n",
    b"X-Request-ID: mine\r\n",
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnServer, StockServer]]:
    """The server under test and waitress, with the same application."""
    folder = tmp_path_factory.mktemp("http")
    own, stock = OwnServer(strange, folder / "own"), StockServer(strange, folder / "stock")
    yield own, stock
    own.stop()
    stock.stop()


@pytest.fixture(scope="module")
def real_pair(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OwnServer, StockServer]]:
    """The server under test and waitress, with the real application."""
    folder: Path = tmp_path_factory.mktemp("http")
    with FibClient(server.address) as client:
        app = create_app(client)
        own, stock = OwnServer(app, folder / "own"), StockServer(app, folder / "stock")
        yield own, stock
        own.stop()
        stock.stop()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_bytes(pair: tuple[OwnServer, StockServer], shape: str) -> None:
    """The first and the cached response equal that of waitress, except Date and id."""
    own, stock = pair
    answers = [converse(own.path, [SHAPES[shape]]) for _ in range(2)]
    if shape in OURS:
        for answer in answers:
            statuses = [int(status) for status in re.findall(rb"HTTP/1.1 ([0-9]+)", answer)]
            assert statuses == OURS[shape]
    else:
        expected = persistent(without_errors(converse(stock.path, [SHAPES[shape]])))
        assert list(map(without_errors, answers)) == [expected, expected]


_FIELDS = rb"(?:[^\r]+\r\n)*"
_ERROR = re.compile(
    rb"HTTP/1\.[01] ([45][0-9]{2}) [^\r]*\r\n"
    + _FIELDS
    + rb"Connection: close\r\n"
    + _FIELDS
    + rb"\r\n(?:[A-Z](?s:.*)\(generated by fibweb\)|(\{.*\})|)"
)


_CLOSED_304 = re.compile(rb"(HTTP/1\.1 304 [^\r]*\r\n(?:[^\r]+\r\n)*?)Connection: close\r\n")


def persistent(answers: bytes) -> bytes:
    """Remove the header by which waitress closes the connection after each 304."""
    return _CLOSED_304.sub(rb"\1", answers)


def without_errors(answers: bytes) -> bytes:
    """Replace each error response that closes the connection by its status."""

    def status(match: re.Match[bytes]) -> bytes:
        if match[2]:
            assert json.loads(match[2])["status"] == int(match[1])
        return match[1]

    return _ERROR.sub(status, answers)


@pytest.mark.parametrize("target", REAL_TARGETS)
@pytest.mark.parametrize("headers", REAL_HEADERS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_the_real_application(
    real_pair: tuple[OwnServer, StockServer], method: bytes, target: bytes, headers: bytes
) -> None:
    """The real application's first and cached responses equal those under waitress."""
    own, stock = real_pair
    lines = b"X-Request-ID: same\r\n" if b"X-Request" not in headers else b""
    request = b"%b %b HTTP/1.1\r\n%b%b%b\r\n" % (method, target, HOST, lines, headers)
    first, cached, expected = (
        converse(path, [request]) for path in (own.path, own.path, stock.path)
    )
    assert first == cached
    if first.startswith(b"HTTP/1.1 4"):
        assert first[:13] == expected[:13]  # under waitress the request has another id
    else:
        assert first == (expected if b"close" in headers else persistent(expected))


def test_a_304_keeps_the_connection(real_pair: tuple[OwnServer, StockServer]) -> None:
    """A client that revalidates, or asks for permission, uses its connection again."""
    own, _ = real_pair
    unchanged = b"GET /fib/10 HTTP/1.1\r\n" + HOST + b"If-None-Match: *\r\n\r\n"
    preflight = b"OPTIONS /fib/10 HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = converse(own.path, [unchanged * 2 + preflight + unchanged])
    statuses = re.findall(rb"HTTP/1.1 ([0-9]+)", answers)
    assert [int(status) for status in statuses] in ([304, 304, 200, 304], [304, 304, 204, 304])


def test_path_prefix_is_removed_like_waitress(tmp_path: Path) -> None:
    """A path prefix is removed as by waitress, also from requests with cached headers."""

    def mounted(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        text = f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]

    own = OwnServer(mounted, tmp_path / "own", root_path="/f")
    stock = StockServer(mounted, tmp_path / "stock", root_path="/f")
    for path in (
        b"/f/plain",
        b"/f/a/b",
        b"/f",
        b"/f/",
        b"/fx",
        b"/",
        b"/plain",
        b"/f/f",
        b"//f/a",
    ):
        request = GET.replace(b"/ ", path + b" ")
        expected = converse(stock.path, [request])
        assert converse(own.path, [request]) == expected
        assert converse(own.path, [request]) == expected
    own.stop()
    stock.stop()


@pytest.mark.parametrize("request_bytes", [GET, WAITS, LENGTH, CHUNKED, EXPECT + b"hello" + GET])
def test_split_at_every_byte(pair: tuple[OwnServer, StockServer], request_bytes: bytes) -> None:
    """The response does not depend on the pieces in which a request arrives."""
    own, stock = pair
    expected = converse(stock.path, [request_bytes])
    for index in range(1, len(request_bytes)):
        pieces = [request_bytes[:index], request_bytes[index:]]
        assert converse(own.path, pieces) == expected
    single = [bytes([byte]) for byte in request_bytes]
    assert converse(own.path, single) == expected


def test_a_client_that_waits_to_continue(pair: tuple[OwnServer, StockServer]) -> None:
    """100 Continue is sent after the response to the previous request."""
    own, stock = pair
    pieces = [WAITS + EXPECT, b"hello"]
    received = converse(own.path, pieces)
    assert received == converse(stock.path, pieces)
    assert received.count(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") == 1
    assert received.endswith(b"hello")


def test_headers_beyond_the_limit(pair: tuple[OwnServer, StockServer]) -> None:
    """Endless headers are refused as soon as they exceed the limit."""
    own, _ = pair
    endless = b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES
    answer = converse(own.path, [endless[:8000], endless[8000:16000], endless[16000:]])
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def test_the_version_of_waitress() -> None:
    """The server depends on internals of waitress, and was tested with this version.

    Before an upgrade, read the changes in its parser.py and task.py.
    """
    assert importlib.metadata.version("waitress") == "3.0.2"
