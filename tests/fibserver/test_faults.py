"""Tests of worker crashes and full shared memory."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fibclient import RequestRefused, ServerUnreachable
from fibcommon.formats import FORMATS
from tests.support.expected import expected
from tests.support.servers import DEADLINE_SECONDS, RunningServer, direct_client

N = 4000  # 1.7 MB as json: several blocks
CLIENTS = 8


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Return a directory with one file per remaining strike of a fault."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    return folder


@pytest.fixture
def serve_faulty(tmp_path: Path, tokens: Path) -> Iterator[Callable[..., RunningServer]]:
    """Return a function that starts a server whose fault strikes a given number of times."""
    started = []

    def start(fault: str, strikes: int, workers: int = 2, gate: str = "") -> RunningServer:
        for number in range(strikes):
            (tokens / str(number)).touch()
        module = "tests.support.faulty_server"
        command = [sys.executable, "-m", module, fault, str(tokens)]
        environment = {
            "FIBSERVER_LISTEN": "127.0.0.1:0",
            "FIBSERVER_WORKERS": str(workers),
            "GATE": gate,
        }
        server = RunningServer(command, tmp_path / "log", environment)
        started.append(server)
        return server

    yield start
    for server in started:
        assert server.stop() == 0


def ask_from_many(address: str, n: int, format: str = "json") -> None:
    """Request the same numbers from several clients at once, and check the replies."""
    want = expected(format, 0, n)

    def ask(_: int) -> bool:
        with direct_client(address) as client:
            return client.read(0, n, format) == want

    with ThreadPoolExecutor(CLIENTS) as threads:
        assert all(threads.map(ask, range(CLIENTS)))


def ping_for_ever(address: str) -> None:
    """Connect and ping until that fails."""
    while True:
        with direct_client(address) as client:
            client.ping()


@pytest.mark.parametrize("fault", ["die_before", "die_during", "die_after", "scribble"])
def test_worker_killed_during_block_is_replaced(
    fault: str, serve_faulty: Callable[..., RunningServer], tokens: Path
) -> None:
    """A worker dies before, during or after a write: replies stay right and it is replaced."""
    server = serve_faulty(fault, 2)
    ask_from_many(server.address, N)
    assert not list(tokens.iterdir()), "the fault did not strike"
    assert server.info()["worker_deaths"] == "2"
    assert server.info()["workers"] == str(len(server.workers()))
    ask_from_many(server.address, N, "csv")


def test_a_block_that_kills_every_worker(serve_faulty: Callable[..., RunningServer]) -> None:
    """A block that kills three workers fails the request; the next request retries it."""
    server = serve_faulty("die_before", 3, workers=1)
    with direct_client(server.address) as client:
        with pytest.raises(RequestRefused, match="3 workers died"):
            client.read(0, 10, "json")
        assert client.read(0, 10, "json") == expected("json", 0, 10)
    assert server.info()["worker_deaths"] == "3"


def test_block_lost_during_reply_closes_connection(
    serve_faulty: Callable[..., RunningServer], tokens: Path
) -> None:
    """A failure after the reply began closes the connection without sending a wrong byte."""
    server = serve_faulty("die_before", 0, workers=1)
    with direct_client(server.address) as client:
        client.read(0, 10, "json")
        for number in range(3):
            (tokens / str(number)).touch()
        with pytest.raises(ServerUnreachable, match="lost"):
            client.read(0, N, "json")
    with direct_client(server.address) as client:
        assert client.read(0, N, "json") == expected("json", 0, N)


def test_full_shared_memory_is_nospace(serve_faulty: Callable[..., RunningServer]) -> None:
    """A full /dev/shm is a NOSPACE error; requests succeed again once there is space."""
    server = serve_faulty("no_space", 1)
    with direct_client(server.address) as client:
        with pytest.raises(RequestRefused) as caught:
            client.read(0, 10, "json")
        assert caught.value.code == "NOSPACE"
        assert client.read(0, 10, "json") == expected("json", 0, 10)
    assert server.info()["worker_deaths"] == "0"


def test_requests_that_miss_the_same_blocks_share_them(
    serve: Callable[..., RunningServer],
) -> None:
    """Concurrent requests for the same cold numbers compute each block once."""
    server = serve()
    ask_from_many(server.address, N)
    together = server.info()["blocks_computed"]
    alone = serve()
    with direct_client(alone.address) as client:
        client.read(0, N, "json")
    assert together == alone.info()["blocks_computed"]


def test_reply_starts_before_its_last_block_is_done(
    serve_faulty: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """A reply starts while a later block is still being computed."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = serve_faulty("hold", 50, gate=str(gate))
    want = expected("json", 0, N)
    whole = b"$%d\r\n%b\r\n" % (len(want), want)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as sock:
        sock.sendall(b"FIB.FIRST %d FORMAT json\r\n" % N)
        received = sock.recv(1000)
        assert len(received) > 10, "no more than a header"
        # Published elements are still served to other clients.
        with direct_client(server.address) as client:
            assert client.read(0, 10, "json") == expected("json", 0, 10)
        gate.write_bytes(b"open")
        while len(received) < len(whole):
            received += sock.recv(1 << 20)
    assert received == whole


def test_workers_killed_from_outside(serve: Callable[..., RunningServer]) -> None:
    """Workers killed under load are replaced, and no reply is lost or wrong."""
    server = serve("--workers", "2")
    formats = [name for name in FORMATS if name != "array"]
    with ThreadPoolExecutor(len(formats)) as threads:
        replies = [threads.submit(ask_from_many, server.address, N, name) for name in formats]
        for victim in server.workers():
            victim.kill()
        for reply in replies:
            reply.result(DEADLINE_SECONDS)
    assert server.info()["workers"] == "2"
    assert server.info()["worker_deaths"] == "2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(number: int, serve: Callable[..., RunningServer]) -> None:
    """Whatever signal ends the acceptor, its workers end and no segment stays in /dev/shm."""
    server = serve()
    with direct_client(server.address) as client:
        client.read(0, N, "json")
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        segments = [line.split()[5:] for line in maps.splitlines() if "/dev/shm/psm_" in line]
        assert segments
        assert all(segment[1] == "(deleted)" for segment in segments)
        code = server.stop(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert not any(Path(segment[0]).exists() for segment in segments)


def test_sigterm_completes_requests_in_flight(
    serve_faulty: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """On SIGTERM a request in flight is completed; new clients are rejected."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = serve_faulty("hold", 50, gate=str(gate))
    with ThreadPoolExecutor(1) as threads, direct_client(server.address) as client:
        reply = threads.submit(client.read, 0, N, "json")
        with gate.open("wb") as opened:  # opens once a worker waits at the gate
            server.process.terminate()
            with pytest.raises((ServerUnreachable, RequestRefused)):
                ping_for_ever(server.address)
            server.wait_for_log("waiting up to 10 s for requests in flight; a second SIGTERM")
            opened.write(b"open")
        assert reply.result(DEADLINE_SECONDS) == expected("json", 0, N)
    psutil.wait_procs([server.process], DEADLINE_SECONDS)
