"""The client against real fibservers, and against peers that misbehave."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fibclient import FibClient, FibError, RequestRefused, ServerMisbehaved, ServerUnreachable
from tests.fibclient.fakes import fake_server
from tests.numbers import expected, fibonacci
from tests.servers import RunningServer


def test_numbers_as_ints(server: RunningServer) -> None:
    """first, range and number return Python ints."""
    want = fibonacci(0, 300)
    with FibClient(server.address) as client:
        assert client.first(300) == want
        assert client.first(0) == []
        assert client.range(100, 110) == want[100:110]
        assert client.number(299) == want[299]


@pytest.mark.parametrize("format", ["json", "text", "csv", "ndjson", "bfile", "binary"])
def test_read(server: RunningServer, format: str) -> None:
    """read returns the bytes of a range in any format."""
    with FibClient(server.address) as client:
        for start, stop in [(0, 0), (0, 1), (0, 1000), (7, 7), (990, 1010), (3000, 3500)]:
            assert client.read(start, stop, format) == expected(format, start, stop)


def test_unix_socket(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """A server may listen on a Unix socket, whose file goes with it."""
    path = tmp_path / "socket"
    server = serve("--listen", f"unix:{path}")
    with FibClient(f"unix:{path}") as client:
        assert client.first(5) == [0, 1, 1, 2, 3]
    assert server.stop() == 0
    assert not path.exists()


def test_refusal_leaves_the_connection_usable(server: RunningServer) -> None:
    """An error reply raises RequestRefused with its code, and the connection goes on."""
    with FibClient(server.address, max_connections=1) as client:
        with pytest.raises(RequestRefused, match="max_index is 10000000") as caught:
            client.read(0, 10**9, "json")
        assert caught.value.code == "LIMIT"
        assert client.first(3) == [0, 1, 1]


@pytest.mark.parametrize("bounds", [(-1, 5), (5, 4)])
def test_impossible_ranges(server: RunningServer, bounds: tuple[int, int]) -> None:
    """A range that cannot be is a ValueError, without a request."""
    with FibClient("127.0.0.1:1") as client, pytest.raises(ValueError, match="must hold"):
        client.range(*bounds)


def test_unknown_format() -> None:
    """An unknown format is a ValueError that lists the known ones."""
    with FibClient("127.0.0.1:1") as client, pytest.raises(ValueError, match="json, text"):
        client.read(0, 1, "xml")


def test_nobody_there() -> None:
    """A server that cannot be reached raises ServerUnreachable with its address."""
    with FibClient("127.0.0.1:1") as client, pytest.raises(ServerUnreachable, match=":1"):
        client.ping()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"$3\r\nabcd\r\n",
        b":5\r\n",
        b"$6\r\n\x05\x00\x00\x00ab\r\n",
        b"+" + b"x" * 100_000,
    ],
)
def test_rubbish(reply: bytes) -> None:
    """A reply that makes no sense raises ServerMisbehaved, and its connection is not reused."""
    with (
        fake_server(reply, b"$4\r\n\x00\x00\x00\x00\r\n") as address,
        FibClient(address) as client,
    ):
        with pytest.raises(ServerMisbehaved):
            client.range(0, 1)
        assert client.range(0, 1) == [0]


@pytest.mark.parametrize(
    "reply", [b"", b"$4\r\n", b"$4\r\n\x00", b"$4\r\n\x00\x00\x00\x00\r", b"$"]
)
def test_a_reply_cut_short(reply: bytes) -> None:
    """A connection that ends within a reply raises ServerUnreachable or ServerMisbehaved."""
    with (
        fake_server(reply) as address,
        FibClient(address) as client,
        pytest.raises((ServerUnreachable, ServerMisbehaved)),
    ):
        client.range(0, 1)


def test_a_server_restarted_between_calls(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """A pooled connection that the server has closed is found out and replaced."""
    address = f"unix:{tmp_path / 'socket'}"
    serve("--listen", address).stop()
    first = serve("--listen", address)
    with FibClient(address) as client:
        assert client.first(3) == [0, 1, 1]
        first.stop()
        serve("--listen", address)
        assert client.first(3) == [0, 1, 1]


def test_many_threads_few_connections(server: RunningServer) -> None:
    """Threads share a bounded pool: each gets its own answer."""
    with (
        FibClient(server.address, max_connections=2) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        answers = threads.map(lambda n: client.read(n, n + 20, "json"), range(200))
        assert list(answers) == [expected("json", n, n + 20) for n in range(200)]
        assert repr(client._pool).endswith("0 in use, 2 idle, at most 2>")


def test_closed(server: RunningServer) -> None:
    """A closed client raises FibError."""
    client = FibClient(server.address)
    client.ping()
    client.close()
    with pytest.raises(FibError, match="closed"):
        client.ping()
