"""Stop of the server: it stops accepting, drains, and closes the remaining connections."""

import os
import signal
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fibweb.content.fetch_request import FetchRequest
from fibweb.server import channel
from fibweb.server.server import HttpServer, Site
from fibweb.stats.access_record import AccessRecord
from tests.fibweb.server.applications import strange
from tests.fibweb.server.threaded_server import OwnServer, connect, read_all, send_read
from tests.support.waiting import wait_until

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class GatedApplication:
    """Application whose fetch blocks until the test opens the gate."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.entered = threading.Semaphore(0)

    def _wait(self, _: object) -> bytes:
        self.entered.release()
        self.is_open.wait(30)
        return b"waited"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body: bytes = environ["fibweb.fetch"](FetchRequest("gate", 0.001, 6, self._wait))
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


def test_an_answer_under_way(tmp_path: Path) -> None:
    """A request in progress gets its response; idle connections are closed at once."""
    gate = GatedApplication()
    running = OwnServer(gate, tmp_path / "http")
    with connect(running.path) as idle, connect(running.path) as busy:
        send_read(busy, ASK)
        assert gate.entered.acquire(timeout=30)
        running.server.stop(30)
        assert read_all(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(running.path)
        gate.is_open.set()
        answer = read_all(busy)
    running.join()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"waited")
    assert running.server.connections == 0


def test_a_request_that_has_just_arrived(tmp_path: Path) -> None:
    """An unread request gets a response with `Connection: close`."""
    blocks, is_blocked = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["QUERY_STRING"] == "block":  # blocks the event loop
            is_blocked.set()
            blocks.wait(30)
        return strange(environ, start_response)

    running = OwnServer(app, tmp_path / "http")
    with connect(running.path) as client, connect(running.path) as other:
        for _ in range(2):
            client.sendall(ASK)
            assert client.recv(1000).endswith(b"plain ")
        other.sendall(ASK.replace(b"/", b"/?block", 1))
        assert is_blocked.wait(30)
        client.sendall(ASK)
        running.server.stop(30)
        blocks.set()
        answer = read_all(client)
    running.join()
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"plain ")


def test_a_request_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that arrives just after the stop gets a response with `Connection: close`."""
    monkeypatch.setattr(channel, "QUIET_SECONDS", 30.0)
    running = OwnServer(strange, tmp_path / "http")
    with connect(running.path) as client:
        client.sendall(ASK)
        assert client.recv(1000).endswith(b"plain ")
        running.server.stop(30)
        wait_until(lambda: is_refused(running.path), "the listener is closed")
        client.sendall(ASK)
        answer = read_all(client)
    running.join()
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"plain ")


def is_refused(path: Path) -> bool:
    """Return whether connections are refused."""
    try:
        connect(path).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_large_answer_under_way(tmp_path: Path) -> None:
    """A slow reader gets the rest of its response."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5000000")])
        return [b"x" * 5_000_000]

    running = OwnServer(app, tmp_path / "http")
    with connect(running.path) as client:
        client.sendall(ASK)
        received = client.recv(1)
        running.server.stop(30)
        received += read_all(client)
    running.join()
    assert received.endswith(b"x" * 5_000_000)


def test_when_the_time_is_over(tmp_path: Path) -> None:
    """At the deadline all connections are closed; a second stop() makes it earlier."""
    gate = GatedApplication()
    running = OwnServer(gate, tmp_path / "http")
    with connect(running.path) as busy, connect(running.path) as half:
        send_read(busy, ASK)
        send_read(half, ASK[:10])
        assert gate.entered.acquire(timeout=30)
        running.server.stop(3600)
        running.server.stop(0)
        running.join()
        assert read_all(busy) == read_all(half) == b""
    gate.is_open.set()


def test_stop_before_run_and_after(tmp_path: Path) -> None:
    """A server can be stopped at once, and again after its end."""
    running = OwnServer(strange, tmp_path / "http")
    running.stop()
    running.stop()


def test_stop_from_a_signal_handler() -> None:
    """A signal handler may call stop() on the thread that serves."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    records: list[AccessRecord] = []
    server = HttpServer([Site(strange, listener)], on_response=records.append)
    answers = []

    def ask() -> None:
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(ASK)
            answers.append(client.recv(1000))
            os.kill(os.getpid(), signal.SIGUSR1)
            answers.append(read_all(client))

    previous = signal.signal(signal.SIGUSR1, lambda *_: server.stop(30))
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        server.run()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    thread.join(30)
    assert answers[0].endswith(b"plain ")
    assert answers[1:] == [b""]
    assert records[0].client == "127.0.0.1"


def test_nothing_is_left(tmp_path: Path) -> None:
    """A stopped server leaves no descriptor and no thread."""
    process = psutil.Process()
    threads, descriptors = threading.active_count(), process.num_fds()
    for number in range(3):
        running = OwnServer(strange, tmp_path / f"http-{number}")
        with connect(running.path) as client:
            send_read(client, b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
            running.handlings(1)
            running.stop()
    wait_until(lambda: threading.active_count() == threads, "the threads end")
    assert process.num_fds() == descriptors
