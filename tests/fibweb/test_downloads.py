"""Tests over real sockets: headers on the wire, large bodies, and fibservers that die."""

import hashlib
import http.client
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from fibclient import FibClient
from fibweb import create_app
from tests.support.expected import digits
from tests.support.http_servers import SERVERS, Serve
from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client
from tests.support.waiting import wait_until

MIB = 1024**2
START, COUNT = 1_000_000, 150
LARGE = f"/fib?start={START}&count={COUNT}&format=text"
"""31 MB, far more than is held in memory."""


@pytest.fixture(params=SERVERS)
def serve_http(request: pytest.FixtureRequest) -> Serve:
    """The HTTP server that serves the application."""
    return SERVERS[request.param]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[FibClient]:
    """A client of a fibserver."""
    with FibClient(server.address) as client:
        yield client


def connect(port: int) -> http.client.HTTPConnection:
    """Return a persistent connection."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)


def digest(address: str) -> str:
    """Return the digest of the large response, fetched from a fibserver in one piece."""
    with direct_client(address) as client:
        return hashlib.sha256(client.read(START, START + COUNT, "text")).hexdigest()


def test_requests_on_one_connection(client: FibClient, serve_http: Serve) -> None:
    """Small and large responses, HEAD, errors and ranges share one connection."""
    with serve_http(create_app(client)) as port, closing(connect(port)) as connection:
        sizes = {}
        for method, target, status in [
            ("GET", "/fib/10", 200),
            ("GET", "/fib/3000", 200),
            ("HEAD", "/fib/3000", 200),
            ("GET", "/fib/x", 400),
            ("HEAD", "/fib/x", 400),
            ("GET", "/fib/10000000", 400),
            ("GET", "/number/1000000", 200),
            ("OPTIONS", "/fib/10", 204),
            ("DELETE", "/fib/10", 405),
            ("GET", "/fib/%31", 400),
            ("GET", "/fib/10", 200),
        ] * 2:
            # The body of an error has the id, so equal ids make equal lengths.
            connection.request(method, target, headers={"X-Request-ID": "one"})
            with connection.getresponse() as response:
                body = response.read()
            assert response.status == status
            if method == "GET":
                assert int(response.headers["Content-Length"]) == len(body)
                sizes[target] = len(body)
            elif method == "HEAD":
                assert (body, int(response.headers["Content-Length"])) == (b"", sizes[target])
        connection.request("GET", "/fib/3000")
        with connection.getresponse() as response:
            assert json.load(response) == {"N": 3000, "result": digits(0, 3000)}


def test_download_resumes_by_ranges(
    client: FibClient, server: RunningServer, serve_http: Serve
) -> None:
    """A download by ranges, each with If-Range, is the same as in one piece."""
    found = hashlib.sha256()
    with serve_http(create_app(client)) as port, closing(connect(port)) as connection:
        connection.request("HEAD", LARGE)
        with connection.getresponse() as response:
            response.read()
            size, tag = int(response.headers["Content-Length"]), response.headers["ETag"]
        bounds = [0, 1, 100_000, 5_000_000, size - 1, size]
        for begin, end in pairwise(bounds):
            headers = {"Range": f"bytes={begin}-{end - 1}", "If-Range": tag}
            connection.request("GET", LARGE, headers=headers)
            with connection.getresponse() as response:
                assert response.status == 206
                assert response.headers["Content-Range"] == f"bytes {begin}-{end - 1}/{size}"
                part = response.read()
            assert len(part) == end - begin
            found.update(part)
    assert found.hexdigest() == digest(server.address)


def test_large_response_takes_bounded_memory(server: RunningServer, tmp_path: Path) -> None:
    """A large response is sent in bounded memory."""
    command = [sys.executable, "-m", "fibweb", "--listen", "127.0.0.1:0"]
    command += ["--servers", server.address]
    fibweb = RunningServer(command, tmp_path / "log")
    try:
        with closing(connect(fibweb.port)) as connection:
            found, peak = hashlib.sha256(), 0
            connection.request("GET", "/fib/10")
            with connection.getresponse() as response:
                response.read()
            before = fibweb.process.memory_info().rss
            connection.request("GET", LARGE)
            with connection.getresponse() as response:
                while piece := response.read(MIB):
                    found.update(piece)
                    peak = max(peak, fibweb.process.memory_info().rss)
        assert found.hexdigest() == digest(server.address)
        assert peak - before < 12 * MIB
    finally:
        fibweb.stop()


def test_another_fibserver_continues_response(
    serve: Callable[..., RunningServer], serve_http: Serve
) -> None:
    """When a fibserver dies during a response, another one continues it."""
    servers = [serve(), serve()]
    addresses = ",".join(server.address for server in servers)
    with (
        FibClient(addresses) as client,
        serve_http(create_app(client)) as port,
        closing(connect(port)) as connection,
    ):
        connection.request("GET", LARGE)
        with connection.getresponse() as response:
            found = hashlib.sha256(response.read(MIB))
            busiest = max(client.stats().endpoints, key=lambda endpoint: endpoint.succeeded)
            dying = next(server for server in servers if server.address == str(busiest.address))
            dying.stop(signal.SIGKILL)
            while piece := response.read(MIB):
                found.update(piece)
        assert sum(endpoint.times_down for endpoint in client.stats().endpoints) == 1
    surviving = next(server for server in servers if server is not dying)
    assert found.hexdigest() == digest(surviving.address)


def test_connection_is_closed_without_fibserver(
    serve: Callable[..., RunningServer], serve_http: Serve
) -> None:
    """When no fibserver is left, the connection is closed before the end of the response."""
    server = serve()
    with (
        FibClient(server.address, max_retries=0, timeout_seconds=5) as client,
        serve_http(create_app(client)) as port,
        closing(connect(port)) as connection,
    ):
        connection.request("GET", LARGE)
        with connection.getresponse() as response:
            response.read(MIB)
            server.stop(signal.SIGKILL)
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
        # The service itself continues.
        with closing(connect(port)) as other:
            other.request("GET", "/fib/0")
            with other.getresponse() as response:
                assert response.status == 200


def test_disconnected_reader_frees_connection(client: FibClient, serve_http: Serve) -> None:
    """After a client disconnects during a response, no connection stays in use."""
    with serve_http(create_app(client)) as port:
        for _ in range(3):
            with closing(connect(port)) as connection:
                connection.request("GET", LARGE)
                connection.getresponse().read(1000)
        wait_until(lambda: not client.stats().in_use, "all connections are given back")
        with closing(connect(port)) as connection:
            connection.request("GET", "/fib/10")
            with connection.getresponse() as response:
                assert response.status == 200
