"""Processes that lack what a client needs: descriptors, threads or unpatched sockets."""

import errno
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fibclient import FibClient, ServerUnreachable
from tests.support.fake_server import FakeServer, fake_server, in_turn
from tests.support.servers import RunningServer

ZERO = b"$4\r\n\x00\x00\x00\x00\r\n"


class Shortage:
    """Simulated shortage of descriptors.

    Attributes:
        remaining: Number of sockets that will fail.
    """

    def __init__(self) -> None:
        self.remaining = 0

    def new_socket(self, *arguments: int) -> socket.socket:
        """Return a socket, or raise EMFILE during the shortage."""
        if self.remaining:
            self.remaining -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket(*arguments)


class _Sockets:
    """The socket module as `fibclient.connections.connection` sees it."""

    def __init__(self, shortage: Shortage) -> None:
        self.socket = shortage.new_socket

    def __getattr__(self, name: str) -> object:
        return getattr(socket, name)


@pytest.fixture
def shortage(monkeypatch: pytest.MonkeyPatch) -> Shortage:
    """Return a shortage that a test can cause."""
    shortage = Shortage()
    monkeypatch.setattr("fibclient.connections.connection.socket", _Sockets(shortage))
    return shortage


@pytest.fixture
def servers() -> Iterator[tuple[FakeServer, FakeServer]]:
    """Run two fake servers."""
    with fake_server(in_turn(ZERO)) as one, fake_server(in_turn(ZERO)) as two:
        yield one, two


def test_short_lack_of_descriptors_is_retried(
    shortage: Shortage, servers: tuple[FakeServer, FakeServer]
) -> None:
    """The call is retried after a delay, and no endpoint is marked down."""
    with FibClient(",".join(server.address for server in servers), cache_bytes=0) as client:
        shortage.remaining = 3
        assert client.range(0, 1) == [0]
        statistics = client.stats()
        assert statistics.retries == 3
        assert [endpoint.times_down for endpoint in statistics.endpoints] == [0, 0]


def test_lasting_lack_of_descriptors_is_reported(
    shortage: Shortage, servers: tuple[FakeServer, FakeServer]
) -> None:
    """The error for a lasting shortage has its reason."""
    shortage.remaining = 10**9
    with (
        FibClient(servers[0].address, max_retries=2) as client,
        pytest.raises(ServerUnreachable, match=r"^cannot create a socket .* open files \(tried"),
    ):
        client.range(0, 1)


def test_idle_connection_is_closed_for_its_descriptor(
    shortage: Shortage, servers: tuple[FakeServer, FakeServer]
) -> None:
    """An idle connection is closed to free its descriptor for another."""
    with FibClient(",".join(server.address for server in servers), cache_bytes=0) as client:
        assert client.range(0, 1) == [0]
        shortage.remaining = 1
        assert client.range(0, 1) == [0]
        assert client.stats().retries == 0
    assert [len(server.requests) for server in servers] == [1, 1]


def test_probe_is_repeated_after_lack_of_descriptors(shortage: Shortage) -> None:
    """A dead server is probed again after the shortage."""
    with (
        fake_server(in_turn(ZERO)) as server,
        FibClient(server.address, max_retries=0, cache_bytes=0) as client,
    ):
        assert client.range(0, 1) == [0]
        endpoint = next(iter(client._pool._endpoints))
        shortage.remaining = 3
        client._pool._mark_down(endpoint, ServerUnreachable("tested"))
        client._pool.wait(30, None, for_endpoint=True)
        assert endpoint.is_up
        assert shortage.remaining == 0


@pytest.mark.parametrize("library", ["gevent._socket3", "eventlet.greenio.base"])
def test_patched_sockets_raise(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Patched sockets raise RuntimeError with the remedy."""
    patched = type("socket", (socket.socket,), {"__module__": library})
    monkeypatch.setattr(socket, "socket", patched)
    with pytest.raises(RuntimeError, match=r"(gevent|eventlet) has replaced .* threaded worker"):
        FibClient()


PROGRAM = """
import atexit, sys, threading
from fibclient import FibClient, FibError

fib = FibClient(sys.argv[1])
if sys.argv[3] == "used":
    fib.submit("first", 3).result()

def run():
    print(fib.submit("first", 3).result(5))
    print(list(fib.map("number", range(3))))
    print(len(fib.read(0, 999, "text", parts=4)) == fib.size(0, 999, "text"))
    try:
        fib.submit("first", 10**9).result(5)
    except FibError as error:
        print(type(error).__name__)

def run_later():
    threading.main_thread().join()
    run()

if sys.argv[2] == "atexit":
    atexit.register(run)
else:
    threading.Thread(target=run_later).start()
"""


@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("where", ["atexit", "thread"])
def test_calls_succeed_without_new_threads(server: RunningServer, where: str, before: str) -> None:
    """Calls that need threads succeed even if no more threads can be started."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.address, where, before],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[0, 1, 1]\n[0, 1, 1]\nTrue\nRequestRefused\n"
    assert done.stderr == ""
